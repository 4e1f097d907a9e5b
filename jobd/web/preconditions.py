"""`If-Match` (RFC 9110, 13.1.1)."""

import re

from jobd.errors import BadRequest, PreconditionFailed

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"[\s,]*{_TAG}(?:\s*,[\s,]*{_TAG})*[\s,]*")
"""A list as a recipient has to take it, with empty elements (RFC 9110, 5.6.1.2)."""


def require_match(if_match: str | None, tag: str, what: str) -> None:
    """Raises PreconditionFailed unless `what`, whose entity tag now is `tag`, is as the header has it; BadRequest for a
    header that cannot be read. `*` is whatever there is.
    """
    if if_match is None or if_match.strip() == "*":
        return
    if not _TAGS.fullmatch(if_match):
        raise BadRequest(f"If-Match must be * or entity tags in quotes, as in {tag}")
    wanted = re.findall(_TAG, if_match)
    if tag in wanted:
        return
    if f"W/{tag}" in wanted:
        raise PreconditionFailed(f"a weak tag, W/…, never matches in If-Match (RFC 9110, 13.1.1); send {tag}")
    weak = "" if not all(t.startswith("W/") for t in wanted) else "; nor does a weak tag, W/…, ever match there"
    raise PreconditionFailed(f"{what} is no longer as If-Match has it{weak}")
