"""`jobd check-config`: checks the configuration."""

import sys
from pathlib import Path

import click

from jobd import config, plugins
from jobd.cli.options import configured
from jobd.errors import ConfigError
from jobd.schedule import zone_rules


@click.command("check-config")
@configured
def check_config(config_path: Path) -> None:
    """Check the configuration, including environment variables, and print all faults. Connects to nothing.

    Exit code 0 if jobd would start with it, else 1.
    """
    try:
        settings = config.load(config_path, plugins.executor_kinds(plugins.build()))
    except ConfigError as error:
        click.echo(error.message, err=True)
        sys.exit(1)
    count = len(settings.regions)
    click.echo(f"{config_path}: ok, {count} region{'s' if count > 1 else ''} ({', '.join(settings.regions)})")
    click.echo(f"time zone rules: {zone_rules.in_use()}")
