"""`jobd serve`: the daemon."""

from pathlib import Path

import click

from jobd import app, config, plugins
from jobd.cli.options import configured


@click.command()
@configured
@click.option("--listen", metavar="HOST:PORT", help="The address to serve on; overrides the configuration's.")
@click.pass_context
def serve(ctx: click.Context, config_path: Path, listen: str | None) -> None:
    """Serve the API and run jobs, until SIGTERM or SIGINT."""
    manager = plugins.build()
    settings = config.load(config_path, plugins.executor_kinds(manager), listen=listen)
    ctx.exit(app.serve(settings, manager))
