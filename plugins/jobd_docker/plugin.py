"""The plugin of the entry point `docker`."""

from jobd.executor import Executor
from jobd.hookspecs import hookimpl
from jobd_docker.executor import DockerExecutor


@hookimpl
def jobd_executors() -> dict[str, type[Executor]]:
    return {"docker": DockerExecutor}
