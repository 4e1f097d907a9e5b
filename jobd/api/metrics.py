"""/metrics"""

import asyncio
import logging
import time

from prometheus_client.exposition import choose_encoder

from jobd.errors import ServiceUnavailable
from jobd.store import census
from jobd.store.db.deadlines import departure
from jobd.web.handler import Handler
from jobd.web.permissions import Rules
from jobd.web.services import Services

log = logging.getLogger(__name__)

KEPT_FOR = 5.0
"""Seconds that a census is good for: however many scrape, the database is asked no more often."""
PATIENCE = 2.0
"""Seconds that a scrape waits for the census; Prometheus itself gives up after ten, and would then know nothing."""


class Census:
    """What the database holds, asked at most once in a while, by whoever reads it."""

    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._lease = services.settings.scheduler.lease
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Returns once the metrics are fresh, or can be known not to be: a database that hangs holds up no scrape."""
        if self._asking is None or self._asking.done():
            if time.monotonic() - self._asked_at < KEPT_FOR:
                return
            self._asking = asyncio.create_task(self._ask())
        done, _ = await asyncio.wait({self._asking}, timeout=PATIENCE)
        if not done:
            self._database.metrics.census = None

    async def _ask(self) -> None:
        departure.set(None)  # the scrape that was the first to ask is not the only one
        try:
            self._database.metrics.census = await self._database.read(census.take, self._lease)
        except ServiceUnavailable as error:
            self._database.metrics.census = None
            log.debug("no census: %s", error)
        self._asked_at = time.monotonic()


class Exposition(Handler):
    is_limited = False

    def initialize(self, services: Services, rules: Rules, census: Census) -> None:  # type: ignore[override]
        super().initialize(services, rules)
        self._census = census

    async def get(self) -> None:
        await self._census.refresh()
        accept = self.request.headers.get("Accept", "")
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is none, as in `application/openmetrics-text;version=x`
            encode, content_type = choose_encoder("")
        text = await asyncio.to_thread(encode, self.services.database.metrics.registry)
        self.set_header("Content-Type", content_type)
        self.add_header("Vary", "Accept")
        self.finish(text)
