"""Every request's line in the access log and its observation in the metrics."""

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any

from tornado.web import RequestHandler

from jobd.metrics import Metrics
from jobd.web.handler import METHODS

log = logging.getLogger("jobd.access")

UNMATCHED = "unmatched"
"""The metrics' label for every path that no route matches."""
PROBES = ("/healthz", "/readyz", "/metrics")
MAX_PATH = 1000
"""A logged path is cut to this many characters."""


def observer(routes: Iterable[tuple[str, type[Any], Any]], metrics: Metrics) -> Callable[[RequestHandler], None]:
    """Tornado's `log_function` for an application with this URL table."""
    names = {handler: template(pattern) for pattern, handler, _ in routes}

    def observe(handler: RequestHandler) -> None:
        route = names.get(type(handler), UNMATCHED)
        seconds = handler.request.request_time()
        known = (*METHODS, "OPTIONS")
        method = handler.request.method if handler.request.method in known else "other"
        metrics.http_requests.labels(route, method, str(handler.get_status())).inc()
        if not getattr(handler, "is_followed", False):
            metrics.http_duration.labels(route).observe(seconds)
        _log_request(handler, seconds)

    return observe


def template(pattern: str) -> str:
    """A URL pattern in readable form, such as `/v1/jobs/{id}/execs/{id}`."""
    return re.sub(r"\([^)]*\)", "{id}", pattern.removesuffix("/?")).replace("\\", "")


def _log_request(handler: RequestHandler, seconds: float) -> None:
    request = handler.request
    caller = getattr(handler, "caller", None)
    fields = {
        "method": request.method,
        # Without the query string: a client may have put a secret there by mistake.
        "path": request.path[:MAX_PATH],
        "status": handler.get_status(),
        "duration_ms": round(seconds * 1000, 1),
        "bytes": getattr(handler, "sent_bytes", 0),
        "caller": caller.username if caller else "-",
        "remote_ip": request.remote_ip,
        "request_id": request.headers.get("X-Request-Id", "-"),
    }
    # Probes come every few seconds and are of interest only when they fail.
    level = logging.DEBUG if request.path in PROBES and handler.get_status() < 400 else logging.INFO
    log.log(level, "%s %s %d", request.method, fields["path"], handler.get_status(), extra=fields)
