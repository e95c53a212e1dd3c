"""Webhooks: telling clients' servers what became of their jobs."""
