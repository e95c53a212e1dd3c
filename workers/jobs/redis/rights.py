"""What the user in REDIS_URL must be allowed, and whether it is: commands and keys of the server's access control list.

docs/add-workers.md has the line that makes such a user; a test compares it with ``COMMANDS``, and ``COMMANDS`` with the
commands of the scripts and clients.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from config.settings import RedisSettings
from workers.jobs.redis.clients import RedisClient
from workers.jobs.redis.connection import sentinels_of
from workers.jobs.redis.keys import Keys

_Arguments = tuple[str | int, ...]

# Stands for a key that does not exist: it ends so, behind each prefix.
_KEY = "KEY"
_UNUSED = ":rights"
# Each command with arguments that the server takes for well formed. Those of transactions are tried by themselves.
COMMANDS: Mapping[str, _Arguments] = {
    **{
        name: (_KEY,)
        for name in ("del", "exists", "get", "hgetall", "hlen", "incr", "llen", "mget", "pttl", "smembers")
    },
    **{name: (_KEY,) for name in ("strlen", "ttl", "type", "watch", "xlen", "zcard")},
    **{name: (_KEY, "x") for name in ("hdel", "hexists", "hget", "hmget", "lpush", "rpush", "sadd", "set", "zrank")},
    **{name: (_KEY, "x") for name in ("zrem", "zscore")},
    **{name: (_KEY, "x", 1) for name in ("hincrby", "hset", "hsetnx")},
    **{name: (_KEY, 0, 0) for name in ("lrange", "ltrim", "zcount", "zrange", "zrangebyscore", "zremrangebyscore")},
    **{name: (_KEY, 0, 0) for name in ("zrevrange", "zrevrangebyscore")},
    **{name: (_KEY, "[a", "(b") for name in ("zlexcount", "zrangebylex")},
    **{name: (_KEY, 1) for name in ("brpop", "expire", "incrby")},
    "evalsha": ("0" * 40, 1, _KEY),
    "exec": (),
    "info": ("server",),
    "multi": (),
    "ping": (),
    "rename": (_KEY, _KEY),
    "scan": (0,),
    "script|exists": ("0" * 40,),
    "script|load": ("return 1",),
    "time": (),
    "unwatch": (),
    "xadd": (_KEY, "*", "x", "x"),
    "xrange": (_KEY, "-", "+"),
    "xread": ("STREAMS", _KEY, "0"),
    "xrevrange": (_KEY, "+", "-"),
    "zadd": (_KEY, 1, "x"),
    "zincrby": (_KEY, 1, "x"),
}
_OF_TRANSACTIONS = ("watch", "multi", "exec")
_OTHER_DATABASE = "select"

# As Redis 6.2, Redis 7 and Valkey say it.
_NO_COMMAND = re.compile(r"no permissions to run the '", re.IGNORECASE)
_NO_KEY = re.compile(r"no permissions to access (?:a|one of the) key", re.IGNORECASE)
_UNKNOWN = re.compile(r"unknown (?:sub)?command", re.IGNORECASE)


@dataclass(frozen=True)
class MissingRights:
    """What a user may not do and this service does: commands, and patterns of keys, as ``ACL SETUSER`` takes them.

    ``unknown`` are commands that the server does not have: another program, or its operator has taken them away.
    """

    user: str
    commands: Sequence[str]
    patterns: Sequence[str]
    unknown: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.commands or self.patterns or self.unknown)

    def __str__(self) -> str:
        """Return what is missing and, after a semicolon, what to do about it: one sentence without its full stop."""
        if self.unknown:
            return (
                f"the Redis of REDIS_URL has no {_listed('command', self.unknown)}; this service needs each of them, "
                "so give them back (`rename-command` in its redis.conf), or use another Redis"
            )
        what = [f"the {_listed('command', self.commands)}"] if self.commands else []
        what += [f"the keys {' and '.join(self.patterns)}"] if self.patterns else []
        rules = [*(f"~{pattern}" for pattern in self.patterns), *(f"+{command}" for command in self.commands)]
        return (
            f"the user {self.user!r} of REDIS_URL may not use {' and '.join(what)}; allow it with "
            f"`ACL SETUSER {shlex.quote(self.user)} {' '.join(rules)}`"
        )


def needed_commands(settings: RedisSettings) -> Mapping[str, _Arguments]:
    """Return the commands that a service with these settings calls, each with arguments of which a key is ``KEY``."""
    more: dict[str, _Arguments] = {}
    if sentinels_of(settings) is not None:
        more["role"] = ()
    if settings.wait_replicas:
        more["wait"] = (0, 1)
    return {**COMMANDS, **more}


def missing_rights(client: RedisClient, settings: RedisSettings) -> MissingRights:
    """Ask the server what the user of these settings may not do.

    Nothing is changed: the commands are queued in a transaction, where the server judges each of them, and the
    connection is closed before they would be executed. Raises what redis-py raises where the server does not answer.
    """
    pool = cast("redis.Redis", client).connection_pool
    user = str(pool.connection_kwargs.get("username") or "default")
    connection: Any  # redis-py's types lack some of what it is asked below
    try:
        connection = pool.get_connection()
    except redis.exceptions.NoPermissionError:  # all else that opens a connection is always allowed
        return MissingRights(user, [_OTHER_DATABASE], [], [])
    try:
        return _judged(user, settings, lambda commands: _replies(connection, commands))
    finally:
        connection.disconnect()
        pool.release(connection)


_Send = Callable[[Sequence[Sequence[str | int]]], list[Any]]


def _judged(user: str, settings: RedisSettings, send: _Send) -> MissingRights:
    keys = Keys.of(settings)
    own, celery = (f"{prefix}{_UNUSED}" for prefix in (keys.own_prefix, keys.celery_prefix))
    needed = needed_commands(settings)
    queued = [name for name in needed if name not in _OF_TRANSACTIONS]
    transaction = [_words(name, needed[name], own) for name in _OF_TRANSACTIONS]
    replies = dict(zip(_OF_TRANSACTIONS, send(transaction), strict=True))
    # Only within a transaction is nothing executed.
    if replies["multi"] == b"OK" and send([["MULTI"]]) == [b"OK"]:
        replies |= zip(queued, send([_words(name, needed[name], own) for name in queued]), strict=True)
        (of_celery,) = send([_words("set", needed["set"], celery)])
    else:
        of_celery = None
    return MissingRights(
        user,
        commands=sorted(name for name, reply in replies.items() if _says(reply, _NO_COMMAND)),
        patterns=[
            *([f"{keys.own_prefix}*"] if any(_says(reply, _NO_KEY) for reply in replies.values()) else []),
            *([f"{keys.celery_prefix}*"] if _says(of_celery, _NO_KEY) else []),
        ],
        unknown=sorted(name for name, reply in replies.items() if _says(reply, _UNKNOWN)),
    )


def _replies(connection: Any, commands: Sequence[Sequence[str | int]]) -> list[Any]:
    """Send commands together and return their replies, errors among them."""
    connection.send_packed_command(connection.pack_commands(commands))
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(connection.read_response())
        except redis.ResponseError as error:
            replies.append(error)
    return replies


def _words(name: str, arguments: _Arguments, key: str) -> list[str | int]:
    return [*name.upper().split("|"), *(key if argument == _KEY else argument for argument in arguments)]


def _says(reply: object, what: re.Pattern[str]) -> bool:
    return isinstance(reply, redis.ResponseError) and what.search(str(reply)) is not None


def _listed(what: str, names: Sequence[str]) -> str:
    shown = [name.upper().replace("|", " ") for name in names]
    first = ", ".join(shown[:-1])
    return f"{what} {shown[-1]}" if len(shown) == 1 else f"{what}s {first} and {shown[-1]}"
