"""`jobd region`: the regions where jobs can run, and their health."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from jobd import config, plugins
from jobd.cli.client import Client, Item
from jobd.cli.failure import FAILED
from jobd.cli.options import configured, connects, prints
from jobd.cli.output import Columns, print_items
from jobd.errors import JobdError
from jobd.executor import Executor, Health

COLUMNS: Columns = {
    "REGION": "name",
    "OK": "ok",
    "EXECUTOR": "executor",
    "ENGINE": "engine",
    "MESSAGE": "message",
}


@click.group()
def region() -> None:
    """Show where jobs can run."""


@region.command("list")
@prints
@connects
def list_(client: Client, output: str) -> None:
    """List the regions that the server serves, with their health."""
    print_items(client.get("/v1/regions")["results"], output, COLUMNS, "name")


@region.command()
@click.option("--local", is_flag=True, help="Check the regions of the configuration from here, without a server.")
@prints
@configured
@connects
@click.pass_context
def check(ctx: click.Context, client: Client, config_path: Path, output: str, local: bool) -> None:
    """Check whether every region can run jobs now; exit code 1 if one cannot."""
    regions = checked(config_path) if local else client.get("/v1/regions")["results"]
    print_items(regions, output, COLUMNS, "name")
    if not all(region["ok"] for region in regions):
        ctx.exit(FAILED)


def checked(config_path: Path) -> list[Item]:
    """Each configured region's health, seen from this machine. Raises ConfigError."""
    kinds = plugins.executor_kinds(plugins.build())
    settings = config.load(config_path, kinds)
    executors = plugins.build_executors(kinds, settings, installation="region-check")
    # In parallel, since the check of an unreachable region takes long.
    with ThreadPoolExecutor(len(executors) or 1) as threads:
        healths = dict(zip(executors, threads.map(_health, executors.values()), strict=True))
    return [
        {"name": name, "executor": settings.regions[name].executor, **vars(health)} for name, health in healths.items()
    ]


def _health(executor: Executor) -> Health:
    try:
        return executor.check()
    except JobdError as error:
        return Health(False, error.message)
    finally:
        executor.close()
