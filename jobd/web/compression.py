"""gzip for large JSON responses (RFC 9110, 12.5.3 and 8.4).

The BREACH attack does not apply: another site's page cannot make a browser send a token, which is in a header and not
in a cookie, and where no tokens are used such a page is refused.
"""

import gzip

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform

MIN_LENGTH = 2 * 2**10
"""Bytes below which compression costs more than it saves."""
MAX_AT_ONCE = 16 * 2**10
"""Bytes that may be compressed on the event loop, in a fraction of a millisecond; more is compressed in a thread."""
MAX_CODINGS = 50
"""Codings read from Accept-Encoding; the rest is ignored."""
LEVEL = 1


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the client accepts gzip and does not prefer the uncompressed bytes."""
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


def gzipped(data: bytes) -> bytes:
    """`data` as gzip; without a time in it, so that the same data give the same bytes."""
    return gzip.compress(data, LEVEL, mtime=0)


class Compression(OutputTransform):
    """Compresses complete JSON responses; not streams, not ranges, not those with an ETag (it stands for one encoding),
    and not those that a handler has already compressed in a thread.
    """

    def __init__(self, request: HTTPServerRequest) -> None:
        self._accepts_gzip = accepts_gzip(request.headers.get("Accept-Encoding", ""))

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        untouched = any(name in headers for name in ("Etag", "Content-Encoding", "Content-Range"))
        is_json = headers.get("Content-Type", "") == "application/json"
        if not is_json or untouched or not finishing or not MIN_LENGTH <= len(chunk) <= MAX_AT_ONCE:
            return status_code, headers, chunk
        headers.add("Vary", "Accept-Encoding")
        if self._accepts_gzip:
            chunk = gzipped(chunk)
            headers["Content-Encoding"] = "gzip"
            headers["Content-Length"] = str(len(chunk))
        return status_code, headers, chunk
