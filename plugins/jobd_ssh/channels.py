"""A channel of an SSH connection with the interface of a socket that http.client needs."""

import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import paramiko

from jobd_ssh.failures import LOST, LinkFailure
from jobd_ssh.signin import Transport

BROKEN = (OSError, EOFError, paramiko.SSHException)
"""What paramiko raises when the connection is lost."""
LAST_WORDS = 2.0
"""Seconds to wait for the error message of a failed command."""


class ChannelSocket:
    """Stays open, like a socket, until it and every file made from it are closed; then `released` is called, once.

    `answered` is called at the first byte. If a `command` ends without one, the error has its error message.
    """

    def __init__(
        self,
        channel: paramiko.Channel,
        transport: Transport,
        released: Callable[[], None],
        answered: Callable[[], None],
        command: str | None = None,
    ) -> None:
        self._channel = channel
        self._transport = transport
        self._released = released
        self._answered = answered
        self._command = command
        self._silent = True
        self._files = 0
        self._closed = False
        self._gone = False
        self._hung_up = False

    @property
    def usable(self) -> bool:
        """Whether a request may be sent: neither bytes nor an end have arrived unexpectedly."""
        channel = self._channel
        ended = self._gone or channel.closed or channel.eof_received
        return not ended and not channel.recv_ready() and self._transport.alive

    def settimeout(self, seconds: float | None) -> None:
        self._channel.settimeout(seconds)

    def sendall(self, data: Any) -> None:
        """Raises TimeoutError, LinkFailure."""
        try:
            self._channel.sendall(data)
        except TimeoutError:
            raise
        except BROKEN as error:
            raise self._end() or LinkFailure(LOST) from error

    def recv(self, size: int) -> bytes:
        """Raises TimeoutError, LinkFailure."""
        try:
            data = self._channel.recv(size)
        except TimeoutError:
            raise
        except BROKEN as error:
            raise LinkFailure(LOST) from error
        if data:
            if self._silent:
                self._silent = False
                self._answered()
        elif not self._hung_up and (failure := self._end()):
            raise failure
        return data

    def receive(self, size: int) -> bytes | None:
        """The bytes that have arrived, None if there are none yet. Does not wait. Raises LinkFailure."""
        self._channel.settimeout(0.0)
        try:
            return self.recv(size)
        except TimeoutError:
            return None

    @property
    def file(self) -> int:
        """The file descriptor of the SSH connection, which carries other channels, too."""
        return int(self._transport.sock.fileno())

    def when_readable(self, ring: Callable[[], None]) -> int | None:
        """Have paramiko's thread call `ring` when bytes have arrived or the channel has ended."""
        self._channel.in_buffer.set_event(_Bell(ring))  # type: ignore[arg-type]
        return None

    def makefile(self, mode: str = "rb", buffering: int | None = None) -> io.BufferedReader:
        self._files += 1
        return io.BufferedReader(_Reader(self), buffering if buffering and buffering > 0 else io.DEFAULT_BUFFER_SIZE)

    def shutdown(self, how: int) -> None:
        """Wake a reader, which paramiko's own `shutdown` does not."""
        self._hang_up()

    def close(self) -> None:
        self._closed = True
        self._let_go()

    def file_closed(self) -> None:
        self._files -= 1
        self._let_go()

    def _let_go(self) -> None:
        if self._closed and not self._files and not self._gone:
            self._gone = True
            self._hang_up()
            self._released()

    def _hang_up(self) -> None:
        self._hung_up = True
        with suppress(*BROKEN):
            self._channel.close()

    def _end(self) -> LinkFailure | None:
        """Why the channel ended, if that was a failure of the link or of the command."""
        if not self._transport.alive:
            return LinkFailure(LOST)
        if self._command is None or not self._silent or self._hung_up:
            return None
        return LinkFailure(self._last_words(self._command))

    def _last_words(self, command: str) -> str:
        channel = self._channel
        channel.settimeout(LAST_WORDS)
        output = b""
        try:
            while piece := channel.recv_stderr(4096):
                output += piece
        except TimeoutError:
            pass
        code = channel.exit_status if channel.status_event.wait(LAST_WORDS) else -1
        words = output.decode(errors="replace").strip()
        ended = f"exit code {code}" if code >= 0 else "no exit code"
        return f"`{command}` on the far side ended ({ended}): {words or 'it gave no reason'}"


class _Bell:
    """Takes the place of the event that paramiko sets when bytes have arrived; a channel's own needs two pipes."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self.set = ring

    def clear(self) -> None:
        """Called by paramiko when everything was read."""


class _Reader(io.RawIOBase):
    def __init__(self, sock: ChannelSocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._sock.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._sock.file_closed()
