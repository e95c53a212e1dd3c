"""The version of this server, also where it runs without being installed, as in a container."""

VERSION = "0.1.0"
"""That of pyproject.toml; a test compares them."""
