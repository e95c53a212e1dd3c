"""Settings and logging: the only package that reads the environment."""

VERSION = "0.1.0"
"""That of pyproject.toml, also where nothing is installed, as in a container; a test compares them."""
