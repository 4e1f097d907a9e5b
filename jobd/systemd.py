"""Messages to systemd about this service, as in sd_notify(3): datagrams to the socket that systemd names."""

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


def is_listening(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether systemd wants to be notified."""
    return bool(environ.get("NOTIFY_SOCKET"))


def watchdog(environ: Mapping[str, str] = os.environ) -> float | None:
    """Seconds within which `WATCHDOG=1` has to be sent again and again; None if systemd does not wait for it."""
    micros = environ.get("WATCHDOG_USEC", "")
    mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(micros) / 1e6 if mine and micros.isdecimal() and int(micros) else None


def notify(environ: Mapping[str, str] = os.environ, /, **fields: str | int) -> None:
    """Notify systemd, as in `notify(READY=1)`. Does nothing without systemd, or if it does not listen."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    lines = [f"{name}={' '.join(str(value).split())}" for name, value in fields.items()]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            door.setblocking(False)
            door.connect(address)
            door.send("\n".join(lines).encode("utf-8", "replace"))
    except OSError as error:
        log.debug("systemd could not be notified of %s: %s", ", ".join(fields), error)
