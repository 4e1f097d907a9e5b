"""Options that several commands share, as decorators; each passes a ready-to-use value to the command."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from jobd.cli.client import Client, place
from jobd.cli.output import FORMATS

Command = Callable[..., Any]

CONFIGS = (Path("jobd.ini"), Path("/etc/jobd/jobd.ini"))
"""Where the configuration is searched for, in this order, without `--config`."""


def connects(command: Command) -> Command:
    """Pass the command a `client` of the HTTP API."""

    @click.option("--url", metavar="URL", help="jobd's address; else $JOBD_URL, else ~/.config/jobd/cli.ini.")
    @click.option(
        "--token-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File with the token; else $JOBD_TOKEN, else ~/.config/jobd/cli.ini.",
    )
    @wraps(command)
    def connected(*args: Any, url: str | None, token_file: Path | None, **kwargs: Any) -> Any:
        ini = Path.home() / ".config/jobd/cli.ini"
        return command(*args, client=Client(place(url, token_file, os.environ, ini)), **kwargs)

    return connected


def prints(command: Command) -> Command:
    """Pass the command the chosen `output` format."""
    return click.option(
        "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="How to print data."
    )(command)


def configured(command: Command) -> Command:
    """Pass the command the path of the configuration, `config_path`."""

    @click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        help="The configuration; else ./jobd.ini, else /etc/jobd/jobd.ini.",
    )
    @wraps(command)
    def with_config(*args: Any, config_path: Path | None, **kwargs: Any) -> Any:
        return command(*args, config_path=config_path or default_config(), **kwargs)

    return with_config


def default_config() -> Path:
    """The first of `CONFIGS` that exists; if none does, the first, which error messages then name."""
    return next((path for path in CONFIGS if path.exists()), CONFIGS[0])
