"""How often the event loop comes round: how much is done in one round, which no load of the machine changes."""

import asyncio
import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def rounds() -> Iterator[list[None]]:
    """Grows by one in each round of the loop."""
    seen: list[None] = []
    loop = asyncio.get_running_loop()
    is_over = False

    def count() -> None:
        seen.append(None)
        if not is_over:
            loop.call_soon(count)

    loop.call_soon(count)
    try:
        yield seen
    finally:
        is_over = True
