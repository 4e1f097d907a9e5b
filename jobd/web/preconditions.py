"""`If-Match` (RFC 9110, 13.1.1)."""

import re

from jobd.errors import BadRequest, PreconditionFailed

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"[\s,]*{_TAG}(?:\s*,[\s,]*{_TAG})*[\s,]*")
"""A list as a recipient must accept it, with empty elements (RFC 9110, 5.6.1.2)."""


def require_match(if_match: str | None, tag: str, what: str) -> None:
    """Check an If-Match header against `tag`, the current entity tag; `*` matches every tag. `what` names the object in
    the message. Raises PreconditionFailed if it does not match, and BadRequest for a malformed header.
    """
    if if_match is None or if_match.strip() == "*":
        return
    if not _TAGS.fullmatch(if_match):
        raise BadRequest(f"If-Match must be * or entity tags in quotes, as in {tag}")
    tags = re.findall(_TAG, if_match)
    if tag in tags:
        return
    if f"W/{tag}" in tags:
        raise PreconditionFailed(f"a weak tag, W/…, never matches in If-Match (RFC 9110, 13.1.1); send {tag}")
    weak = "" if not all(t.startswith("W/") for t in tags) else "; besides, a weak tag, W/…, never matches"
    raise PreconditionFailed(f"{what} has changed: it no longer matches If-Match{weak}")
