"""The INI keys of a region whose Docker is reached over SSH."""

import getpass
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from jobd_docker.options import ContainerOptions

Transport = Literal["auto", "streamlocal", "dial-stdio"]

SSH_PORT = 22
_ADDRESS = re.compile(
    r"(?:(?P<user>[^\s@/:]+)@)?(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s@/:\[\]]+))(?::(?P<port>\d{1,5}))?"
)


def _host(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if not match or not 0 < int(match["port"] or SSH_PORT) < 65536:
        raise ValueError("is not USER@HOST or USER@HOST:PORT, with an IPv6 address in brackets")
    return value


class SshOptions(ContainerOptions):
    host: Annotated[str, AfterValidator(_host)]
    """`user@host:port`; the default port is 22, the default user the one that jobd runs as."""
    identity_file: Path | None = None
    """A private key without a passphrase; a certificate beside it (`…-cert.pub`) is used, too."""
    agent: bool = False
    """Whether the keys of the ssh-agent at `SSH_AUTH_SOCK` are tried (after `identity_file`)."""
    known_hosts: Path | None = None
    """The file with the host's key; by default `~/.ssh/known_hosts`, then `/etc/ssh/ssh_known_hosts`."""
    socket: str = Field("/var/run/docker.sock", pattern=r"^/\S+$")
    """Docker's socket on the remote host."""
    transport: Transport = "auto"
    """With `streamlocal`, the server forwards to the socket. With `dial-stdio`, it runs the `docker` program, which is
    what a key restricted to that command needs. `auto` is the first, or the second if the server refuses the first."""
    docker: str = Field("docker", pattern=r"^[\w./+-]+$")
    """The program for `dial-stdio`; with its path, if it is not in the server's PATH."""
    connect_timeout: float = Field(10, ge=1, le=120)
    """Seconds for each step of connecting: TCP, key exchange, sign-in, a channel."""
    keepalive: float = Field(5, ge=1, le=300)
    """Seconds between keep-alive messages. A link that acknowledges none for three times as long is closed."""

    @model_validator(mode="after")
    def _signs_in_somehow(self) -> "SshOptions":
        if self.identity_file is None and not self.agent:
            raise ValueError("`identity_file` is missing, the private key to sign in with; or set `agent = yes`")
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and TCP port."""
        parts = self._parts
        return parts["ipv6"] or parts["name"], int(parts["port"] or SSH_PORT)

    @property
    def user(self) -> str:
        return self._parts["user"] or getpass.getuser()

    @property
    def _parts(self) -> re.Match[str]:
        match = _ADDRESS.fullmatch(self.host)
        assert match is not None  # noqa: S101
        return match
