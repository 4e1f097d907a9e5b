"""One pull at a time for each image and region; whoever else needs the image waits for that pull."""

import asyncio
from typing import Any

from jobd.engine.regions import ServedRegion
from jobd.executor import RunSpec


class Pulls:
    def __init__(self) -> None:
        self._under_way: dict[Any, asyncio.Task[None]] = {}
        self._abandoned = asyncio.Event()

    async def pull(self, region: ServedRegion, spec: RunSpec, stopping: asyncio.Event) -> bool:
        """Wait for the image; False if `stopping` was set first. A pull that others wait for goes on.

        Raises what the executor's `pull` raises.
        """
        key = (region.name, spec.image, spec.registry_auth)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(region.pull(region.executor.pull, spec))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
            # Its error has to be read even if nobody waits any more.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        waits = [asyncio.create_task(event.wait()) for event in (stopping, self._abandoned)]
        try:
            await asyncio.wait([task, *waits], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not task.done():
            return False
        task.result()
        return True

    def abandon(self) -> None:
        """The daemon stops: nobody waits any longer."""
        self._abandoned.set()
