"""From the outbox to the receivers: webhooks over HTTP, and mail."""
