"""What kind of Redis a server is, and whether this service can keep its jobs there."""

import re
from dataclasses import dataclass
from typing import Any

import redis

from workers.jobs.redis.clients import RedisClient

# Streams with XAUTOCLAIM, and SET with GET, came with this version.
OLDEST = (6, 2)


@dataclass(frozen=True)
class ServerKind:
    """What a server says of itself with INFO (https://redis.io/docs/latest/commands/info/)."""

    version: str
    is_replica: bool
    is_cluster: bool
    policy: str
    max_memory_bytes: int

    def unusable(self) -> str | None:
        """Return why no job can be kept there, and what to do, as the rest of a sentence about the server."""
        if version_of(self.version) < OLDEST:
            return f"is version {self.version}; {'.'.join(map(str, OLDEST))} or newer is needed."
        if self.is_cluster:
            return (
                "runs in cluster mode, which spreads the keys of one job over its nodes; "
                "use a Redis without cluster mode (with Sentinel, if it must not fail)."
            )
        if self.is_replica:
            return "is a replica, which takes no writes; give the address of its primary."
        return None

    def risk(self) -> str | None:
        """Return why accepted jobs may be lost there, and what to do, as the rest of a sentence about the server."""
        if self.policy == "noeviction" or not self.max_memory_bytes:
            return None
        return (
            f"throws jobs and images away when its memory is full (maxmemory-policy {self.policy}); "
            "set `maxmemory-policy noeviction`."
        )


def read_server_kind(client: RedisClient) -> ServerKind | None:
    """Ask a server what it is; None where its user may not use INFO. Raises what redis-py raises."""
    try:
        info: dict[str, Any] = {}
        for section in ("server", "replication", "cluster", "memory"):
            info |= client.info(section)
    except redis.ResponseError:  # NOPERM, or a service that has taken the command away
        return None
    return ServerKind(
        version=str(info.get("redis_version", "0")),
        is_replica=info.get("role") in ("slave", "replica"),
        is_cluster=str(info.get("cluster_enabled")) == "1",
        policy=str(info.get("maxmemory_policy", "noeviction")),
        max_memory_bytes=int(info.get("maxmemory", 0)),
    )


def version_of(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
