"""Plugins: found by the entry-point group `jobd`, and asked for their executors. An error in one stops the start."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

import pluggy
from pydantic import BaseModel

from jobd import hookspecs
from jobd.config import Settings
from jobd.config.settings import RegionKeys
from jobd.errors import ConfigError
from jobd.executor import Executor, Region

GROUP = "jobd"


def build() -> pluggy.PluginManager:
    """A manager with every installed plugin, each under the name `distribution:entry point`.

    Raises ConfigError, which names the plugin that cannot be imported or misspells a hook.
    """
    manager = pluggy.PluginManager("jobd")
    manager.add_hookspecs(hookspecs)
    # sorted, so that hooks are called in the same order on every machine
    for name, point in sorted((_name(point), point) for point in entry_points(group=GROUP)):
        try:
            manager.register(point.load(), name=name)
        except (Exception, SystemExit) as error:
            raise ConfigError(f"plugin {name} ({point.value}): {type(error).__name__}: {error}") from error
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise ConfigError(f"plugin {manager.get_name(error.plugin)}: {error}") from error
    return manager


def executor_kinds(manager: pluggy.PluginManager) -> dict[str, type[Executor]]:
    """The executor classes of all plugins, by kind (`executor = ` in the INI file).

    Raises ConfigError if a plugin's answer is wrong, or if two plugins offer the same kind.
    """
    kinds: dict[str, type[Executor]] = {}
    owners: dict[str, str] = {}
    for hook in manager.hook.jobd_executors.get_hookimpls():
        name = hook.plugin_name
        try:
            answer = hook.function()
        except Exception as error:
            raise ConfigError(f"plugin {name}: jobd_executors: {type(error).__name__}: {error}") from error
        if not isinstance(answer, Mapping):
            raise ConfigError(f"plugin {name}: jobd_executors returned {answer!r}; expected a dict of kind to class")
        for kind, executor in answer.items():
            if kind in owners:
                both = " and ".join(sorted([owners[kind], name]))
                raise ConfigError(f"plugins {both} both offer the executor `{kind}`; uninstall one of them")
            fault = _fault(executor)
            if fault:
                raise ConfigError(f"plugin {name}: executor `{kind}`: {fault}")
            kinds[kind], owners[kind] = executor, name
    return dict(sorted(kinds.items()))


def build_executors(kinds: Mapping[str, type[Executor]], settings: Settings, installation: str) -> dict[str, Executor]:
    """The executors by region name. Raises ConfigError, which names the region whose executor cannot be created."""
    executors: dict[str, Executor] = {}
    for name, region in settings.regions.items():
        try:
            executors[name] = kinds[region.executor](Region(name, installation, region.options))
        except Exception as error:
            for executor in executors.values():
                executor.close()
            message = f"[region:{name}]: executor `{region.executor}`: {type(error).__name__}: {error}"
            raise ConfigError(f"{settings.path}: {message}") from error
    return executors


def _name(point: EntryPoint) -> str:
    return f"{point.dist.name}:{point.name}" if point.dist else point.name


def _fault(executor: object) -> str:
    if not (isinstance(executor, type) and issubclass(executor, Executor)):
        return "not a subclass of jobd.executor.Executor"
    if not (isinstance(executor.options, type) and issubclass(executor.options, BaseModel)):
        return "its options are no pydantic model"
    taken = sorted(RegionKeys.model_fields.keys() & executor.options.model_fields.keys())
    return f"its options may not be called {', '.join(taken)}: every region has these keys" if taken else ""
