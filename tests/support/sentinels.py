"""A primary, a replica and three sentinels for tests: real processes of the server program that the project finds."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
# Sentinels call a server down when it has not answered for so long. They ask once a second: with one second, they often
# called the server down that they had just made the primary.
DOWN_AFTER_MS = 2000
QUORUM = 2

_SERVER = """\
bind {listens}
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
bind {listens}
port {port}
dir {folder}
requirepass {sentinel_password}
sentinel sentinel-pass {sentinel_password}
sentinel monitor {name} {primary_host} {primary_port} {quorum}
sentinel auth-pass {name} {password}
sentinel down-after-milliseconds {name} {down_after_ms}
sentinel failover-timeout {name} 6000
"""


@dataclass(frozen=True)
class Place:
    """A machine: its address for the other processes, the one for the test, and a command that runs another one there.

    ``enter`` begins with an absolute path, such as ``/usr/sbin/ip netns exec NAME``.
    """

    host: str = "127.0.0.1"
    reached_at: str = "127.0.0.1"
    enter: tuple[str, ...] = ()


HERE = Place()


class Server:
    """A Redis or a sentinel, with a folder and a port that it keeps over restarts."""

    def __init__(self, folder: Path, place: Place, config: str, **named: object) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.place = place
        self.host = place.host
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "server.conf"
        listens = " ".join(sorted({place.host, place.reached_at}))
        self._config.write_text(config.format(listens=listens, port=self.port, folder=folder, **named))

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *options: str) -> None:
        """Start it, tied to this process."""
        tied = [sys.executable, "-I", "-S", cli.local.tied_process.__file__, str(os.getpid())]
        command = [*tied, *self.place.enter, str(find_binary()), str(self._config), *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        """End it at once, with SIGKILL; a second time is harmless."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def client(self, password: str = PASSWORD) -> "redis.Redis":
        return redis.Redis(
            self.place.reached_at, self.port, password=password, socket_timeout=2, socket_connect_timeout=1
        )

    def answers(self, password: str = PASSWORD) -> bool:
        try:
            with self.client(password) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False


class Watched:
    """Two servers, a primary and a replica at first, and the sentinels that watch them."""

    def __init__(
        self,
        folder: Path,
        servers: tuple[Place, Place] = (HERE, HERE),
        sentinels: tuple[Place, Place, Place] = (HERE, HERE, HERE),
    ) -> None:
        self.servers = [
            Server(folder / f"server{number}", place, _SERVER, password=PASSWORD)
            for number, place in enumerate(servers)
        ]
        first = self.servers[0]
        watch = {"name": NAME, "primary_host": first.host, "primary_port": first.port, "password": PASSWORD}
        more = {"sentinel_password": SENTINEL_PASSWORD, "quorum": QUORUM, "down_after_ms": DOWN_AFTER_MS}
        self.sentinels = [
            Server(folder / f"sentinel{number}", place, _SENTINEL, **watch, **more)
            for number, place in enumerate(sentinels)
        ]

    def url(self, name: str | None = None) -> str:
        hosts = ",".join(f"{one.host}:{one.port}" for one in self.sentinels)
        own = f"sentinel_password={SENTINEL_PASSWORD}"
        return f"redis+sentinel://:{PASSWORD}@{hosts}/{name or NAME}?{own}"

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
        """Return the server that most sentinels name, as soon as one of them answers."""
        named: list[tuple[str, int]] = []

        def is_named() -> bool:
            named[:] = [found for sentinel in self.sentinels if (found := self._named(sentinel))]
            return bool(named)

        wait_until(is_named, "a sentinel names the primary")
        address = max(set(named), key=named.count)
        return next(server for server in self.servers if server.address == address)

    def restart_as_replica(self, server: Server) -> None:
        """Start a server that was killed; it follows the present primary."""
        server.start("--replicaof", *map(str, self.primary().address))
        wait_until(self.is_complete, "the server is a replica that follows the new primary")

    def fail_over(self) -> None:
        """Let the replica take the place of a primary that is well, and wait until all know it."""
        before = self.primary()
        with self.sentinels[-1].client(SENTINEL_PASSWORD) as client:
            client.execute_command("SENTINEL", "FAILOVER", NAME)
        wait_until(lambda: self.primary() is not before and self.is_complete(), "the replica is the primary")

    def stop(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.kill()

    def _named(self, sentinel: Server) -> tuple[str, int] | None:
        try:
            with sentinel.client(SENTINEL_PASSWORD) as client:
                found = client.sentinel_get_master_addr_by_name(NAME)
        except (redis.ConnectionError, redis.TimeoutError):
            return None
        if found is None:
            return None
        host, port = found
        return (host.decode() if isinstance(host, bytes) else host), int(port)

    def _sees_all(self, sentinel: Server) -> bool:
        try:
            with sentinel.client(SENTINEL_PASSWORD) as client:
                state = client.sentinel_master(NAME)
                replicas = client.sentinel_slaves(NAME)
        except (redis.ConnectionError, redis.TimeoutError):
            return False
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
