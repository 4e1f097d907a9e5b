"""Turns for many who have work to do on the event loop: a few in each of its rounds, so that it serves all others in
between.
"""

import asyncio
from collections import deque

TOGETHER = 4
"""How many get their turn in one round of the loop."""


class Turns:
    """A queue of futures, each of which is done when its turn comes. Used in the loop's thread alone."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_under_way = False

    def queue(self, waiting: "asyncio.Future[None]") -> None:
        """Give this future its turn; one that is done by then, for example cancelled, takes none."""
        self._waiting.append(waiting)
        if not self._is_under_way:
            self._is_under_way = True
            asyncio.get_running_loop().call_soon(self._let_go_on)

    async def wait(self) -> None:
        """Returns when it is the caller's turn."""
        turn = asyncio.get_running_loop().create_future()
        self.queue(turn)
        await turn

    def _let_go_on(self) -> None:
        left = TOGETHER
        while left and self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                left -= 1
        if self._waiting or not left:
            asyncio.get_running_loop().call_soon(self._let_go_on)
        else:
            self._is_under_way = False
