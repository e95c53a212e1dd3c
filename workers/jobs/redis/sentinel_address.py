"""The address of a Redis that sentinels watch over: ``redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/NAME[/DB]``.

The hosts are sentinels; they name the primary of the group NAME (https://redis.io/docs/latest/develop/reference/sentinel-clients/).
User, password, database and the parameters of TLS are those of an ordinary address and mean the primary. The sentinels
have a user and a password of their own, ``?sentinel_username=...&sentinel_password=...``, and the same TLS.
"""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import redis.connection

from graphs.errors import ConfigurationError
from workers.jobs.redis.address import broker_url, store_url

_SCHEMES = {
    "redis+sentinel": "redis",
    "valkey+sentinel": "redis",
    "rediss+sentinel": "rediss",
    "valkeys+sentinel": "rediss",
}
_DEFAULT_PORT = 26379
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]@/]+)(?::(\d{1,5}))?", re.ASCII)
_CREDENTIALS = ("sentinel_username", "sentinel_password")
_EXAMPLE = "redis+sentinel://HOST:26379,HOST:26379,HOST:26379/NAME, with the name that the sentinels give the primary"

Host = tuple[str, int]


@dataclass(frozen=True)
class SentinelAddress:
    """The sentinels, the name of the primary that they watch, and how to speak to either.

    ``server_url`` is the address of the group's servers in redis-py's form; its host is that of the first sentinel and
    gives way to the primary's. ``credentials`` are the sentinels' own.
    """

    hosts: tuple[Host, ...]
    name: str
    server_url: str = field(repr=False)
    credentials: dict[str, str] = field(repr=False)

    @property
    def shown(self) -> str:
        """The sentinels, for a sentence."""
        return ", ".join(host_shown(host) for host in self.hosts)

    def url(self) -> str:
        """Return the whole address in the form in which ``sentinel_address`` reads it."""
        parts = urlsplit(self.server_url)
        user = parts.netloc.rpartition("@")[0]
        hosts = self.shown.replace(" ", "")
        query = {**dict(parse_qsl(parts.query)), **self.credentials}
        more = f"?{urlencode(query, safe='/')}" if query else ""
        return f"{parts.scheme}+sentinel://{f'{user}@' if user else ''}{hosts}/{quote(self.name, '')}{parts.path}{more}"

    def sentinel_options(self, timeout_s: float) -> dict[str, Any]:
        """Return how redis-py connects to a sentinel and how long it waits for it, without host and port."""
        options: dict[str, Any] = redis.connection.parse_url(self.server_url)  # type: ignore[no-untyped-call]
        tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
        given = {name.removeprefix("sentinel_"): value for name, value in self.credentials.items()}
        is_tls = {"ssl": True} if self.server_url.startswith("rediss:") else {}
        return {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, **is_tls, **tls, **given}

    def broker_url(self) -> str:
        """Return the address in Kombu's form, which has a URL for each sentinel; the name is an option there."""
        parts = urlsplit(broker_url(self.server_url))
        user = parts.netloc.rpartition("@")[0]
        at = f"{user}@" if user else ""
        return ";".join(f"sentinel://{at}{host_shown(host)}{parts.path}" for host in self.hosts)


def is_sentinel(text: str) -> bool:
    """Return whether an address is that of sentinels."""
    return text.strip().partition("://")[0].lower() in _SCHEMES


def sentinel_address(text: str) -> SentinelAddress:
    """Read an address. Raises ConfigurationError; its sentence has no password."""
    try:
        parts = urlsplit(text.strip())
    except ValueError as error:
        raise ConfigurationError(f"REDIS_URL is no address of sentinels, such as {_EXAMPLE}.") from error
    user, at, listed = parts.netloc.rpartition("@")
    hosts = tuple(_host(one) for one in listed.split(","))
    name, _, database = parts.path.strip("/").partition("/")
    if not name:
        raise ConfigurationError(f"REDIS_URL names no primary; write {_EXAMPLE}.")
    query = parse_qsl(parts.query, keep_blank_values=True)
    credentials = {key: value for key, value in query if key in _CREDENTIALS}
    if "sentinel_username" in credentials and "sentinel_password" not in credentials:
        raise ConfigurationError("REDIS_URL has a sentinel_username without a sentinel_password.")
    rest = urlencode([(key, value) for key, value in query if key not in _CREDENTIALS], safe="/")
    server = f"{_SCHEMES[parts.scheme]}://{user}{at}{host_shown(hosts[0])}/{database}{f'?{rest}' if rest else ''}"
    return SentinelAddress(hosts, unquote(name), store_url(server), credentials)


def host_shown(host: Host) -> str:
    """Return host and port as an address has them."""
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _host(text: str) -> Host:
    found = _HOST.fullmatch(text.strip())
    port = int(found[2] or _DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise ConfigurationError(f"REDIS_URL has no sentinel in one of its places; write {_EXAMPLE}.")
    return found[1].strip("[]"), port
