"""Sign-in with a password: limits on wrong passwords, and threads of its own for hashing."""

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
"""Seconds in which wrong passwords are counted."""
MAX_FAILURES = 10
"""Wrong passwords for one username from one address."""
MAX_FROM_ADDRESS = 50
"""Wrong passwords from one address, whatever the username."""
MAX_FOR_USERNAME = 100
"""Wrong passwords for one username, whatever the address. Higher, since reaching it locks the user out, too."""
MAX_REMEMBERED = 20_000
"""Counts in memory, for addresses, usernames and pairs of them; the oldest is dropped for a new one."""
MAX_USERNAME = 63
AT_ONCE = 2
"""Passwords that are hashed at the same time; each takes a processor and much memory for a moment."""

Key = tuple[str | None, str | None]


class Failures:
    """The failed sign-ins of the last minute, in this daemon's memory."""

    def __init__(self) -> None:
        self._times: dict[Key, deque[float]] = {}

    def check(self, address: str, username: str, now: float) -> None:
        """Raises TooManyRequests after too many failures. `now` is in seconds of the monotonic clock."""
        for key, most in _limits(address, username):
            times = self._times.get(key, deque())
            while times and times[0] <= now - WINDOW:
                times.popleft()
            if len(times) >= most:
                wait = times[-most] + WINDOW - now
                raise TooManyRequests("too many wrong passwords; try again later", retry_after=wait)

    def add(self, address: str, username: str, now: float) -> None:
        for key, _ in _limits(address, username):
            times = self._times.pop(key, deque())
            times.append(now)
            self._times[key] = times
        while len(self._times) > MAX_REMEMBERED:
            del self._times[next(iter(self._times))]

    def forget(self, address: str, username: str) -> None:
        """Take back the last failure: the password was right."""
        (pair, _), *others = _limits(address, username)
        self._times.pop(pair, None)
        for key, _ in others:
            times = self._times.get(key)
            if times:
                times.pop()


class SignIns:
    def __init__(self) -> None:
        self._failures = Failures()
        # A few threads of their own: guesses under many names must not occupy those that others need.
        self._hashing = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="jobd-passwords")
        self._turns = FairTurns(AT_ONCE)

    def close(self) -> None:
        """Stop the threads: at exit, one that waits for work could not be told from one that hangs."""
        self._hashing.shutdown(wait=False, cancel_futures=True)

    async def check(self, address: str, username: str, password: str, database: Database) -> None:
        """Check a password. Raises Unauthorized, TooManyRequests, ServiceUnavailable."""
        at = time.monotonic()
        self._failures.check(address, username, at)
        # Counted before the result is known: guesses sent in parallel must not all pass the check.
        self._failures.add(address, username, at)
        hashed = await database.read(accounts.password_hash, username[: MAX_USERNAME + 1])
        await self._in_turn(address, accounts.check_password, hashed, password)
        self._failures.forget(address, username)

    async def hash(self, address: str, password: str) -> PasswordHash:
        """The hash of a new password. Raises InvalidArgs for an unacceptable one, and ServiceUnavailable."""
        return await self._in_turn(address, accounts.hash_password, password)

    async def _in_turn(self, address: str, work: Callable[..., Result], *args: Any) -> Result:
        """Do some work in the address's turn. Raises what it raises, and ServiceUnavailable if the client leaves."""
        async with self._turns.turn(_network(address)):
            return await asyncio.get_running_loop().run_in_executor(self._hashing, work, *args)


def _limits(address: str, username: str) -> list[tuple[Key, int]]:
    # No user has a longer name; cut, so that long ones do not fill the memory.
    place, name = _network(address), username[: MAX_USERNAME + 1]
    return [((place, name), MAX_FAILURES), ((place, None), MAX_FROM_ADDRESS), ((None, name), MAX_FOR_USERNAME)]


def _network(address: str) -> str:
    """The address, or an IPv6 address's /64 network, all of which one host may send from."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((known, 64), strict=False)) if known.version == 6 else address
