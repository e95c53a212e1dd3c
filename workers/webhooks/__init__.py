"""Webhooks: the delivery of job events to clients' servers."""
