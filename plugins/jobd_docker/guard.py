"""A process that cuts the attached streams of a jobd that is halted, which would hold up what its containers write.

It holds the same sockets, and waits for a sign of life. Run as a script it is that process: it needs no module of ours.
"""

import contextlib
import select
import socket
import struct
import subprocess
import sys
from pathlib import Path

BEAT = 2.0
"""Seconds between two signs of life, at most."""
PATIENCE = 10.0
"""Seconds without one after which all is cut."""

_MESSAGE = struct.Struct("!cQ")


class Guard:
    """The process, from the side of the one that is guarded. Used by one thread. Does nothing once it is gone."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", str(Path(__file__)), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # a terminal's Ctrl-Z halts whole groups
                start_new_session=True,
            )
        self._socket.setblocking(False)

    def add(self, key: int, file: int) -> None:
        """Cut this socket, too."""
        with contextlib.suppress(OSError):
            socket.send_fds(self._socket, [_MESSAGE.pack(b"a", key)], [file])

    def remove(self, key: int) -> None:
        self._send(b"r", key)

    def beat(self) -> None:
        """A sign of life."""
        self._send(b"b", 0)

    @property
    def has_cut(self) -> bool:
        """Whether it has cut what it held since this was asked last; what ends because of that ends after this."""
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
    """Until the other side ends."""
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
