"""The address of the client behind the operator's own proxies (`[jobd] trusted_proxies`)."""

import ipaddress
from collections.abc import Sequence

from tornado.httputil import HTTPServerRequest

MAX_HOPS = 20
"""Addresses in X-Forwarded-For that are read, counted from its end."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def use_forwarded_address(request: HTTPServerRequest, proxies: Sequence[Network]) -> None:
    """Set the request's address and scheme to those of the client behind `proxies`: the last `X-Forwarded-For` that is
    not one of them, and the last `X-Forwarded-Proto`. Other headers are ignored: a proxy that does not know one passes
    on what its client made up.
    """
    if not _is_one(request.remote_ip, proxies):
        return
    passed = request.headers.get("X-Forwarded-For", "").rsplit(",", MAX_HOPS)[-MAX_HOPS:]
    while passed and _is_one(request.remote_ip, proxies) and (before := _address(passed.pop())):
        request.remote_ip = before
    scheme = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    if scheme in ("http", "https"):
        request.protocol = scheme


def _is_one(address: str | None, proxies: Sequence[Network]) -> bool:
    known = _address(address or "")
    return known is not None and any(ipaddress.ip_address(known) in network for network in proxies)


def _address(text: str) -> str | None:
    """The address in its usual notation, or None for a malformed one. A zone, as in `fe80::1%eth0`, is dropped: it may
    contain anything.
    """
    try:
        return str(ipaddress.ip_address(text.strip().partition("%")[0]))
    except ValueError:
        return None
