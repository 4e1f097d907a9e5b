"""A process that cuts the attached streams of a jobd that is suspended, which would block its containers' output.

It has the same sockets open and waits for heartbeats. This file is run as a script, without any module of jobd.
"""

import contextlib
import select
import socket
import struct
import subprocess
import sys
from pathlib import Path

BEAT = 2.0
"""Maximum seconds between two heartbeats."""
PATIENCE = 10.0
"""Seconds without a heartbeat after which all streams are cut."""

_MESSAGE = struct.Struct("!cQ")


class Guard:
    """The guarded side's handle of the process. For one thread only. Does nothing once the process has ended."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", str(Path(__file__)), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # A terminal's Ctrl-Z suspends whole process groups.
                start_new_session=True,
            )
        self._socket.setblocking(False)

    def add(self, key: int, file: int) -> None:
        """Include this socket among those to be cut."""
        with contextlib.suppress(OSError):
            socket.send_fds(self._socket, [_MESSAGE.pack(b"a", key)], [file])

    def remove(self, key: int) -> None:
        self._send(b"r", key)

    def beat(self) -> None:
        """Send a heartbeat."""
        self._send(b"b", 0)

    @property
    def has_cut(self) -> bool:
        """Whether it has cut streams since the last call. Attachments that end because of it do so after this call."""
        try:
            return bool(self._socket.recv(_MESSAGE.size))
        except OSError:
            return False

    def close(self) -> None:
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)

    def _send(self, word: bytes, key: int) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(_MESSAGE.pack(word, key))


def guard(signs: socket.socket) -> None:
    """Guard sockets until the other side ends."""
    held: dict[int, socket.socket] = {}
    while True:
        if not select.select([signs], [], [], PATIENCE)[0]:
            if held:
                signs.send(_MESSAGE.pack(b"c", 0))
            for cut in held.values():
                with contextlib.suppress(OSError):
                    cut.shutdown(socket.SHUT_RDWR)
                cut.close()
            held.clear()
            continue
        message, files, _, _ = socket.recv_fds(signs, _MESSAGE.size, 1)
        if not message:
            return
        word, key = _MESSAGE.unpack(message)
        if word == b"a" and files:
            held[key] = socket.socket(fileno=files[0])
        elif word == b"r" and key in held:
            held.pop(key).close()


if __name__ == "__main__":
    guard(socket.socket(fileno=int(sys.argv[1])))
