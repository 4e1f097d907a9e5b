"""What the entry point `dry-run` names."""

from jobd.executor import Executor
from jobd.hookspecs import hookimpl
from jobd_dryrun.executor import DryRunExecutor


@hookimpl
def jobd_executors() -> dict[str, type[Executor]]:
    return {"dry-run": DryRunExecutor}
