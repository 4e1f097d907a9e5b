"""Passwords over HTTP: few wrong ones let through, and the work on them kept away from all else."""

import asyncio
import ipaddress
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from jobd.errors import TooManyRequests
from jobd.store.db.database import Database
from jobd.store.people import accounts
from jobd.store.people.accounts import PasswordHash
from jobd.web.fair_turns import FairTurns

Result = TypeVar("Result")

WINDOW = 60.0
"""Seconds in which so many wrong passwords are too many:"""
MAX_FAILURES = 10
"""for a username from an address,"""
MAX_FROM_ADDRESS = 50
"""from an address, whatever the username,"""
MAX_FOR_USERNAME = 100
"""for a username, wherever from. Higher, since whoever reaches it keeps the user out, too."""
MAX_REMEMBERED = 20_000
"""Addresses, usernames and pairs of them; the oldest is forgotten for a new one."""
MAX_USERNAME = 63
AT_ONCE = 2
"""Passwords that are worked on at the same time; each takes a processor and much memory for a moment."""

Key = tuple[str | None, str | None]


class Failures:
    """Failed sign-ins in this daemon's memory."""

    def __init__(self) -> None:
        self._times: dict[Key, deque[float]] = {}

    def check(self, address: str, username: str, now: float) -> None:
        """Raises TooManyRequests."""
        for key, most in _limits(address, username):
            times = self._times.get(key, deque())
            while times and times[0] <= now - WINDOW:
                times.popleft()
            if len(times) >= most:
                wait = times[-most] + WINDOW - now
                raise TooManyRequests("too many wrong passwords; wait a little", retry_after=wait)

    def add(self, address: str, username: str, now: float) -> None:
        for key, _ in _limits(address, username):
            times = self._times.pop(key, deque())
            times.append(now)
            self._times[key] = times
        while len(self._times) > MAX_REMEMBERED:
            del self._times[next(iter(self._times))]

    def forget(self, address: str, username: str) -> None:
        """The last one was right."""
        (pair, _), *others = _limits(address, username)
        self._times.pop(pair, None)
        for key, _ in others:
            times = self._times.get(key)
            if times:
                times.pop()


class SignIns:
    def __init__(self) -> None:
        self._failures = Failures()
        # Few threads of their own: guesses under many names must not take those that others need.
        self._hashing = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="jobd-passwords")
        self._turns = FairTurns(AT_ONCE)

    def close(self) -> None:
        """Let the threads go: at exit, one that waits for work looks like one that is stuck."""
        self._hashing.shutdown(wait=False, cancel_futures=True)

    async def check(self, address: str, username: str, password: str, database: Database) -> None:
        """Raises Unauthorized, TooManyRequests, ServiceUnavailable."""
        at = time.monotonic()
        self._failures.check(address, username, at)
        # Counted before the answer is known: guesses sent at once must not all pass the check.
        self._failures.add(address, username, at)
        hashed = await database.read(accounts.password_hash, username[: MAX_USERNAME + 1])
        await self._in_turn(address, accounts.check_password, hashed, password)
        self._failures.forget(address, username)

    async def hash(self, address: str, password: str) -> PasswordHash:
        """Raises InvalidArgs, ServiceUnavailable."""
        return await self._in_turn(address, accounts.hash_password, password)

    async def _in_turn(self, address: str, work: Callable[..., Result], *args: Any) -> Result:
        """Addresses take turns. Raises what the work raises, and ServiceUnavailable once the client has gone."""
        async with self._turns.turn(_network(address)):
            return await asyncio.get_running_loop().run_in_executor(self._hashing, work, *args)


def _limits(address: str, username: str) -> list[tuple[Key, int]]:
    # No user has a longer name, and what is kept in memory must not be.
    place, name = _network(address), username[: MAX_USERNAME + 1]
    return [((place, name), MAX_FAILURES), ((place, None), MAX_FROM_ADDRESS), ((None, name), MAX_FOR_USERNAME)]


def _network(address: str) -> str:
    """An IPv6 host has a whole /64 to send from."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((known, 64), strict=False)) if known.version == 6 else address
