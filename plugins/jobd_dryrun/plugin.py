"""The plugin of the entry point `dry-run`."""

from jobd.executor import Executor
from jobd.hookspecs import hookimpl
from jobd_dryrun.executor import DryRunExecutor


@hookimpl
def jobd_executors() -> dict[str, type[Executor]]:
    return {"dry-run": DryRunExecutor}
