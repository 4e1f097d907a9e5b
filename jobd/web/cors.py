"""CORS: pages of other sites that may call the API from a browser (`[api] cors_origins`; Fetch, 3.2).

No response allows credentials: a page has to hold a token itself, and a browser does not add one.
"""

from collections.abc import Collection, Iterable, Mapping

from tornado.httputil import HTTPServerRequest

TAKEN = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Range, X-Request-Id"
"""Request headers that a page may send."""
SHOWN = (
    "Accept-Ranges, Allow, Content-Range, ETag, Location, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, "
    "Retry-After, WWW-Authenticate, X-Request-Id"
)
"""Response headers that a page may read."""
MAX_AGE = 600
"""Seconds that a browser may cache a preflight's response."""


def allowed(request: HTTPServerRequest, origins: Collection[str]) -> Mapping[str, str]:
    """Headers for every response; none unless origins are configured."""
    if not origins:
        return {}
    origin = request.headers.get("Origin", "")
    if origin not in origins:
        return {"Vary": "Origin"}
    return {"Vary": "Origin", "Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": SHOWN}


def is_preflight(request: HTTPServerRequest, origins: Collection[str]) -> bool:
    """Whether this is the preflight request of a page of these origins, which a browser sends without a token."""
    return (
        request.method == "OPTIONS"
        and "Access-Control-Request-Method" in request.headers
        and request.headers.get("Origin", "") in origins
    )


def preflight(methods: Iterable[str]) -> Mapping[str, str]:
    """Headers for the response to a preflight request."""
    return {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": TAKEN,
        "Access-Control-Max-Age": str(MAX_AGE),
    }
