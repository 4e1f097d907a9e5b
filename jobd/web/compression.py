"""gzip for large answers in JSON (RFC 9110, 12.5.3 and 8.4).

What makes compression give a secret away (BREACH) is not there: a page of another site cannot make a browser send a
token, which is in a header and in no cookie, and where there are no tokens such a page is refused.
"""

import gzip

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform

LEAST = 2 * 2**10
"""Bytes. Below, it costs more than it saves."""
MAX_AT_ONCE = 16 * 2**10
"""Bytes that are compressed on the loop: a fraction of a millisecond. More is compressed in a thread, before."""
MAX_CODINGS = 50
"""Codings that a client may name; what comes after them is not looked at."""
LEVEL = 1


def is_liked(accept_encoding: str) -> bool:
    """Whether gzip may be sent, and is liked no less than the plain bytes."""
    qualities: dict[str, float] = {}
    for part in accept_encoding.lower().split(",", MAX_CODINGS)[:MAX_CODINGS]:
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        try:
            qualities[name] = float(quality)
        except ValueError:
            continue
    zipped = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0)))
    return zipped > 0 and zipped >= qualities.get("identity", 0.0)


def packed(data: bytes) -> bytes:
    """The same bytes for the same data, whenever."""
    return gzip.compress(data, LEVEL, mtime=0)


class Compression(OutputTransform):
    """Of whole answers in JSON alone: not of streams, of ranges, of what is tagged (a tag is one encoding's), nor of
    what a handler has compressed itself, away from the loop.
    """

    def __init__(self, request: HTTPServerRequest) -> None:
        self._is_liked = is_liked(request.headers.get("Accept-Encoding", ""))

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        untouched = any(name in headers for name in ("Etag", "Content-Encoding", "Content-Range"))
        is_json = headers.get("Content-Type", "") == "application/json"
        if not is_json or untouched or not finishing or not LEAST <= len(chunk) <= MAX_AT_ONCE:
            return status_code, headers, chunk
        headers.add("Vary", "Accept-Encoding")
        if self._is_liked:
            chunk = packed(chunk)
            headers["Content-Encoding"] = "gzip"
            headers["Content-Length"] = str(len(chunk))
        return status_code, headers, chunk
