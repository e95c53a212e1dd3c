"""The address of Redis in the forms that people have, as redis-py takes it and as Kombu does.

The forms are those of redis-py (``redis.connection.parse_url``), of Kombu (``kombu.transport.redis``) and the schemes
of Valkey's clients. One address must mean the same server, database and check of certificates to both libraries: Kombu
reads the database from the path only, knows no ``unix://``, and checks no certificate without an option for it.
"""

import ssl
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import redis.connection

from graphs.errors import ConfigurationError

_SCHEMES = {
    "redis": "redis",
    "valkey": "redis",
    "rediss": "rediss",
    "valkeys": "rediss",
    "unix": "unix",
    "redis+socket": "unix",
    "valkey+unix": "unix",
}
# As Kombu and Celery write them -> as redis-py does.
_CHECKS = {"CERT_REQUIRED": "required", "CERT_OPTIONAL": "optional", "CERT_NONE": "none"}
_VERIFY_MODES = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_TLS = ("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password")
_CHECKED = ("ssl_cert_reqs", "ssl_check_hostname")
_EXAMPLES = "redis://HOST:6379/0, rediss://HOST:6379/0 or unix:///PATH?db=0"


def store_url(text: str) -> str:
    """Return the address of Redis in redis-py's form. Raises ConfigurationError; its sentence has no password."""
    parts = _split(text)
    query = _query(parts)
    if parts.scheme == "unix":
        query.setdefault("db", query.pop("virtual_host", "0"))
    else:
        query.setdefault("db", unquote(parts.path).strip("/") or "0")
    _check(query, parts.scheme)
    path = parts.path if parts.scheme == "unix" else "/" + query.pop("db")
    more = f"?{urlencode(query, safe='/')}" if query else ""
    url = f"{parts.scheme}://{parts.netloc}{path}{more}"
    try:
        redis.connection.parse_url(url)  # type: ignore[no-untyped-call]  # redis-py has no types for it
    except ValueError as error:
        raise ConfigurationError(f"REDIS_URL cannot be used: {error}.") from error
    return url


def broker_url(text: str) -> str:
    """Return the same address in Kombu's form. Raises as ``store_url`` does."""
    parts = urlsplit(store_url(text))
    if parts.scheme == "unix":
        return f"redis+socket://{parts.netloc}{parts.path}?virtual_host={dict(parse_qsl(parts.query))['db']}"
    return urlunsplit(parts._replace(query=""))


def broker_tls(text: str) -> dict[str, Any] | None:
    """Return how Kombu is to check the server's certificate, and with which it presents itself; None without TLS."""
    parts = urlsplit(store_url(text))
    if parts.scheme != "rediss":
        return None
    options: dict[str, Any] = redis.connection.parse_url(urlunsplit(parts))  # type: ignore[no-untyped-call]
    given = {name: options[name] for name in _TLS if name in options}
    mode = _VERIFY_MODES[options.get("ssl_cert_reqs", "required")]
    return {**given, "ssl_cert_reqs": mode, "ssl_check_hostname": options.get("ssl_check_hostname", True)}


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text.strip())
        _ = parts.port  # only read here, it is checked
    except ValueError as error:
        raise ConfigurationError(f"REDIS_URL is no address of a Redis, such as {_EXAMPLES}.") from error
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or not (parts.netloc or parts.path):
        raise ConfigurationError(f"REDIS_URL is no address of a Redis, such as {_EXAMPLES}.")
    return parts._replace(scheme=scheme)


def _query(parts: SplitResult) -> dict[str, str]:
    given = parse_qsl(parts.query, keep_blank_values=True)
    query = {name: _CHECKS.get(value, value) if name == "ssl_cert_reqs" else value for name, value in given}
    if len(query) < len(given):
        raise ConfigurationError("REDIS_URL gives a parameter twice.")
    return query


def _check(query: dict[str, str], scheme: str) -> None:
    known = {"unix": ("db", "virtual_host"), "redis": ("db",), "rediss": ("db", *_CHECKED, *_TLS)}[scheme]
    for name in query:
        if name not in known:
            hint = " Use rediss:// for TLS." if scheme == "redis" and name in (*_CHECKED, *_TLS) else ""
            raise ConfigurationError(f"REDIS_URL has a parameter {name!r}; known here: {', '.join(known)}.{hint}")
    if not (query["db"].isascii() and query["db"].isdigit() and len(query["db"]) < 6):
        raise ConfigurationError(
            f"REDIS_URL names the database {query['db'][:50]!r}; a database is a number, such as 0."
        )
    if query.get("ssl_check_hostname", "true").lower() not in ("true", "false"):
        raise ConfigurationError("REDIS_URL: ssl_check_hostname must be true or false.")
    if query.get("ssl_cert_reqs", "required") not in _VERIFY_MODES:
        raise ConfigurationError(f"REDIS_URL: ssl_cert_reqs must be one of {', '.join(_VERIFY_MODES)}.")
