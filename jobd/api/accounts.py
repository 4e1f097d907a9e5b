"""/v1/generate-api-token and /v1/auth/profile"""

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar
from urllib.parse import parse_qsl

from jobd.api.base import JSON, Handler
from jobd.api.body import unfit
from jobd.api.schemas import Credentials, read_body
from jobd.api.services import Services
from jobd.errors import BadRequest, InvalidArgs, TooManyRequests
from jobd.store import accounts

FORM = "application/x-www-form-urlencoded"
MOST_FAILURES = 10
WINDOW = 60.0
"""Seconds in which more than `MOST_FAILURES` wrong passwords for a username from an address are too many."""
MOST_REMEMBERED = 10_000
"""Pairs of address and username; the oldest is forgotten for a new one."""


class Failures:
    """Failed sign-ins by address and username, in this daemon's memory."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], deque[float]] = {}

    def check(self, address: str, username: str, now: float) -> None:
        """Raises TooManyRequests."""
        times = self._times.get((address, username), deque())
        while times and times[0] <= now - WINDOW:
            times.popleft()
        if len(times) >= MOST_FAILURES:
            raise TooManyRequests("too many wrong passwords; wait a little", retry_after=times[0] + WINDOW - now)

    def add(self, address: str, username: str, now: float) -> None:
        times = self._times.pop((address, username), deque(maxlen=MOST_FAILURES))
        times.append(now)
        self._times[address, username] = times
        if len(self._times) > MOST_REMEMBERED:
            del self._times[next(iter(self._times))]

    def forget(self, address: str, username: str) -> None:
        self._times.pop((address, username), None)


class GenerateApiToken(Handler):
    is_public = True
    body_types: ClassVar[tuple[str, ...]] = (JSON, FORM)

    def initialize(  # type: ignore[override]
        self, services: Services, failures: Failures, hashing: ThreadPoolExecutor
    ) -> None:
        super().initialize(services)
        self.failures = failures
        self.hashing = hashing

    async def post(self) -> None:
        said = read_body(Credentials, self._said())
        address = self.request.remote_ip or ""
        self.failures.check(address, said.username, time.monotonic())
        # Counted before the answer is known: guesses sent at once must not all pass the check.
        self.failures.add(address, said.username, time.monotonic())
        hashed = await self.services.database.read(accounts.password_hash, said.username)
        # Few threads of their own: guesses under many names must not take those that others need.
        await asyncio.get_running_loop().run_in_executor(self.hashing, accounts.check_password, hashed, said.password)
        self.failures.forget(address, said.username)
        token = await self.services.database.write(accounts.create_token, said.username, accounts.SIGN_IN)
        self.reply({"username": said.username, "token": token})

    def _said(self) -> dict[str, str]:
        if not self.request.headers.get("Content-Type", "").lower().startswith(FORM):
            return self.body()
        try:
            pairs = parse_qsl(self.received().decode(), keep_blank_values=True, errors="strict", max_num_fields=100)
        except ValueError:
            raise BadRequest("the body is not a form in UTF-8") from None
        said = dict(pairs)
        faults = {name: ["must be given once"] for name in said if sum(n == name for n, _ in pairs) > 1}
        faults |= {ascii(name)[1:-1]: [fault] for name, text in pairs if (fault := unfit(name) or unfit(text))}
        if faults:
            raise InvalidArgs("the form holds what cannot be", faults)
        return said


class Profile(Handler):
    async def get(self) -> None:
        self.reply({"username": self.caller.username, "is_admin": self.caller.namespaces is None})
