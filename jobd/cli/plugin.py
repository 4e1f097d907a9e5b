"""`jobd plugin`: the plugins that are installed here."""

from importlib.metadata import version
from typing import Any, cast

import click

from jobd import plugins
from jobd.cli.client import Item
from jobd.cli.options import prints
from jobd.cli.output import Columns, print_items

COLUMNS: Columns = {
    "PLUGIN": "name",
    "VERSION": "version",
    "HOOKS": lambda plugin: ", ".join(plugin["hooks"]),
    "EXECUTORS": lambda plugin: ", ".join(plugin["executors"]),
}


@click.group()
def plugin() -> None:
    """Show the plugins of this installation."""


@plugin.command("list")
@prints
def list_(output: str) -> None:
    """List the installed plugins with their hooks and executors."""
    print_items(installed(), output, COLUMNS, "name")


def installed() -> list[Item]:
    """Each plugin's name (`distribution:entry point`), version, hooks and executor kinds. Raises ConfigError."""
    manager = plugins.build()
    plugins.executor_kinds(manager)
    executors = manager.hook.jobd_executors.get_hookimpls()
    rows = []
    for name, each in manager.list_name_plugin():
        hooks = sorted(caller.name for caller in manager.get_hookcallers(each) or [])
        kinds = sorted(
            kind for hook in executors if hook.plugin_name == name for kind in cast(dict[str, Any], hook.function())
        )
        rows.append({"name": name, "version": version(name.partition(":")[0]), "hooks": hooks, "executors": kinds})
    return rows
