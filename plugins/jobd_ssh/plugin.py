"""The plugin of the entry point `docker-ssh`."""

from jobd.executor import Executor
from jobd.hookspecs import hookimpl
from jobd_ssh.executor import SshExecutor


@hookimpl
def jobd_executors() -> dict[str, type[Executor]]:
    return {"docker-ssh": SshExecutor}
