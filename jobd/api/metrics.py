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
"""Seconds for which a census is reused: the database is queried no more often, however many scrapes there are."""
PATIENCE = 2.0
"""Seconds that a scrape waits for the census; Prometheus itself gives up after ten and would get nothing at all."""


class Census:
    """The counts of jobs, execs and so on in the database, refreshed by scrapes, at most every KEPT_FOR seconds."""

    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._lease = services.settings.scheduler.lease
        self._taken_at = float("-inf")
        self._taking: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Take a new census if the last one is too old; leave it out if the database does not respond in time, so that
        a scrape does not hang with it.
        """
        if self._taking is None or self._taking.done():
            if time.monotonic() - self._taken_at < KEPT_FOR:
                return
            self._taking = asyncio.create_task(self._take())
        done, _ = await asyncio.wait({self._taking}, timeout=PATIENCE)
        if not done:
            self._database.metrics.census = None

    async def _take(self) -> None:
        departure.set(None)  # other scrapes wait for it, too: it must not stop when the first one disconnects
        try:
            self._database.metrics.census = await self._database.read(census.take, self._lease)
        except ServiceUnavailable as error:
            self._database.metrics.census = None
            log.debug("could not take the census: %s", error)
        self._taken_at = time.monotonic()


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
        except (TypeError, ValueError):  # a malformed version, as in `application/openmetrics-text;version=x`
            encode, content_type = choose_encoder("")
        text = await asyncio.to_thread(encode, self.services.database.metrics.registry)
        self.set_header("Content-Type", content_type)
        self.add_header("Vary", "Accept")
        self.finish(text)
