"""Descriptions of the calls about regions, sizes, this daemon and the API itself."""

from jobd.api.openapi.calls import Answer, Call, Calls, Content, Header, answer, empty, page
from jobd.api.schemas import responses

_REGION = {
    "name": "BEIJING1",
    "executor": "docker",
    "is_default": True,
    "max_running": 32,
    "images": ["*"],
    "ok": True,
    "engine": "docker 27.3.1 on node-1",
    "message": "",
}
_SIZE = {"name": "XXS", "cpus": 0.15, "memory": 67108864, "is_default": True}
_SYSTEM = {
    "version": "1",
    "time_zone_rules": {
        "version": "2026f",
        "source": "the package tzdata",
        "reason": "newer than 2025b of /usr/share/zoneinfo",
    },
}
_METRICS = (
    '# HELP jobd_build_info The version that runs.\n# TYPE jobd_build_info gauge\njobd_build_info{version="1"} 1.0\n'
)
_ETAG = {"ETag": "For `If-None-Match`."}
_IF_NONE_MATCH = {"If-None-Match": Header("The ETag of a cached copy: 304 if it is current.", {"type": "string"})}
_UNCHANGED = empty("The cached copy is current.")

CALLS: Calls = {
    ("GET", "/v1/regions"): Call(
        "list_regions",
        "Choices",
        "List regions",
        {200: answer("All regions and their state.", responses.RegionPage, page([_REGION]))},
    ),
    ("GET", "/v1/sizes"): Call(
        "list_sizes", "Choices", "List sizes", {200: answer("All sizes.", responses.SizePage, page([_SIZE]))}
    ),
    ("GET", "/v1/system"): Call(
        "get_system",
        "Choices",
        "Show what the server runs on",
        {200: answer("Its versions.", responses.System, _SYSTEM)},
    ),
    ("GET", "/healthz"): Call(
        "get_health",
        "Health",
        "Check that the process is alive",
        {200: answer("The process is alive.", responses.Health, {"status": "ok"})},
    ),
    ("GET", "/readyz"): Call(
        "get_readiness",
        "Health",
        "Check that the server is ready",
        {200: answer("The database works and has this version's schema.", responses.Readiness, {"status": "ready"})},
    ),
    ("GET", "/metrics"): Call(
        "get_metrics",
        "Health",
        "Read the metrics",
        {
            200: Answer(
                "Metrics in the text format of Prometheus or, by `Accept`, of OpenMetrics.",
                {
                    "text/plain": Content({"type": "string"}, _METRICS),
                    "application/openmetrics-text": Content({"type": "string"}, f"{_METRICS}# EOF\n"),
                },
                {},
            )
        },
        "A program on the daemon's own machine needs no token, unless its request comes through a proxy.",
    ),
    ("GET", "/openapi.json"): Call(
        "get_openapi",
        "This API",
        "Read this document",
        {200: answer("OpenAPI 3.1.", {"type": "object"}, {"openapi": "3.1.0"}, _ETAG), 304: _UNCHANGED},
        headers=_IF_NONE_MATCH,
    ),
    ("GET", "/docs"): Call(
        "get_docs",
        "This API",
        "Read this document as a web page",
        {
            200: Answer(
                "A page without external resources.",
                {"text/html": Content({"type": "string"}, "<!doctype html>")},
                _ETAG,
            ),
            304: _UNCHANGED,
        },
        headers=_IF_NONE_MATCH,
    ),
}
