"""/openapi.json and /docs"""

import asyncio
import hashlib
import json
from functools import cached_property

from jobd.api.openapi import document, page
from jobd.api.openapi.document import Table
from jobd.web import compression
from jobd.web.handler import JSON, Handler, Services
from jobd.web.permissions import Rules


class Specification:
    """The OpenAPI document and its page, made at the first request for them."""

    def __init__(self, table: Table) -> None:
        self._table = table

    @cached_property
    def as_json(self) -> bytes:
        return json.dumps(document.build(self._table), ensure_ascii=False, separators=(",", ":")).encode()

    @cached_property
    def as_page(self) -> tuple[bytes, str]:
        """The page's HTML and its Content-Security-Policy."""
        return page.render(json.loads(self.as_json))


class _Cacheable(Handler):
    """A response that is the same for everyone while this daemon runs: it may be cached and revalidated by its ETag."""

    def initialize(  # type: ignore[override]
        self, services: Services, rules: Rules, specification: Specification
    ) -> None:
        super().initialize(services, rules)
        self.specification = specification

    async def reply_cacheable(self, data: bytes, media_type: str) -> None:
        self.add_header("Vary", "Accept-Encoding")
        if compression.accepts_gzip(self.request.headers.get("Accept-Encoding", "")):
            self.set_header("Content-Encoding", "gzip")
            data = await asyncio.to_thread(compression.gzipped, data)
        self.set_header("Content-Type", media_type)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Etag", f'"{hashlib.sha256(data).hexdigest()[:32]}"')
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
        else:
            self.finish(data)


class Document(_Cacheable):
    async def get(self) -> None:
        await self.reply_cacheable(await asyncio.to_thread(lambda: self.specification.as_json), JSON)


class Docs(_Cacheable):
    async def get(self) -> None:
        html, policy = await asyncio.to_thread(lambda: self.specification.as_page)
        self.set_header("Content-Security-Policy", policy)
        await self.reply_cacheable(html, "text/html; charset=utf-8")
