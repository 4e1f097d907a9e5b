"""Opens an authenticated SSH connection: TCP, the check of the host's key, and sign-in with the user's key."""

import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
from paramiko.pkey import UnknownKeyType

from jobd_ssh import hostkeys
from jobd_ssh.failures import LinkFailure, of_connecting, of_sign_in
from jobd_ssh.options import SshOptions

STREAMLOCAL = "direct-streamlocal@openssh.com"
UNACKNOWLEDGED = 3
"""Keep-alive messages without an acknowledgement after which the operating system closes the connection."""

# paramiko logs errors that are translated and reported here.
logging.getLogger("jobd_ssh.wire").setLevel(logging.CRITICAL)


class Transport(paramiko.Transport):
    """A paramiko transport that also supports forwarding to a Unix socket (OpenSSH's PROTOCOL, section 2.4)."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.set_log_channel("jobd_ssh.wire")
        self._opening = threading.local()

    def open_streamlocal(self, path: str, timeout: float) -> paramiko.Channel:
        """A channel to a socket on the remote host. Raises paramiko's SSHException."""
        self._opening.path = path
        try:
            return self.open_channel(STREAMLOCAL, timeout=timeout)
        finally:
            self._opening.path = None

    def _send_user_message(self, data: paramiko.Message) -> None:
        # `open_channel` offers no other place to add the fields of this kind of channel.
        path = getattr(self._opening, "path", None)
        if path is not None:
            data.add_string(path)
            data.add_string("")
            data.add_int(0)
        super()._send_user_message(data)  # type: ignore[misc]

    @property
    def alive(self) -> bool:
        """Whether the connection can be used; not in a forked process, which has the object but not its thread."""
        return self.is_active() and self.is_alive()


def connect(options: SshOptions) -> Transport:
    """An authenticated connection. Raises LinkFailure."""
    host, port = options.address
    known = hostkeys.look_up(host, port, options.known_hosts)
    try:
        transport = Transport(_tcp(options))
    except (OSError, paramiko.SSHException) as error:
        raise of_connecting(error, host, port, options.connect_timeout) from error
    try:
        _shake_hands(transport, options, known)
        _sign_in(transport, options)
    except BaseException:
        transport.close()
        raise
    transport.set_keepalive(options.keepalive)
    return transport


class PromptSocket(socket.socket):
    """Acknowledges data at once: sshd delays small packets until then, and the system would wait for 40 ms."""

    def recv(self, *args: Any) -> bytes:
        data = super().recv(*args)
        # The option only lasts for a few segments.
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


def _tcp(options: SshOptions) -> socket.socket:
    connection = socket.create_connection(options.address, options.connect_timeout)
    sock = PromptSocket(fileno=connection.detach())
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Keep-alive alone does not detect a half-open link while data wait to be sent.
    patience = round(UNACKNOWLEDGED * options.keepalive * 1000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
    return sock


def _shake_hands(transport: Transport, options: SshOptions, known: hostkeys.Known) -> None:
    host, port = options.address
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = options.connect_timeout
    algorithms = transport.get_security_options()
    algorithms.key_types = known.preferred(algorithms.key_types)
    try:
        # Longer than the timeouts of the steps, whose errors are more specific.
        transport.start_client(timeout=2 * options.connect_timeout)
        key = transport.get_remote_server_key()
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise of_connecting(error, host, port, options.connect_timeout) from error
    known.check(key)


def _sign_in(transport: Transport, options: SshOptions) -> None:
    refused: LinkFailure | None = None
    for shown, key in _keys(options):
        try:
            if not transport.auth_publickey(options.user, key):
                return
            refused = LinkFailure(f"the SSH server wants more than a key of {options.user}, which jobd cannot give")
        except (paramiko.SSHException, EOFError) as error:
            refused = of_sign_in(error, options.user, shown)
            if not transport.is_active():
                break
    raise refused or LinkFailure("the ssh-agent has no keys" if options.agent else "there is no key to sign in with")


def _keys(options: SshOptions) -> Iterator[tuple[str, Any]]:
    """The keys to try, each with a description."""
    if options.identity_file is not None:
        key = _read_key(options.identity_file)
        yield f"{options.identity_file} ({key.fingerprint})", key
    if options.agent:
        try:
            keys = paramiko.Agent().get_keys()
        except (OSError, paramiko.SSHException) as error:
            raise LinkFailure(f"the ssh-agent at SSH_AUTH_SOCK does not answer: {error}") from error
        for agent_key in keys:
            yield f"the ssh-agent's key {agent_key.fingerprint}", agent_key


def _read_key(path: Path) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path)
    except OSError as error:
        raise LinkFailure(f"the private key {path} cannot be read: {error.strerror}") from error
    except (TypeError, paramiko.PasswordRequiredException) as error:
        raise LinkFailure(f"the private key {path} has a passphrase: let an ssh-agent hold it") from error
    except (ValueError, paramiko.SSHException, UnknownKeyType) as error:
        raise LinkFailure(f"{path} is not a usable private key: {error}") from error
