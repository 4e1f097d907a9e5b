"""Rate limits: a token bucket for each caller (`[limits] requests_per_minute`), in this daemon's memory."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MAX_REMEMBERED = 10_000
"""Buckets in memory. The one unused for longest is dropped for a new one; its caller then starts with a full one."""


@dataclass(frozen=True)
class Rate:
    """A caller's bucket after a request. `wait` is in seconds, and None if the request is allowed."""

    limit: int
    remaining: int
    reset: int
    """Seconds until the bucket is full again."""
    wait: float | None

    def headers(self) -> Mapping[str, str]:
        """The headers of draft-ietf-httpapi-ratelimit-headers-03, which clients know."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


class Rates:
    """Buckets for `per_minute` requests that refill evenly within a minute; 0 per minute is no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By caller, the one used last at the end: the requests left, and the time of that count in seconds."""

    def take(self, who: str) -> Rate | None:
        """Take one request from the bucket of `who`; None if there is no limit."""
        if not self._limit:
            return None
        now, per_second = self._clock(), self._limit / 60
        left, since = self._buckets.pop(who, (float(self._limit), now))
        left = min(float(self._limit), left + (now - since) * per_second)
        wait = None if left >= 1 else (1 - left) / per_second
        left = left - 1 if wait is None else left
        self._buckets[who] = (left, now)
        if len(self._buckets) > MAX_REMEMBERED:
            self._buckets.popitem(last=False)
        return Rate(self._limit, int(left), math.ceil((self._limit - left) / per_second), wait)
