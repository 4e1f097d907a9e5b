#!/usr/bin/env bash
# standardwebhooks 1.1.0 (Python): a secret in text is Base64 whether or not it begins with whsec_. A sender that signs
# with the text's own bytes is not verified unless the receiver passes bytes; to give it text raises no error.
# Exits 0 while that is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check standardwebhooks==1.1.0
"$folder/venv/bin/python" - <<'PYTHON'
from datetime import UTC, datetime
from importlib.metadata import version

from standardwebhooks import Webhook

print("standardwebhooks", version("standardwebhooks"))
at = datetime(2026, 1, 1, tzinfo=UTC)
signed = {
    name: Webhook(secret).sign("msg_1", at, "{}")
    for name, secret in (
        ("text with whsec_", "whsec_c2VjcmV0IG9mIGEgdGVzdA=="),
        ("text without", "c2VjcmV0IG9mIGEgdGVzdA=="),
        ("its bytes", b"c2VjcmV0IG9mIGEgdGVzdA=="),
        ("what it decodes to", b"secret of a test"),
    )
}
for name, signature in signed.items():
    print(f"{name}: {signature}")
assert signed["text without"] == signed["text with whsec_"] == signed["what it decodes to"], "text is read otherwise"
assert signed["text without"] != signed["its bytes"], "text and bytes are the same"
PYTHON
