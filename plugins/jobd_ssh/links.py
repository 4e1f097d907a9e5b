"""Shares a few SSH connections among many requests: chooses one for each channel, and opens more as needed."""

import os
import threading
import time
import weakref
from contextlib import suppress
from shlex import quote

import paramiko

from jobd_ssh import signin
from jobd_ssh.channels import BROKEN, ChannelSocket
from jobd_ssh.failures import LOST, LinkFailure, Refused
from jobd_ssh.options import SshOptions

SESSIONS = 10
"""sshd's default MaxSessions: concurrent commands on one connection. A forwarding is not a session."""
CHANNELS = 100
"""Forwardings on one connection, for which an sshd has 1024 file descriptors and one thread."""
FULL_FOR = 5.0
"""Seconds for which a connection that refused a session gets no further ones."""
DELAYS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each further attempt to connect; the last one is repeated."""
PROBE = "test -e {0} || echo absent; test -r {0} -a -w {0} || echo denied"


class Link:
    """One connection and the number of its open channels."""

    def __init__(self, transport: signin.Transport) -> None:
        self.transport = transport
        self.channels = 0
        self.full_until = 0.0


class Links:
    """The connections of one region. Thread-safe; a forked process begins without any."""

    def __init__(self, options: SshOptions) -> None:
        self._options = options
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._links: list[Link] = []
        self._way: str | None = None
        self._failures = 0
        self._failure: LinkFailure | None = None
        self._not_before = 0.0
        self._closed = False

    def open(self) -> ChannelSocket:
        """A connection to the engine. Raises LinkFailure."""
        while True:
            link = self._room()
            opened = False
            try:
                sock = self._channel(link)
                opened = True
                return sock
            except Refused:
                with self._lock:
                    alone = link.channels == 1
                    link.full_until = time.monotonic() + FULL_FOR
                if alone:
                    raise
            finally:
                if not opened:
                    self._release(link)

    def close(self) -> None:
        """Close all connections. Requests in progress fail."""
        with self._lock:
            self._closed = True
            links, self._links = self._links, []
        for link in links:
            link.transport.close()

    def _room(self) -> Link:
        """A link with a channel reserved on it."""
        link = self._free()
        if link is None:
            with self._connecting:
                # Another thread may have connected meanwhile.
                link = self._free() or self._connect()
        return link

    def _free(self) -> Link | None:
        with self._lock:
            self._links = [link for link in self._links if link.transport.alive]
            if not self._links:
                # The server may be replaced by another one before the next connection.
                self._way = None
            limit = CHANNELS if self._way == "streamlocal" else SESSIONS
            now = time.monotonic()
            for link in self._links:
                if link.channels < limit and link.full_until < now:
                    link.channels += 1
                    return link
        return None

    def _connect(self) -> Link:
        if self._closed:
            raise LinkFailure("the region was closed")
        if self._failure is not None and time.monotonic() < self._not_before:
            raise LinkFailure(self._failure.words)
        try:
            link = Link(signin.connect(self._options))
        except LinkFailure as error:
            self._failure = error
            self._not_before = time.monotonic() + DELAYS[min(self._failures, len(DELAYS) - 1)]
            self._failures += 1
            raise
        self._failure, self._failures = None, 0
        link.channels = 1
        with self._lock:
            if not self._closed:
                self._links.append(link)
                return link
        link.transport.close()
        raise LinkFailure("the region was closed")

    def _release(self, link: Link) -> None:
        with self._lock:
            link.channels -= 1
            spare = link.channels == 0 and len(self._links) > 1 and link in self._links
            if spare:
                self._links.remove(link)
        if spare:
            link.transport.close()

    def _channel(self, link: Link) -> ChannelSocket:
        transport = self._options.transport
        if transport == "dial-stdio" or (transport == "auto" and self._way == "dial-stdio"):
            return self._dial(link)
        try:
            channel = link.transport.open_streamlocal(self._options.socket, self._options.connect_timeout)
        except BROKEN as error:
            refused = self._refusal(link, error)
            if not isinstance(refused, Refused):
                raise refused from error
            if transport == "auto":
                return self._dial(link)
            raise LinkFailure(self._why_not_forwarded(link)) from error
        return self._socket(link, channel, "streamlocal")

    def _dial(self, link: Link) -> ChannelSocket:
        command = f"{self._options.docker} -H {quote(f'unix://{self._options.socket}')} system dial-stdio"
        channel = self._session(link, command)
        return self._socket(link, channel, "dial-stdio", command)

    def _socket(self, link: Link, channel: paramiko.Channel, way: str, command: str | None = None) -> ChannelSocket:
        return ChannelSocket(channel, link.transport, lambda: self._release(link), lambda: self._worked(way), command)

    def _session(self, link: Link, command: str) -> paramiko.Channel:
        """A channel that runs a command. Raises LinkFailure, and Refused if the server allows no more sessions."""
        try:
            channel = link.transport.open_session(timeout=self._options.connect_timeout)
            channel.settimeout(self._options.connect_timeout)
            channel.exec_command(command)
        except BROKEN as error:
            raise self._refusal(link, error) from error
        return channel

    def _refusal(self, link: Link, error: Exception) -> LinkFailure:
        if not link.transport.alive:
            return LinkFailure(LOST)
        if "timeout" in str(error).lower() or isinstance(error, TimeoutError):
            return LinkFailure(f"the SSH server opened no channel within {self._options.connect_timeout:g} s")
        return Refused(f"the SSH server runs no command (MaxSessions 0, or an account without one): {error}")

    def _worked(self, way: str) -> None:
        with self._lock:
            self._way = self._way or way

    def _why_not_forwarded(self, link: Link) -> str:
        """Why a forwarding was refused. The protocol gives no reason, so a command tries to find out."""
        socket, user = self._options.socket, self._options.user
        output = b""
        with suppress(*BROKEN):
            channel = self._session(link, PROBE.format(quote(socket)))
            while piece := channel.recv(4096):
                output += piece
            channel.close()
        words = output.split()
        if b"absent" in words:
            return f"there is no {socket} on the far side"
        if b"denied" in words:
            return f"{user} may not use {socket} on the far side (permission denied); is {user} in its group?"
        return (
            f"the SSH server does not connect to {socket}: it forbids forwarding (AllowStreamLocalForwarding, "
            "`restrict` in authorized_keys), or nothing listens there; for the former, transport = dial-stdio helps"
        )


_all: weakref.WeakSet[Links] = weakref.WeakSet()


def _forget_after_fork() -> None:
    """The parent continues to use its connections, so the child must not write to them."""
    for links in _all:
        for link in links._links:
            link.transport.active = False  # type: ignore[attr-defined]
            link.transport.sock.close()
        links._begin()


os.register_at_fork(after_in_child=_forget_after_fork)
