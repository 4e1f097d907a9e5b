"""How often somebody may ask: a token bucket for each (`[limits] requests_per_minute`), in this daemon's memory."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MAX_REMEMBERED = 10_000
"""Buckets. The one unused for longest is forgotten for a new one, and so is full when it is wanted again."""


@dataclass(frozen=True)
class Rate:
    """Where a caller stands after a request. `wait` is in seconds, and None for one that may go on."""

    limit: int
    remaining: int
    reset: int
    """Seconds until the whole limit is there again."""
    wait: float | None

    def headers(self) -> Mapping[str, str]:
        """As in draft-ietf-httpapi-ratelimit-headers-03, which clients know."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


class Rates:
    """Buckets that hold `per_minute` requests and fill up evenly within a minute; 0 per minute: no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By caller, the one used last at the end: what is left, and when that was so."""

    def take(self, who: str) -> Rate | None:
        """Let `who` make one request more, or not; None if there is no limit."""
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
