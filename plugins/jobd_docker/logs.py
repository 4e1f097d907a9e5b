"""Reads a container's output, as the program wrote it, from Docker's log frames."""

import contextlib
import re
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import docker
import requests
from docker.errors import create_api_error_from_http_exception

from jobd.executor import LogChunk, Stream
from jobd_docker.client import url

PIECE = 65536
"""Bytes read at once; a chunk has at most about as many, give or take a line."""

_HEADER: Final = struct.Struct(">BxxxL")
_STREAMS: Final[dict[int, Stream]] = {1: "stdout", 2: "stderr"}
_TO_THE_MILLISECOND = len("2026-11-24T17:06:17.451")


@dataclass(frozen=True)
class Frame:
    """One line, or a part of a line longer than 16 KiB; all parts of a line have the same time."""

    stream: Stream
    time: bytes
    data: bytes

    def at(self) -> datetime:
        return datetime.fromisoformat(self.time.decode())


class LogRequest:
    """One request for a container's output. `cut` ends it from another thread, over any kind of connection."""

    def __init__(self, container: str, follow: bool, since: datetime | None) -> None:
        self._container = container
        self._follow = follow
        self._params = {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": "all", "follow": str(int(follow))}
        if since is not None:
            self._params["since"] = f"{since.timestamp():.6f}"
        self._lock = threading.Lock()
        self._response: requests.Response | None = None
        self._is_cut = False

    def chunks(self, client: docker.APIClient) -> Iterator[LogChunk]:
        """The output. Raises docker's APIError, and errors of `requests` if the connection is lost."""
        response = client.get(
            url(client, f"/containers/{self._container}/logs"),
            params=self._params,
            stream=True,
            timeout=(client.timeout, None if self._follow else client.timeout),
        )
        with response:
            try:
                response.raise_for_status()
            except requests.HTTPError as error:
                create_api_error_from_http_exception(error)
            with self._lock:
                if self._is_cut:
                    return
                self._response = response
            try:
                yield from chunks(frames(response.iter_content(PIECE)), self._follow)
            finally:
                with self._lock:
                    self._response = None

    def cut(self) -> None:
        with self._lock:
            self._is_cut = True
            if self._response is not None:
                # Closing the socket would not wake a thread that reads from it. Fails if the response has ended.
                with contextlib.suppress(OSError, RuntimeError):
                    self._response.raw.shutdown()


def kept_frames(client: docker.APIClient, container: str, since: str | None = None) -> Iterator[Frame]:
    """The container's output that the engine has kept, from a Unix time on. Raises docker's APIError, and errors of
    `requests` if the connection is lost.
    """
    params = {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": "all", **({"since": since} if since else {})}
    with client.get(url(client, f"/containers/{container}/logs"), params=params, stream=True) as response:
        try:
            response.raise_for_status()
        except requests.HTTPError as error:
            create_api_error_from_http_exception(error)
        yield from frames(response.iter_content(PIECE))


def frames(pieces: Iterable[bytes]) -> Iterator[Frame]:
    """The frames in a multiplexed stream with timestamps, however it is cut into pieces."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        at = 0
        while len(buffer) - at >= _HEADER.size:
            stream, size = _HEADER.unpack_from(buffer, at)
            end = at + _HEADER.size + size
            if end > len(buffer):
                break
            time, _, data = bytes(buffer[at + _HEADER.size : end]).partition(b" ")
            yield Frame(_STREAMS[stream], time, data)
            at = end
        del buffer[:at]


def chunks(frames: Iterable[Frame], at_once: bool) -> Iterator[LogChunk]:
    """The output in order; without `at_once`, neighbouring lines of one millisecond are joined in one chunk."""
    kept: list[Frame] = []
    size = 0
    for frame in with_newlines(frames):
        if kept and (size >= PIECE or not _belong_together(kept[0], frame)):
            yield _chunk(kept)
            kept, size = [], 0
        kept.append(frame)
        size += len(frame.data)
        if at_once:
            yield _chunk(kept)
            kept, size = [], 0
    if kept:
        yield _chunk(kept)


def with_newlines(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Restore the newline that the log driver drops after a line of several parts.

    A frame of the same stream with another time is a new line, so there was a newline before it. After the last line
    of a stream only an empty part shows that there was one; without it, none is added.
    """
    last: dict[Stream, Frame] = {}
    for frame in frames:
        before = last.get(frame.stream)
        if before is not None and before.time != frame.time and not before.data.endswith(b"\n"):
            yield Frame(before.stream, before.time, b"\n")
        last[frame.stream] = frame
        if frame.data:
            yield frame
    for frame in last.values():
        if not frame.data:
            yield Frame(frame.stream, frame.time, b"\n")


def _belong_together(first: Frame, frame: Frame) -> bool:
    return first.stream == frame.stream and first.time[:_TO_THE_MILLISECOND] == frame.time[:_TO_THE_MILLISECOND]


def _chunk(frames: list[Frame]) -> LogChunk:
    data = frames[0].data if len(frames) == 1 else b"".join(frame.data for frame in frames)
    return LogChunk(datetime.fromisoformat(frames[0].time.decode()), frames[0].stream, data)


def init_failure(client: docker.APIClient, container: str) -> str:
    """Why the init could not execute the command, or an empty text if the init did not say so."""
    last = client.logs(container, stdout=False, stderr=True, tail=1)
    match = re.match(rb"\[FATAL tini \(\d+\)\] exec (.+) failed: (.+)", last)
    return f"{match[1].decode(errors='replace')}: {match[2].decode(errors='replace').lower()}" if match else ""
