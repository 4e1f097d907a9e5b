"""Who a request's caller is: named by a plugin, by a token or, with `[auth] mode = none`, anyone on this machine."""

import asyncio
import hashlib
import ipaddress
import logging
import re
from dataclasses import replace
from typing import Any

from tornado.httputil import HTTPServerRequest

from jobd.errors import PermissionDenied, Unauthorized
from jobd.hookspecs import AuthRequest
from jobd.store.callers import EVERYBODY_IS_ADMIN, Caller
from jobd.store.people import accounts
from jobd.web.connections import source
from jobd.web.services import Services

log = logging.getLogger(__name__)

SCHEMES = ("token", "bearer")
WEB = ("http", "https")
FORWARDING = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via")
"""Headers that show that a proxy forwards somebody else's request."""


async def identify(request: HTTPServerRequest, request_id: str, services: Services) -> Caller:
    """The request's caller, with address and request id. Raises Unauthorized, ServiceUnavailable."""
    caller = await _identify(request, services)
    return replace(caller, address=request.remote_ip or "", request_id=request_id)


async def _identify(request: HTTPServerRequest, services: Services) -> Caller:
    if services.settings.auth.mode == "none":
        return EVERYBODY_IS_ADMIN
    named = await _named_by_plugin(request, services)
    if named is not None:
        return await services.database.read(accounts.caller_named, named)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() not in SCHEMES:
        raise Unauthorized("say who you are: Authorization: Token <token>")
    caller = await services.database.read(accounts.authenticate, token.strip())
    services.uses.note(caller, services.database)
    return caller


def rate_limit_key(request: HTTPServerRequest, caller: Caller) -> str | None:
    """The key whose requests `requests_per_minute` counts together: the token, else the user; None where all callers
    are the same user.
    """
    if caller.makes_namespaces:
        return None
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() in SCHEMES:
        return f"token {hashlib.sha256(token.strip().encode()).hexdigest()}"
    return f"user {caller.username}"


def share_key(request: HTTPServerRequest, caller: Caller | None) -> str:
    """The key whose requests take turns with others': the user, whatever the token; without a known user, or where all
    callers are the same user, the address (the /64 network of an IPv6 address).
    """
    if caller is None or caller.makes_namespaces:
        return f"address {source(request.remote_ip or '')}"
    return f"user {caller.username}"


def check_origin(request: HTTPServerRequest) -> None:
    """Without tokens, keep web pages from calling jobd through a visitor's browser, be it cross-site or by DNS
    rebinding, where the page's own name resolves to loopback. Raises PermissionDenied.
    """
    if not _is_loopback(_host(request.host)):
        raise PermissionDenied("without tokens, the Host must be localhost or a loopback address")
    origin = request.headers.get("Origin")
    foreign = origin is not None and origin.lower() not in (f"{scheme}://{request.host.lower()}" for scheme in WEB)
    if foreign or request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise PermissionDenied("without tokens, pages of other sites may not call jobd")


def _host(text: str) -> str | None:
    """The name or address in a Host header (RFC 9110, 7.2), without port and brackets; None for a malformed one."""
    match = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+))(?::[0-9]*)?", text.lower(), re.ASCII)
    return match and (match[1] or match[2])


def is_local(request: HTTPServerRequest) -> bool:
    """Whether the caller is a program on this machine: not a proxy forwarding a request, whose address is loopback,
    too, and not a web page whose own name resolves to loopback.
    """
    if any(header in request.headers for header in FORWARDING):
        return False
    return _is_loopback(request.remote_ip) and _is_loopback(_host(request.host))


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


async def _named_by_plugin(request: HTTPServerRequest, services: Services) -> str | None:
    impls = services.plugins.hook.jobd_authenticate.get_hookimpls() if services.plugins else []
    if not impls:
        return None
    seen = AuthRequest(
        method=request.method or "",
        path=request.path,
        headers=dict(request.headers.get_all()),
        remote_ip=request.remote_ip or "",
    )
    # Like pluggy, ask the plugin that was registered last first.
    return await asyncio.to_thread(_first_name, impls[::-1], seen)


def _first_name(impls: list[Any], seen: AuthRequest) -> str | None:
    for impl in impls:
        try:
            named = impl.function(*({"request": seen}[name] for name in impl.argnames))
        except Exception:  # a plugin's error must not lock everybody out
            log.exception("plugin %s: jobd_authenticate raised", impl.plugin_name)
            continue
        if named is not None:
            return str(named)
    return None
