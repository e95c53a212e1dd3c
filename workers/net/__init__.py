"""Connections to strangers' servers."""
