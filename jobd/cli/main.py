"""The program `jobd`. A command's module is imported only when it is used: clients need no Docker library."""

import gc
import importlib
from collections.abc import Sequence
from typing import Any

import click

from jobd import __version__
from jobd.cli.failure import INTERRUPTED, of_error
from jobd.errors import JobdError

COMMANDS = {
    "serve": "serve:serve",
    "migrate": "database:migrate",
    "database": "copy:database",
    "check-config": "check_config:check_config",
    "user": "database:user",
    "token": "database:token",
    "secret": "secret:secret",
    "job": "job:job",
    "exec": "exec:exec_",
    "region": "region:region",
    "plugin": "plugin:plugin",
    "schedule": "schedule:schedule",
    "completion": "completion:completion",
}
"""Commands, each with its module in this package and its name there."""


class Program(click.Group):
    """Finds its commands in `COMMANDS` and turns jobd's errors into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        # Imported modules stay in memory: searching them for garbage took a fifteenth of the start.
        gc.disable()
        try:
            command: click.Command = getattr(importlib.import_module(f"jobd.cli.{module}"), name)
        finally:
            gc.freeze()
            gc.enable()
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except JobdError as error:
            raise of_error(error) from error
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not allowed, 5 the server cannot be reached.",
)
@click.version_option(__version__, "-V", "--version", prog_name="jobd", message="%(prog)s %(version)s")
def jobd() -> None:
    """Run container jobs on demand and on a schedule."""


def main(args: Sequence[str] | None = None) -> None:
    """The entry point of the program; ends the process."""
    jobd.main(args=args, prog_name="jobd")
