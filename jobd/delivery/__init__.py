"""The outbox on its way out: webhooks over HTTP, and mail."""
