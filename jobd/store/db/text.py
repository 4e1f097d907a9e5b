"""Text from outside, made fit for every database."""


def storable(text: str | None, max_length: int) -> str | None:
    """At most `max_length` characters, without NUL and lone surrogates, which PostgreSQL rejects."""
    if text is None:
        return None
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")[:max_length]
