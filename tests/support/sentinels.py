"""A primary, a replica and three sentinels for tests: real processes of the server program that the project finds."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

import cli.local.tied_process
from cli.local.embedded_redis import find_binary
from config.settings import RedisSettings
from tests.support.polling import wait_until
from tests.support.ports import free_port

NAME = "imagegen-test"
PASSWORD = "servers"
SENTINEL_PASSWORD = "sentinels"
# Sentinels call a server down when it has not answered for so long.
DOWN_AFTER_MS = 1000
SENTINELS = 3
QUORUM = 2

_SERVER = """\
bind {host}
port {port}
dir {folder}
requirepass {password}
masterauth {password}
appendonly yes
appendfsync everysec
save ""
repl-diskless-sync-delay 0
repl-timeout 10
"""
_SENTINEL = """\
bind {host}
port {port}
dir {folder}
requirepass {sentinel_password}
sentinel sentinel-pass {sentinel_password}
sentinel monitor {name} {primary_host} {primary_port} {quorum}
sentinel auth-pass {name} {password}
sentinel down-after-milliseconds {name} {down_after_ms}
sentinel failover-timeout {name} 6000
"""


class Server:
    """A Redis or a sentinel, with a folder and a port that it keeps over restarts.

    ``prefix`` is a command that runs another one, such as ``ip netns exec NAME``.
    """

    def __init__(self, folder: Path, host: str, prefix: tuple[str, ...] = ()) -> None:
        folder.mkdir(parents=True)
        self.folder, self.host, self.port = folder, host, free_port()
        self._prefix = prefix
        self._process: subprocess.Popen[bytes] | None = None
        self.config = folder / "server.conf"

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *options: str) -> None:
        """Start it, tied to this process."""
        tied = [sys.executable, "-I", "-S", cli.local.tied_process.__file__, str(os.getpid())]
        command = [*tied, *self._prefix, str(find_binary()), str(self.config), *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        """End it at once, with SIGKILL; a second time is harmless."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def client(self, password: str = PASSWORD) -> "redis.Redis":
        return redis.Redis(self.host, self.port, password=password, socket_timeout=2, socket_connect_timeout=1)

    def answers(self, password: str = PASSWORD) -> bool:
        try:
            with self.client(password) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False


class Watched:
    """Two servers, a primary and a replica at first, and the sentinels that watch them."""

    def __init__(self, folder: Path, name: str = NAME, down_after_ms: int = DOWN_AFTER_MS) -> None:
        self._name, self._down_after_ms = name, down_after_ms
        self.servers = [self.server(folder / f"server{number}") for number in range(2)]
        self.sentinels = [self.sentinel(folder / f"sentinel{number}") for number in range(SENTINELS)]

    def server(self, folder: Path, host: str = "127.0.0.1", prefix: tuple[str, ...] = ()) -> Server:
        server = Server(folder, host, prefix)
        server.config.write_text(_SERVER.format(host=host, port=server.port, folder=folder, password=PASSWORD))
        return server

    def sentinel(self, folder: Path, host: str = "127.0.0.1", prefix: tuple[str, ...] = ()) -> Server:
        sentinel = Server(folder, host, prefix)
        sentinel.config.write_text(
            _SENTINEL.format(
                host=host,
                port=sentinel.port,
                folder=folder,
                sentinel_password=SENTINEL_PASSWORD,
                name=self._name,
                primary_host=self.servers[0].host,
                primary_port=self.servers[0].port,
                quorum=QUORUM,
                password=PASSWORD,
                down_after_ms=self._down_after_ms,
            )
        )
        return sentinel

    def url(self, name: str | None = None) -> str:
        hosts = ",".join(f"{one.host}:{one.port}" for one in self.sentinels)
        own = f"sentinel_password={SENTINEL_PASSWORD}"
        return f"redis+sentinel://:{PASSWORD}@{hosts}/{name or self._name}?{own}"

    def settings(self, name: str | None = None) -> RedisSettings:
        return RedisSettings(url=self.url(name))

    def start(self) -> None:
        """Start all, and wait until every sentinel knows the others and the replica."""
        primary, replica = self.servers
        primary.start()
        replica.start("--replicaof", primary.host, str(primary.port))
        wait_until(lambda: all(server.answers() for server in self.servers), "the servers answer")
        for sentinel in self.sentinels:
            sentinel.start("--sentinel")
        wait_until(self.is_complete, "the sentinels know each other")

    def is_complete(self) -> bool:
        """Return whether every sentinel can be used, and the replica is one."""
        return all(self._sees_all(sentinel) for sentinel in self.sentinels)

    def primary(self) -> Server:
        """Return the server that most sentinels name."""
        named = [found for sentinel in self.sentinels if (found := self._named(sentinel))]
        address = max(set(named), key=named.count)
        return next(server for server in self.servers if server.address == address)

    def restart_as_replica(self, server: Server) -> None:
        """Start a server that was killed; the sentinels tell it whom to follow, at the latest after ten seconds."""
        server.start()
        wait_until(self.is_complete, "the server is a replica that follows the new primary", deadline_s=60)

    def stop(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.kill()

    def _named(self, sentinel: Server) -> tuple[str, int] | None:
        if not sentinel.answers(SENTINEL_PASSWORD):
            return None
        with sentinel.client(SENTINEL_PASSWORD) as client:
            host, port = client.sentinel_get_master_addr_by_name(self._name) or ("", 0)
        return (host.decode() if isinstance(host, bytes) else host), int(port)

    def _sees_all(self, sentinel: Server) -> bool:
        if not sentinel.answers(SENTINEL_PASSWORD):
            return False
        with sentinel.client(SENTINEL_PASSWORD) as client:
            state = client.sentinel_master(self._name)
            replicas = client.sentinel_slaves(self._name)
        up = [one for one in replicas if not (one["is_sdown"] or one["is_disconnected"])]
        follows = [one for one in up if one.get("master-link-status") == "ok"]
        return state["num-other-sentinels"] == len(self.sentinels) - 1 and len(follows) == len(self.servers) - 1


@contextmanager
def watched_redis(folder: Path) -> Iterator[Watched]:
    """Run a primary, a replica and three sentinels until the block ends."""
    watched = Watched(folder)
    try:
        watched.start()
        yield watched
    finally:
        watched.stop()
