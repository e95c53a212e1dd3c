"""Checks of addresses that clients or redirects name."""
