"""A machine of its own at the end of a wire that can be pulled: a network namespace behind a veth pair."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests.services import missing, require

NEAR, FAR = 1, 2
"""Last parts of the two addresses."""


class Wire:
    """`address` is the far end's; `enter` goes before a command that is to run there."""

    def __init__(self) -> None:
        self._ip = require("ip")
        self._name = f"jobd{uuid.uuid4().hex[:8]}"
        self._network = f"10.213.{int(self._name[4:6], 16)}.{int(self._name[6:8], 16) & 0xFC}".split(".")
        self.address = self._host(FAR)
        self.enter = (require("nsenter"), f"--net=/run/netns/{self._name}")

    def lay(self) -> None:
        self._run("netns", "add", self._name)
        self._run("link", "add", self._name, "type", "veth", "peer", "name", "eth0", "netns", self._name)
        self._run("addr", "add", f"{self._host(NEAR)}/30", "dev", self._name)
        self._run("-n", self._name, "addr", "add", f"{self.address}/30", "dev", "eth0")
        self._run("-n", self._name, "link", "set", "eth0", "up")
        self.mend()

    def pull(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        self._run("-n", self._name, "link", "set", "eth0", "down")

    def mend(self) -> None:
        self._run("-n", self._name, "link", "set", "eth0", "up")
        self._run("link", "set", self._name, "up")

    def take_away(self) -> None:
        self._run("netns", "del", self._name)

    def _host(self, number: int) -> str:
        *network, last = self._network
        return ".".join([*network, str(int(last) + number)])

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._ip, *arguments], check=True, capture_output=True)


@contextmanager
def laid_wire() -> Iterator[Wire]:
    if os.geteuid() != 0:
        missing("root, for a network namespace")
    wire = Wire()
    wire.lay()
    try:
        yield wire
    finally:
        wire.take_away()
