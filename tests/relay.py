"""A relay in front of a real Docker engine that loses a connection at the worst moment, as engines old and new do.

Docker 20.10 carries a start through whose client has gone; Docker 26 cancels one that has not come far, and leaves the
container created, with the error "context canceled".
"""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Fate = Literal["carried through", "canceled", "as the engine does"]
"""What becomes of a request whose client goes away."""


class Relay(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Passes on what comes until it is cut, by `cut` or by the request that says `deaf_to`, which meets `fate`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, engine: str) -> None:
        super().__init__(str(path), Passage)
        self.engine = engine.removeprefix("unix://")
        self.is_cut = False
        self.deaf_to: bytes | None = None
        self.fate: Fate = "as the engine does"
        self.clients: set[socket.socket] = set()
        self.engines: set[socket.socket] = set()

    @property
    def open(self) -> set[socket.socket]:
        return self.clients | self.engines

    def cut(self, clients_alone: bool = False) -> None:
        self.is_cut = True
        for end in list(self.clients if clients_alone else self.open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def heal(self) -> None:
        """From now on nothing is lost."""
        self.deaf_to, self.is_cut = None, False


class Passage(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        if self.server.is_cut:
            return
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self.server.engine)
            self.server.clients.add(self.request)
            self.server.engines.add(engine)
            back = threading.Thread(target=self._pass, args=(engine, self.request), daemon=True)
            back.start()
            is_carried_through = self._pass(self.request, engine)
            if not is_carried_through:
                with contextlib.suppress(OSError):
                    engine.shutdown(socket.SHUT_WR)
            back.join()
            self.server.clients.discard(self.request)
            self.server.engines.discard(engine)

    def _pass(self, source: socket.socket, target: socket.socket) -> bool:
        """Whether it ended with a request that the engine is to carry through."""
        fate = self.server.fate
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                is_last = self.server.deaf_to is not None and self.server.deaf_to in data
                if not (is_last and fate == "canceled"):
                    target.sendall(data)
                if is_last:
                    self.server.cut(clients_alone=fate == "carried through")
                    return fate == "carried through"
        if source not in self.server.clients:
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)
        return False


@contextlib.contextmanager
def relay_to(engine: str, path: Path) -> Iterator[Relay]:
    with Relay(path, engine) as relay:
        thread = threading.Thread(target=relay.serve_forever, args=(0.05,))
        thread.start()
        yield relay
        relay.shutdown()
        thread.join()
