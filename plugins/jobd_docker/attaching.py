"""Reads the attached streams of containers, which have their output as it is written, all in one thread.

An engine blocks a program that writes faster than an attached client reads, so nothing is lost while the connection
lasts. A client that ends, or whose connection is cut, does not block the program.
"""

import contextlib
import logging
import queue
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

from jobd.errors import ExecutorError, HandleGone, RegionUnavailable
from jobd.executor import LogChunk, OutputSink, Stream
from jobd_docker.guard import BEAT, Guard

log = logging.getLogger(__name__)

PIECE = 65536
"""Bytes read from one container before it is another's turn."""
HEADER_LIMIT = 16384
"""Maximum bytes of the engine's response before the stream begins."""

_HEADER: Final = struct.Struct(">BxxxL")
_STREAMS: Final[dict[int, Stream]] = {1: "stdout", 2: "stderr"}


class Connection(Protocol):
    """A connection to an engine. Raises OSError."""

    def sendall(self, data: bytes) -> None: ...

    def recv(self, size: int) -> bytes: ...

    def receive(self, size: int) -> bytes | None:
        """The bytes that have arrived: None if there are none yet, empty after the end. Does not wait."""

    def when_readable(self, ring: Callable[[], None]) -> int | None:
        """A file descriptor to wait for. Or None; then `ring` is called, from any thread, when bytes have arrived."""

    @property
    def file(self) -> int:
        """The file descriptor of the underlying socket, which may carry other connections, too."""

    def close(self) -> None: ...


class SocketConnection:
    """A connection to the engine's Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self.sendall, self.recv, self.close = self._socket.sendall, self._socket.recv, self._socket.close

    @property
    def file(self) -> int:
        return self._socket.fileno()

    def receive(self, size: int) -> bytes | None:
        try:
            return self._socket.recv(size)
        except BlockingIOError:
            return None

    def when_readable(self, ring: Callable[[], None]) -> int | None:
        self._socket.setblocking(False)
        return self._socket.fileno()


class Attachment:
    """One container's attached streams. `size` and `last_time` may be read once `ended` is set."""

    def __init__(self, connection: Connection, sink: OutputSink, now: Callable[[], datetime], session: int) -> None:
        self.connection = connection
        self.session = session
        """The number of the event stream that was open when this began."""
        self.when_ended: Callable[[], None] = lambda: None
        self.ended = threading.Event()
        """Set when the sink gets no more output."""
        self.was_cut = False
        """Whether it ended in the middle of a frame."""
        self.size: dict[Stream, int] = {"stdout": 0, "stderr": 0}
        """Bytes passed to the sink."""
        self.last_time = datetime.min.replace(tzinfo=UTC)
        self.waited_for: int | None = None
        """The file descriptor to wait for, if there is one."""
        self._sink = sink
        self._now = now
        self._begun = b""
        self._left = 0
        self._stream: Stream = "stdout"

    def feed(self, data: bytes) -> None:
        """Process the next bytes of the connection. Raises ValueError if they are not an engine's stream."""
        buffer, at = self._begun + data, 0
        parts: list[tuple[Stream, bytes]] = []
        while at < len(buffer):
            if self._left:
                part = buffer[at : at + self._left]
                parts.append((self._stream, part))
                self._left -= len(part)
                at += len(part)
                continue
            if len(buffer) - at < _HEADER.size:
                break
            number, self._left = _HEADER.unpack_from(buffer, at)
            if number not in _STREAMS:
                raise ValueError(f"stream {number}")
            self._stream = _STREAMS[number]
            at += _HEADER.size
        self._begun = buffer[at:]
        self._give(parts)

    def end(self) -> None:
        """The connection has ended."""
        self.was_cut = self.was_cut or bool(self._begun or self._left)
        self.ended.set()
        self.when_ended()

    def _give(self, parts: list[tuple[Stream, bytes]]) -> None:
        # Times never go back, even if the clock does.
        self.last_time = max(self.last_time, self._now())
        for stream, data in parts:
            self.size[stream] += len(data)
            self._sink.add(LogChunk(self.last_time, stream, data))


class Attachments:
    """The attachments of one region, and the thread that reads them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._open: set[Attachment] = set()
        self._guard: Guard | None = None
        self._next_beat = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"jobd-{name}-output", daemon=True)
        self._thread.start()

    def add(self, attachment: Attachment) -> None:
        """Read an attachment until its end."""
        self._do(lambda: self._begin(attachment))

    def remove(self, attachment: Attachment) -> None:
        """Stop reading an attachment; `ended` is set soon after."""
        if not attachment.ended.is_set():
            self._do(lambda: self._end(attachment))

    def close(self) -> None:
        self._closed = True
        self._do(lambda: None)

    def _do(self, command: Callable[[], None]) -> None:
        """Run a command in the thread, and wake the thread unless that was done already."""
        self._commands.put(command)
        with contextlib.suppress(OSError):
            self._ringer.send(b"!")

    def _run(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select(BEAT if self._open else None):
                if isinstance(key.data, Attachment):
                    self._read(key.data)
            with contextlib.suppress(OSError):
                self._bell.recv(PIECE)
            for _ in range(self._commands.qsize()):
                self._commands.get()()
            if self._guard is not None and self._open:
                self._beat(self._guard)
        for attachment in list(self._open):
            self._end(attachment)
        self._selector.close()
        self._bell.close()
        self._ringer.close()
        if self._guard is not None:
            self._guard.close()

    def _beat(self, guard: Guard) -> None:
        now = time.monotonic()
        if now >= self._next_beat:
            guard.beat()
            self._next_beat = now + BEAT / 2

    def _begin(self, attachment: Attachment) -> None:
        self._open.add(attachment)
        try:
            self._guard = self._guard or Guard()
            self._guard.beat()
            self._guard.add(id(attachment), attachment.connection.file)
            file = attachment.connection.when_readable(lambda: self._do(lambda: self._read(attachment)))
            if file is not None:
                self._selector.register(file, selectors.EVENT_READ, attachment)
                attachment.waited_for = file
        except (OSError, ValueError) as error:
            log.debug("region %s: stopped reading a container's output: %s", self._name, error)
            attachment.was_cut = True
            self._end(attachment)

    def _read(self, attachment: Attachment) -> None:
        if attachment not in self._open:
            return
        try:
            data = attachment.connection.receive(PIECE)
            if data:
                attachment.feed(data)
                if attachment.waited_for is None:
                    # `ring` is called for new bytes only, not for those still unread.
                    self._do(lambda: self._read(attachment))
            elif data is not None:
                self._end(attachment)
        except Exception as error:
            log.debug("region %s: stopped reading a container's output: %s", self._name, error)
            attachment.was_cut = True
            self._end(attachment)

    def _end(self, attachment: Attachment) -> None:
        if attachment not in self._open:
            attachment.ended.set()
            return
        if self._guard is not None and self._guard.has_cut:
            for held in self._open:
                held.was_cut = True
        self._open.discard(attachment)
        if attachment.waited_for is not None:
            self._selector.unregister(attachment.waited_for)
        if self._guard is not None:
            self._guard.remove(id(attachment))
        with contextlib.suppress(OSError):
            attachment.connection.close()
        attachment.end()


def request(connection: Connection, path: str) -> bytes:
    """Request a container's streams and return the first bytes of them.

    Raises OSError, RegionUnavailable, HandleGone, and ExecutorError if the engine refuses.
    """
    connection.sendall(
        f"POST {path}?stream=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        "Content-Length: 0\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = connection.recv(4096)
        if not piece or len(answer) > HEADER_LIMIT:
            raise RegionUnavailable("Docker ended the connection that was to bring a container's output")
        answer += piece
    head, _, rest = answer.partition(b"\r\n\r\n")
    if not head.startswith((b"HTTP/1.1 101", b"HTTP/1.1 200")):
        refusal = head.partition(b"\r\n")[0].decode(errors="replace")
        error = HandleGone if refusal.startswith("HTTP/1.1 404") else ExecutorError
        raise error(f"Docker does not let a container's output be read: {refusal}")
    return rest
