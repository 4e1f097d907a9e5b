"""The errors of SSH connections, with helpful messages."""

import errno
import socket

import paramiko
from paramiko.ssh_exception import IncompatiblePeer


class LinkFailure(ConnectionError):
    """Has its message in `strerror`, as errors of the operating system do."""

    def __init__(self, words: str) -> None:
        super().__init__(errno.ECONNABORTED, words)
        self.words = words


class Refused(LinkFailure):
    """The server did not open a channel."""


LOST = "the SSH connection was lost"


def of_connecting(error: Exception, host: str, port: int, seconds: float) -> LinkFailure:
    """The failure of a connection before its sign-in. `seconds` is the timeout of each step."""
    if isinstance(error, LinkFailure):
        return error
    if isinstance(error, socket.gaierror):
        return LinkFailure(f"the name {host} cannot be resolved: {error.strerror}")
    if isinstance(error, ConnectionRefusedError):
        return LinkFailure(f"nothing listens on port {port} of {host} (connection refused)")
    if isinstance(error, TimeoutError):
        return LinkFailure(f"{host} does not answer on port {port} within {seconds:g} s")
    if isinstance(error, IncompatiblePeer):
        return LinkFailure(f"the SSH server and jobd have no algorithm in common: {error}")
    if "banner" in str(error) or isinstance(error, EOFError | ConnectionResetError):
        return LinkFailure(
            f"port {port} of {host} hangs up or does not speak SSH; "
            "an sshd does so when too many connections wait for sign-in (MaxStartups)"
        )
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return LinkFailure(f"no SSH with {host} on port {port}: {words}")


def of_sign_in(error: paramiko.SSHException | EOFError, user: str, shown: str) -> LinkFailure:
    """The failure of a sign-in; `shown` describes the keys that were tried."""
    if isinstance(error, paramiko.BadAuthenticationType):
        allowed = ", ".join(error.allowed_types)
        return LinkFailure(f"the SSH server lets nobody sign in with a key, only with {allowed}")
    if isinstance(error, paramiko.AuthenticationException) and "timeout" not in str(error).lower():
        return LinkFailure(
            f"the SSH server does not let {user} sign in with {shown}: "
            f"is its public half in {user}'s authorized_keys, and is the account not locked?"
        )
    return LinkFailure(f"signing in as {user} with {shown} failed: {error or 'the server hung up'}")
