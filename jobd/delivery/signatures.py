"""The headers by which a delivery says what it is and who sent it: those of the original service, and those of Standard
Webhooks.
"""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

from jobd.store.webhooks import secret_bytes

USER_AGENT = "Alauda/Webhook/1.0"


def headers(
    message_id: str, event: str, event_at: datetime, sent_at: int, body: bytes, secret: str | None
) -> dict[str, str]:
    """The headers of one attempt; `sent_at` is in seconds since the Unix epoch. Without a secret nothing is signed.

    `X-Alauda-Signature` covers only the time of the event, as in the original service; `webhook-signature` covers id,
    time of the attempt and body (Standard Webhooks, `v1`).
    """
    event_time = event_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields = {
        "User-Agent": USER_AGENT,
        "Content-Type": "application/json",
        "X-Alauda-Event": event,
        "X-Alauda-Event-Time": event_time,
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at),
    }
    if secret is not None:
        old = hmac.new(secret.encode(), event_time.encode(), hashlib.sha1).hexdigest()
        signed = b".".join([message_id.encode(), str(sent_at).encode(), body])
        new = hmac.new(secret_bytes(secret), signed, hashlib.sha256).digest()
        fields["X-Alauda-Signature"] = f"sha1={old}"
        fields["webhook-signature"] = f"v1,{base64.b64encode(new).decode()}"
    return fields
