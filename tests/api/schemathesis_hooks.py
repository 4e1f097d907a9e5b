"""What keeps schemathesis from sawing off the branch it sits on: its own user and its own token stay as they are."""

from typing import Any

import schemathesis

OWN = {"username": "admin", "token_id": "1"}
"""Whose token a first start writes, and that token's id."""


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """A call that would change one of them is sent to somebody else, as long as it names one at all."""
    parts = case.path_parameters or {}
    if case.method.upper() in ("PUT", "DELETE") and "/members/" not in case.path:
        for name, own in OWN.items():
            if str(parts.get(name, "")).strip() == own:
                parts[name] = "2000000000" if name == "token_id" else "somebody"
