"""For whom a proxy asks, when the proxy is one of the operator's own."""

import ipaddress
from collections.abc import Sequence

from tornado.httputil import HTTPServerRequest

MAX_HOPS = 20
"""Addresses that are looked at, the last ones."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def see_through(request: HTTPServerRequest, proxies: Sequence[Network]) -> None:
    """Give the request the address and the scheme of the caller behind `proxies`: the last `X-Forwarded-For` that is
    not itself one of them, and the last `X-Forwarded-Proto`. No other header says so: a proxy that does not know it
    passes on what its caller made up.
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
    """As it is usually written, or None. A zone, as in `fe80::1%eth0`, may hold anything, and is left out."""
    try:
        return str(ipaddress.ip_address(text.strip().partition("%")[0]))
    except ValueError:
        return None
