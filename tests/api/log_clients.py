"""One exec that runs on an engine with the API before it, and clients that follow its log."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from jobd.store.db.tables import Exec
from tests.api.server import Api
from tests.engine.conftest import Bench
from tests.engine.executors import MemoryExecutor

LONG = 30.0
"""Seconds."""


@dataclass
class Event:
    name: str
    id: str
    data: Any


class Stream:
    """An answer as it comes. HTTP/1.0, so that nothing stands between the lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}

    async def begin(self) -> None:
        self.status = int((await self.line()).split()[1])
        while line := (await self.line()).strip():
            name, _, value = line.partition(": ")
            self.headers[name] = value

    async def line(self) -> str:
        return (await asyncio.wait_for(self._reader.readline(), LONG)).decode()

    async def event(self) -> Event | None:
        """The next event, comments passed over; None at the end of the stream."""
        fields: dict[str, str] = {}
        while line := await self.line():
            if line == "\n" and "event" in fields:
                return Event(fields["event"], fields["id"], json.loads(fields["data"]))
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
        return None

    async def events(self) -> list[Event]:
        return [event async for event in self]

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self.event()) is not None:
            yield event

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self._reader.read(), LONG)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class Place:
    """A running engine with one executor, the API before it, and one exec that runs."""

    def __init__(self, bench: Bench, api: Api, executor: MemoryExecutor, row: Exec) -> None:
        self.bench, self.api, self.executor, self.row = bench, api, executor, row
        self.path = f"/v1/jobs/{row.job_id}/execs/{row.id}/logs"

    def write(self, data: bytes, stream: Any = "stdout") -> None:
        self.executor.write(self.row.id, data, stream)

    async def end(self, exit_code: int = 0, output: bytes = b"") -> None:
        self.executor.end(self.row.id, exit_code, output)
        await self.bench.until(self.row, "S", "F")

    async def get(self, query: str = "", **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.api.call("GET", f"{self.path}{query}", headers=sent)

    @asynccontextmanager
    async def follow(self, query: str = "", last_id: str | None = None, accept: str = "text/event-stream") -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.api.port, limit=2**20)
        head = [
            f"GET {self.path}?follow=1{query} HTTP/1.0",
            f"Authorization: Token {self.api.token}",
            f"Accept: {accept}",
            *([] if last_id is None else [f"Last-Event-ID: {last_id}"]),
        ]
        writer.write("\r\n".join([*head, "", ""]).encode())
        stream = Stream(reader, writer)
        await stream.begin()
        try:
            yield stream
        finally:
            await stream.close()


def told(events: list[Event], stream: str = "stdout") -> bytes:
    """The bytes of a stream, as a client puts them together."""
    return b"".join(
        base64.b64decode(event.data["base64"]) if "base64" in event.data else event.data["message"].encode()
        for event in events
        if event.name == "log" and event.data["stream"] == stream
    )
