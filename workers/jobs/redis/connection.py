"""Connections to Redis, and the conversion of redis-py's errors into ours."""

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import redis
import redis.asyncio
import redis.connection
import redis.exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from config.settings import RedisSettings
from graphs.errors import ConfigurationError, ServiceUnavailable, StoreFull
from workers.jobs.redis.address import store_url
from workers.jobs.redis.clients import AsyncRedisClient, RedisClient
from workers.jobs.redis.keys import LAYOUT_VERSION
from workers.jobs.redis.sentinel import AsyncPrimaryConnection, PrimaryConnection, Sentinels
from workers.jobs.redis.sentinel_address import is_sentinel, sentinel_address

_RETRIED: list[type[Exception]] = [redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError]
# All exceptions of redis-py: a few of its classes do not derive from RedisError.
_ERRORS = tuple(
    kind for kind in vars(redis.exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception)
)

# redis-py's default pool refuses a command when all its connections are in use; this one waits for a connection.
_CONNECTIONS = 32
_CONNECTION_WAIT_S = 30.0

_FULL = "command not allowed when used memory > 'maxmemory'"
# How Redis refuses writes, and PING, once it could not write its log or its snapshot to disk.
DISK_FAILS = "MISCONF"
# How Redis 6.2, Redis 7 and Valkey refuse a command or a key inside a script.
_REFUSES_SCRIPT = re.compile("ACL failure in script|The user executing the script can't")
# How Dragonfly refuses a key that is not in KEYS, where it does not know the first line of our scripts (script.py).
_UNDECLARED = "undeclared key"
# What every script returns in place of a result when Redis holds another layout (scripts.py).
OTHER_LAYOUT = "IMAGEGEN_LAYOUT"
_OTHER_LAYOUT = re.compile(rf"{OTHER_LAYOUT} (\S+)")
_LOCAL_WAIT = ExponentialBackoff(cap=2.0, base=0.05)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn every error of redis-py into ServiceUnavailable, or into StoreFull when Redis has no room."""
    try:
        yield
    except _ERRORS as error:
        if found := _OTHER_LAYOUT.search(str(error)):
            raise ServiceUnavailable(other_layout(found[1])) from error
        if _FULL in str(error):  # inside a script, Redis 6.2 has this text in the middle of its message
            raise StoreFull from error
        if DISK_FAILS in str(error):
            raise ServiceUnavailable(
                "The job store (Redis) cannot write to its disk, and takes no jobs until it can.", reason=f"{error}."
            ) from error
        if isinstance(error, redis.exceptions.NoPermissionError) or _REFUSES_SCRIPT.search(str(error)):
            raise ServiceUnavailable(
                "The job store (Redis) refuses a command of this service; `imagegen doctor` names it.",
                reason=f"{error}.",
            ) from error
        if _UNDECLARED in str(error):
            raise ServiceUnavailable(
                "The job store refuses keys that scripts find themselves; start Dragonfly with "
                "--default_lua_flags=allow-undeclared-keys.",
                reason=f"{error}.",
            ) from error
        raise ServiceUnavailable("The job store (Redis) cannot be reached.", reason=f"{error}.") from error


def other_layout(found: str) -> str:
    """Return the sentence for a version of the layout that this release does not know."""
    return (
        f"The data in Redis has layout version {found}, and this release of imagegen-server reads and writes version "
        f"{LAYOUT_VERSION} only; nothing was changed. Start the release that wrote it, or use another Redis database "
        "(REDIS_URL)."
    )


def redis_url(settings: RedisSettings) -> str:
    """Return the address in redis-py's form, or that of sentinels.

    Raises ConfigurationError, without the password, if there is none.
    """
    if not settings.url:
        raise ConfigurationError("No Redis is set: give REDIS_URL, or start everything with `imagegen serve`.")
    return sentinel_address(settings.url).url() if is_sentinel(settings.url) else store_url(settings.url)


def sentinels_of(settings: RedisSettings) -> Sentinels | None:
    """Return the sentinels that name the primary, or None where the address is that of the server itself.

    Raises ConfigurationError as ``redis_url`` does.
    """
    url = redis_url(settings)
    return Sentinels(sentinel_address(url), settings.connect_timeout_s) if is_sentinel(url) else None


def is_unix_socket(settings: RedisSettings) -> bool:
    """Return whether Redis is reached through a Unix socket (``unix://:PASSWORD@/PATH?db=0``, as redis-py has it)."""
    return redis_url(settings).startswith("unix://")


def _keepalive(settings: RedisSettings) -> dict[str, Any]:
    return {} if is_unix_socket(settings) else {"socket_keepalive": True}


class _Watched:
    """A connection of the API that distinguishes a closed connection from a silent Redis, also under uvloop."""

    pool: "_Pool"

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send a command. redis-py expects OSError for a closed connection, but uvloop raises RuntimeError."""
        try:
            await super().send_packed_command(command, check_health)  # type: ignore[misc]  # of the class that this is mixed into
        except RuntimeError as error:
            raise redis.ConnectionError(f"The connection is closed: {error}") from error

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Read a reply, and record a time-out for the calls that wait for a connection."""
        try:
            return await super().read_response(*arguments, **options)  # type: ignore[misc]
        except redis.TimeoutError:
            self.pool.was_silent_at = time.monotonic()
            raise


_waits_since: ContextVar[float] = ContextVar("when this command began to wait for a connection")


class _Pool(redis.asyncio.BlockingConnectionPool):
    """A pool that does not repeat a time-out: a call that waits for a connection fails while Redis is silent."""

    was_silent_at = -math.inf
    sentinels: Sentinels | None = None

    async def get_connection(self, *arguments: Any, **options: Any) -> Any:
        """Return a connection, as the base class does."""
        _waits_since.set(time.monotonic())
        return await super().get_connection(*arguments, **options)  # type: ignore[no-untyped-call]  # redis-py has none

    async def ensure_connection(self, connection: Any) -> None:
        """Connect, unless Redis was silent meanwhile; the base class then gives the connection to the next call."""
        if self.was_silent_at > _waits_since.get():
            raise redis.TimeoutError("Timeout: no answer while this waited for a connection")
        if self.sentinels and connection.is_connected and self.sentinels.newest not in (None, connection.address):
            await connection.disconnect()  # of the old primary, which may never answer again
        try:
            await super().ensure_connection(connection)
        except redis.TimeoutError:
            self.was_silent_at = time.monotonic()
            raise


def connect_async(settings: RedisSettings, *, block_s: float = 0) -> AsyncRedisClient:
    """Return a client for the API, which gives up soon. ``block_s``: how many seconds its blocking reads wait.

    A thousand concurrent requests share a few connections; each holds one for about a millisecond.
    """
    sentinels = sentinels_of(settings)
    pool = _Pool.from_url(
        sentinels.address.server_url if sentinels else redis_url(settings),
        max_connections=_CONNECTIONS,
        timeout=_CONNECTION_WAIT_S,
        socket_connect_timeout=settings.connect_timeout_s,
        socket_timeout=settings.api_timeout_s + block_s,
        **_keepalive(settings),
        # A closed connection is opened again; a retry of a time-out would only take as long once more.
        retry=AsyncRetry(_LOCAL_WAIT, 1, supported_errors=(redis.ConnectionError,)),
    )
    pool.sentinels = sentinels
    # The last base class is for TCP, TLS or a Unix socket, depending on the URL.
    primary: tuple[type, ...] = (AsyncPrimaryConnection,) if sentinels else ()
    bases = (_Watched, *primary, pool.connection_class)
    pool.connection_class = type("Connection", bases, {"pool": pool, "sentinels": sentinels})
    # Without decode_responses every reply is bytes, which redis-py's types cannot express (clients.py).
    return cast(AsyncRedisClient, redis.asyncio.Redis.from_pool(pool))


def connect(settings: RedisSettings, *, retries: int = 1) -> RedisClient:
    """Return a client for a worker; ``retries``: how often a command is repeated at most."""
    sentinels = sentinels_of(settings)
    client = redis.Redis.from_url(
        sentinels.address.server_url if sentinels else redis_url(settings),
        socket_connect_timeout=settings.connect_timeout_s,
        socket_timeout=settings.timeout_s,
        **_keepalive(settings),
        retry=Retry(_LOCAL_WAIT, retries),
        retry_on_error=_RETRIED,
    )
    if sentinels:
        pool = client.connection_pool
        pool.connection_class = type("Connection", (PrimaryConnection, pool.connection_class), {"sentinels": sentinels})
    # As in connect_async.
    return cast(RedisClient, client)
