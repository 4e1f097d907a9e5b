"""What a token looks like: `jobd_`, 160 random bits, and a checksum that reveals a mistyped one without a look-up."""

import hashlib
import re
import secrets
import zlib

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PREFIX = 10


def fresh() -> str:
    body = "".join(secrets.choice(_ALPHABET) for _ in range(32))
    return f"jobd_{body}{_checksum(body)}"


def digest(text: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(text.encode()).hexdigest()


def prefix(text: str) -> str:
    """The part by which a token is looked up."""
    return text.removeprefix("jobd_")[:_PREFIX]


def is_well_formed(text: str) -> bool:
    match = re.fullmatch(r"jobd_([a-z2-7]{32})([0-9a-f]{8})", text, re.ASCII)
    return match is not None and _checksum(match[1]) == match[2]


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
