"""Checks of settings that let others use the service or reach private networks."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from cli.checks.finding import Finding, note, ok, wrong
from cli.local.api_address import is_loopback, open_to_others
from config.http_settings import HttpSettings
from config.settings import Settings
from graphs.api_keys import other_readers, read_keys
from graphs.errors import ConfigurationError

_KEYS_OR_LOOPBACK = "Give it keys with --api_key_file, or let it listen on 127.0.0.1."


def check_settings(settings: Settings) -> list[Finding]:
    """Return the findings about the settings; if there are none, one that nothing is wrong."""
    found = [*_keys(settings.http), *_redis_password(settings), *_private_networks(settings)]
    return found or [ok("settings", "Nothing opens the service to strangers.")]


def _keys(http: HttpSettings) -> Iterator[Finding]:
    try:
        is_open = read_keys(http.api_key_file, http.api_key).is_open
    except ConfigurationError as error:
        yield wrong("settings", error.message, "Write a key a line into that file, or leave --api_key_file out.")
        return
    if is_open and (warning := open_to_others(http.bind_addresses)):
        yield wrong("settings", warning, _KEYS_OR_LOOPBACK)
    if sentence := other_readers(http.api_key_file):
        yield wrong("settings", sentence, f"chmod 600 {http.api_key_file}")


def _redis_password(settings: Settings) -> Iterator[Finding]:
    parts = urlsplit(settings.redis.url or "")
    if parts.hostname and not is_loopback(parts.hostname) and not parts.password:
        yield note(
            "settings",
            f"The Redis at {parts.hostname} is used without a password.",
            "Keep its network closed to others, or set `requirepass`: everyone who reaches it can read all prompts.",
        )


def _private_networks(settings: Settings) -> Iterator[Finding]:
    allowed = {"webhooks": settings.webhooks.allow_private, "downloads": settings.downloads.allow_private}
    for group, is_allowed in allowed.items():
        if is_allowed:
            name = f"IMAGEGEN_{group.upper()}__ALLOW_PRIVATE"
            message = f"{group.capitalize()} may reach this machine and its private networks ({name})."
            yield note("settings", message, "Leave it unset unless every client is trusted.")
