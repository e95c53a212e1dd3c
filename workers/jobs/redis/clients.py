"""The Redis commands that this project calls, with their types.

redis-py types each reply as ``bytes | str``, because it depends on ``decode_responses``. Connections of this project
never decode, so these protocols say ``bytes``, and mypy checks every call.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Protocol

Value = str | bytes | int | float
Entry = tuple[bytes, dict[bytes, bytes]]
# What ``INFO`` returns: numbers where a field is a number.
Info = dict[str, Any]


class LuaScript(Protocol):
    """A registered script; redis-py loads it again where Redis does not know it."""

    def __call__(self, *, keys: Sequence[str], args: Iterable[Value]) -> Any:
        """Run the script and return its reply; the caller knows its type."""


class AsyncLuaScript(Protocol):
    """A registered script of an asynchronous client."""

    def __call__(
        self, *, keys: Sequence[str], args: Iterable[Value], client: "AsyncCommandPipeline | None" = None
    ) -> Awaitable[Any]:
        """Run the script and return its reply, or add it to a pipeline; the caller knows the reply's type."""


class CommandPipeline(Protocol):
    """Commands that a synchronous client sends together."""

    def hincrby(self, name: str, key: str, amount: int) -> object:
        """Add to a field of a hash."""

    def lpush(self, name: str, *values: Value) -> object:
        """Put values in front of a list."""

    def ltrim(self, name: str, start: int, end: int) -> object:
        """Cut a list."""

    def time(self) -> object:
        """Queue reading the clock of Redis."""

    def hgetall(self, name: str) -> object:
        """Queue reading a hash."""

    def get(self, name: str) -> object:
        """Queue reading a string."""

    def zscore(self, name: str, value: str) -> object:
        """Queue reading the score of a member of a sorted set."""

    def zlexcount(self, name: str, min: str, max: str) -> object:
        """Queue counting the members of one score in a range of their texts."""

    def execute(self) -> list[Any]:
        """Send the commands and return their replies."""


class AsyncCommandPipeline(Protocol):
    """Commands that an asynchronous client sends together."""

    def wait(self, num_replicas: int, timeout: int) -> object:
        """Wait until replicas have what this connection wrote, or for milliseconds; return how many have it."""

    def hset(self, name: str, key: str, value: Value) -> object:
        """Set a field of a hash."""

    def hdel(self, name: str, *keys: str) -> object:
        """Delete fields of a hash."""

    def hgetall(self, name: str) -> object:
        """Return a hash."""

    def mget(self, keys: Sequence[str]) -> object:
        """Return several strings."""

    def hmget(self, name: str, keys: Sequence[str]) -> object:
        """Return fields of a hash."""

    def get(self, name: str) -> object:
        """Return a string."""

    def hlen(self, name: str) -> object:
        """Return the number of fields of a hash."""

    def llen(self, name: str) -> object:
        """Return the length of a list."""

    def hget(self, name: str, key: str) -> object:
        """Return a field of a hash."""

    def lrange(self, name: str, start: int, end: int) -> object:
        """Return the entries of a list from ``start`` to ``end``, both included."""

    def zrank(self, name: str, value: str) -> object:
        """Return the rank of a member of a sorted set."""

    def zrevrange(self, name: str, start: int, end: int, *, withscores: bool = False) -> object:
        """Return members of a sorted set by falling rank."""

    def incr(self, name: str) -> object:
        """Add one to a number."""

    def zcard(self, name: str) -> object:
        """Return the size of a sorted set."""

    def zlexcount(self, name: str, min: str, max: str) -> object:
        """Return how many members of one score are in a range of their texts."""

    def zrange(self, name: str, start: int, end: int, *, withscores: bool = False) -> object:
        """Return members of a sorted set by rank."""

    def time(self) -> object:
        """Return the clock of Redis."""

    def info(self, section: str) -> object:
        """Return a section of the server's state."""

    def execute(self) -> Awaitable[list[Any]]:
        """Send the commands and return their replies."""


class RedisClient(Protocol):
    """A synchronous client, for workers and the command line."""

    def ping(self) -> bool:
        """Ask for an answer."""

    def register_script(self, script: str) -> LuaScript:
        """Return a script that can be called."""

    def pipeline(self, transaction: bool = True) -> CommandPipeline:
        """Return a pipeline."""

    def get(self, name: str) -> bytes | None:
        """Return a string."""

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return several strings."""

    def hget(self, name: str, key: str) -> bytes | None:
        """Return a field of a hash."""

    def hgetall(self, name: str) -> dict[bytes, bytes]:
        """Return a hash."""

    def hdel(self, name: str, *keys: str) -> int:
        """Delete fields of a hash."""

    def llen(self, name: str) -> int:
        """Return the length of a list."""

    def lrange(self, name: str, start: int, end: int) -> list[bytes]:
        """Return a part of a list."""

    def zcard(self, name: str) -> int:
        """Return the size of a sorted set."""

    def zcount(self, name: str, min: Value, max: Value) -> int:
        """Return how many members have a score in a range."""

    def zrange(self, name: str, start: int, end: int) -> list[bytes]:
        """Return members of a sorted set by rank."""

    def zlexcount(self, name: str, min: str, max: str) -> int:
        """Return how many members of one score are in a range of their texts."""

    def zrangebylex(self, name: str, min: str, max: str, start: int, num: int) -> list[bytes]:
        """Return members of one score in a range of their texts."""

    def brpop(self, keys: Sequence[str], timeout: float) -> tuple[bytes, bytes] | None:
        """Wait for the last entry of one of these lists; return its list and the entry, or None after seconds."""

    def rpush(self, name: str, *values: Value) -> int:
        """Add entries to the end of a list."""

    def time(self) -> tuple[int, int]:
        """Return the clock of Redis: unix seconds and microseconds."""

    def info(self, section: str) -> Info:
        """Return a section of the server's state."""

    def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[bytes]]:
        """Return the next cursor, 0 at the end, and those of about so many keys that a pattern fits."""

    def config_get(self, pattern: str) -> dict[str, str]:
        """Return settings of the server."""

    def close(self) -> None:
        """Close the connections."""


class AsyncRedisClient(Protocol):
    """An asynchronous client, for the API."""

    def ping(self) -> Awaitable[object]:
        """Ask for an answer; Redis refuses this too where it cannot write to its disk."""

    @property
    def connection_pool(self) -> Any:
        """The pool of connections, for libraries that take one."""

    def register_script(self, script: str) -> AsyncLuaScript:
        """Return a script that can be called."""

    def pipeline(self, transaction: bool = True) -> AsyncCommandPipeline:
        """Return a pipeline."""

    def get(self, name: str) -> Awaitable[bytes | None]:
        """Return a string."""

    def incr(self, name: str) -> Awaitable[int]:
        """Add 1 to a number, and return it."""

    def set(self, name: str, value: Value, *, nx: bool = False) -> Awaitable[object]:
        """Set a string; with ``nx`` only where there is none."""

    def mget(self, keys: Sequence[str]) -> Awaitable[list[bytes | None]]:
        """Return several strings."""

    def hget(self, name: str, key: str) -> Awaitable[bytes | None]:
        """Return a field of a hash."""

    def hgetall(self, name: str) -> Awaitable[dict[bytes, bytes]]:
        """Return a hash."""

    def hmget(self, name: str, keys: Sequence[str]) -> Awaitable[list[bytes | None]]:
        """Return these fields of a hash."""

    def llen(self, name: str) -> Awaitable[int]:
        """Return the length of a list."""

    def lrange(self, name: str, start: int, end: int) -> Awaitable[list[bytes]]:
        """Return the entries of a list from ``start`` to ``end``, both included."""

    def zcard(self, name: str) -> Awaitable[int]:
        """Return the size of a sorted set."""

    def zrank(self, name: str, value: str) -> Awaitable[int | None]:
        """Return the rank of a member of a sorted set."""

    def zrange(self, name: str, start: int, end: int) -> Awaitable[list[bytes]]:
        """Return members of a sorted set by rank."""

    def zrangebyscore(
        self,
        name: str,
        min: Value,
        max: Value,
        start: int,
        num: int,
        *,
        withscores: bool,
    ) -> Awaitable[list[tuple[bytes, float]]]:
        """Return members of a sorted set by score, with their scores (``withscores`` is True)."""

    def zrevrangebyscore(
        self,
        name: str,
        max: Value,
        min: Value,
        start: int,
        num: int,
        *,
        withscores: bool,
    ) -> Awaitable[list[tuple[bytes, float]]]:
        """Return members of a sorted set by falling score, with their scores (``withscores`` is True)."""

    def xrange(self, name: str, min: str, max: str) -> Awaitable[list[Entry]]:
        """Return entries of a stream."""

    def xrevrange(self, name: str, *, count: int) -> Awaitable[list[Entry]]:
        """Return the newest entries of a stream, the newest first."""

    def xread(self, streams: Mapping[str, str], count: int, block: int) -> Awaitable[list[tuple[bytes, list[Entry]]]]:
        """Wait for entries that follow the given ids."""

    def time(self) -> Awaitable[tuple[int, int]]:
        """Return the clock of Redis: unix seconds and microseconds."""

    def info(self, section: str) -> Awaitable[Info]:
        """Return a section of the server's state."""

    def aclose(self) -> Awaitable[None]:
        """Close the connections."""
