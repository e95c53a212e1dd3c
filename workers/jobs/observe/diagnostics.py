"""The state of Redis, workers and queues that `imagegen doctor` checks; the checks themselves are in cli/checks."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import redis

from config.settings import RedisSettings
from workers.jobs.observe.presence import WorkerPresence, live_workers
from workers.jobs.redis.clients import RedisClient
from workers.jobs.redis.connection import connect, redis_errors
from workers.jobs.redis.keys import Keys

_DELIVERED_WITHIN_S = 120
_LONGEST_LOOK_S = 2.0


@dataclass(frozen=True)
class RedisFacts:
    """The state of a server. ``save_points``: when it takes snapshots, '' for never, None where that is unknown.

    ``layout``: the version of the layout of our data, None before the first process has written it.

    ``clock_ahead_s``: how many seconds this machine's clock is ahead of the server's, within half a round trip.
    """

    version: str
    layout: str | None
    has_log: bool
    save_points: str | None
    writes_to_disk: bool
    policy: str
    memory_bytes: int
    max_memory_bytes: int
    system_memory_bytes: int
    clock_ahead_s: float
    replicas: int


@dataclass(frozen=True)
class GraphFacts:
    """A graph's queue: how many jobs and bytes wait, and how many seconds ago a child died while it ran a job."""

    queued: int
    queued_bytes: int
    crashed_ago_s: Sequence[float]


@dataclass(frozen=True)
class Diagnostics:
    """The state at one moment. ``overdue_deliveries``: webhook deliveries that no worker attempts.

    ``other_prefixes``: those of services whose data is in this Redis too; only looked for where no worker runs.
    """

    redis: RedisFacts
    workers: Sequence[WorkerPresence]
    graphs: Mapping[str, GraphFacts]
    overdue_deliveries: int
    other_prefixes: Sequence[str]


def read_diagnostics(settings: RedisSettings, graphs: Sequence[str]) -> Diagnostics:
    """Return the state of Redis and of these graphs. Raises ServiceUnavailable."""
    client = connect(settings)
    keys = Keys.of(settings)
    try:
        with redis_errors():
            before = time.time()
            seconds, microseconds = client.time()
            now = seconds + microseconds / 1e6
            ahead = (before + time.time()) / 2 - now
            workers = live_workers(client.hgetall(keys.workers), now)
            return Diagnostics(
                redis=_redis_facts(client, keys, ahead),
                workers=workers,
                graphs={graph: _graph_facts(client, keys, graph, now) for graph in graphs},
                overdue_deliveries=client.zcount(keys.deliveries, "-inf", (now - _DELIVERED_WITHIN_S) * 1000),
                other_prefixes=() if workers else _other_prefixes(client, keys),
            )
    finally:
        client.close()


def _redis_facts(client: RedisClient, keys: Keys, clock_ahead_s: float) -> RedisFacts:
    info = {**client.info("server"), **client.info("replication")}
    info |= {**client.info("persistence"), **client.info("memory")}
    writes = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
    return RedisFacts(
        version=str(info.get("valkey_version") or info.get("redis_version", "?")),
        layout=_layout(client, keys),
        has_log=bool(info.get("aof_enabled")),
        save_points=_save_points(client),
        writes_to_disk=all(info.get(name, "ok") == "ok" for name in writes),
        policy=str(info.get("maxmemory_policy", "noeviction")),
        memory_bytes=int(info["used_memory"]),
        max_memory_bytes=int(info.get("maxmemory", 0)),
        system_memory_bytes=int(info.get("total_system_memory", 0)),
        clock_ahead_s=clock_ahead_s,
        replicas=int(info.get("connected_slaves", 0)),
    )


def _layout(client: RedisClient, keys: Keys) -> str | None:
    found = client.get(keys.layout)
    return None if found is None else found.decode(errors="replace")


def _other_prefixes(client: RedisClient, keys: Keys) -> list[str]:
    """Return the other prefixes under which a service has data, as far as a short look at all keys finds them."""
    found: set[str] = set()
    end = time.monotonic() + _LONGEST_LOOK_S
    cursor = None
    while cursor != 0 and time.monotonic() < end:
        try:
            cursor, seen = client.scan(cursor or 0, match=Keys("*").layout, count=1000)
        except redis.ResponseError:  # this user may not list keys
            break
        prefixes = {key.decode(errors="replace").partition(":")[0] for key in seen}
        found |= {prefix for prefix in prefixes - {keys.prefix} if Keys(prefix).layout.encode() in seen}
    return sorted(found)


def _save_points(client: RedisClient) -> str | None:
    try:
        return str(client.config_get("save").get("save", ""))
    except redis.ResponseError:  # managed Redis services forbid CONFIG
        return None


def _graph_facts(client: RedisClient, keys: Keys, graph: str, now: float) -> GraphFacts:
    crashes = client.lrange(keys.crashes(graph), 0, -1)
    queued_bytes = int(client.hget(keys.backlog(graph), "bytes") or 0)
    return GraphFacts(client.zcard(keys.queued(graph)), queued_bytes, [now - float(moment) for moment in crashes])
