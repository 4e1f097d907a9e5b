"""jobd in a process that strikes itself at a named point: `python -m tests.e2e.strikes serve -c jobd.ini`.

The file `$JOBD_TEST_STRIKE` holds a point and a signal, as in `after set_handle SIGKILL`. Of all processes that share
it the first to come to that point takes the file, under a name that ends in its process id, and sends itself the
signal.

A point is `before`, `inside` (its statements are sent, its commit is not) or `after` a function of `MODULES` that the
door to the database runs, or `before` or `after` a method of the Docker executor.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobd.cli.main import main
from jobd.store.db.database import Database
from jobd_docker.executor import EngineExecutor

VARIABLE = "JOBD_TEST_STRIKE"
MODULES = tuple(f"jobd.store.queue.{name}" for name in ("armed_slots", "claims", "due_slots", "transitions"))
METHODS = ("pull", "create", "start", "stop", "remove", "statuses", "logs", "was_started")


def come_to(point: str) -> None:
    wanted, name = _order()
    if wanted != point:
        return
    file = Path(os.environ[VARIABLE])
    try:
        file.rename(f"{file}.{os.getpid()}")
    except OSError:
        return
    os.kill(os.getpid(), signal.Signals[name])


def _order() -> tuple[str, str]:
    """The point at which to strike, and the signal; empty without one."""
    try:
        wanted, _, name = Path(os.environ[VARIABLE]).read_text().rpartition(" ")
    except OSError:
        # None there, or no descriptor left to read it by.
        return "", ""
    return wanted, name


def _did_something(result: Any) -> bool:
    """A claim that found nothing, or a scan without due slots, is no point to strike at."""
    return bool(getattr(result, "execs", result))


def _struck_write(write: Callable[..., Any]) -> Callable[..., Any]:
    def struck(self: Database, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if getattr(fn, "__module__", "") not in MODULES:
            return write(self, fn, *args, **kwargs)
        name = fn.__name__

        def inside(*args: Any, **kwargs: Any) -> Any:
            result = fn(*args, **kwargs)
            if _did_something(result):
                come_to(f"inside {name}")
            return result

        come_to(f"before {name}")
        # Only then: what is wrapped is no longer known as a write that may be shortened.
        is_wanted_inside = _order()[0] == f"inside {name}"
        result = write(self, inside if is_wanted_inside else fn, *args, **kwargs)
        if _did_something(result):
            come_to(f"after {name}")
        return result

    return struck


def _struck_method(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def struck(self: EngineExecutor, *args: Any, **kwargs: Any) -> Any:
        come_to(f"before {name}")
        result = method(self, *args, **kwargs)
        come_to(f"after {name}")
        return result

    return struck


if __name__ == "__main__":
    Database.write_sync = _struck_write(Database.write_sync)  # type: ignore[method-assign]
    for name in METHODS:
        setattr(EngineExecutor, name, _struck_method(name, getattr(EngineExecutor, name)))
    main()
