"""The checks of Redis, with real servers in a wrong state."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.checks.finding import Verdict
from cli.checks.redis_check import check_redis
from graphs.errors import ConfigurationError
from tests.cli.checks.check_support import only, settings_for
from tests.support.redis_keys import keys
from tests.support.redis_server import RunningRedis, running_redis
from workers.jobs.redis.layout import check_layout_at_start


@pytest.fixture
def own_redis(redis_processes: None, tmp_path: Path) -> Iterator[RunningRedis]:
    """A server whose configuration is this test's."""
    with running_redis(tmp_path / "redis") as running:
        yield running


def of_redis(running: RunningRedis, tmp_path: Path) -> tuple[Verdict, str]:
    return only(check_redis(settings_for(tmp_path, running.settings.url), []).findings)


def test_a_redis_as_it_should_be(own_redis: RunningRedis, tmp_path: Path) -> None:
    verdict, text = of_redis(own_redis, tmp_path)
    assert verdict is Verdict.OK, text
    assert "evicts nothing" in text


@pytest.mark.parametrize(
    ("settings", "verdict", "says"),
    [
        ({"maxmemory": "1gb", "maxmemory-policy": "allkeys-lru"}, Verdict.WRONG, "maxmemory-policy allkeys-lru"),
        ({"maxmemory-policy": "volatile-ttl"}, Verdict.NOTE, "that does not happen yet"),
        ({"appendonly": "no"}, Verdict.WRONG, "a restart loses every job"),
        ({"appendonly": "no", "save": "60 1"}, Verdict.NOTE, "snapshots only"),
    ],
    ids=["evicts", "would-evict", "keeps-nothing", "snapshots"],
)
def test_a_redis_that_loses_jobs(
    own_redis: RunningRedis, tmp_path: Path, settings: dict[str, str], verdict: Verdict, says: str
) -> None:
    with own_redis.client() as behind:
        for name, value in settings.items():
            behind.config_set(name, value)
    found, text = of_redis(own_redis, tmp_path)
    assert found is verdict, text
    assert says in text


def test_a_redis_of_another_release(own_redis: RunningRedis, tmp_path: Path) -> None:
    with own_redis.client() as behind:
        behind.set(keys.layout, "5")
    verdict, text = of_redis(own_redis, tmp_path)
    assert verdict is Verdict.WRONG
    assert "The data in Redis has layout version 5" in text
    assert "Start the release that wrote it" in text
    with own_redis.client() as behind:
        behind.set(keys.layout, "1")
    assert of_redis(own_redis, tmp_path)[0] is Verdict.OK


@pytest.mark.parametrize(("share", "verdict"), [(0.95, Verdict.WRONG), (0.8, Verdict.NOTE)], ids=["full", "filling"])
def test_a_redis_that_is_nearly_full(own_redis: RunningRedis, tmp_path: Path, share: float, verdict: Verdict) -> None:
    with own_redis.client() as behind:
        # Made there: what is sent lies in a connection's buffer for a while, and counts.
        behind.setrange("much", 50_000_000, b"x")
        used = int(behind.info("memory")["used_memory"])
        behind.config_set("maxmemory", int(used / share))
    found, text = of_redis(own_redis, tmp_path)
    assert found is verdict, text
    assert "of its maxmemory" in text


def test_a_replica_takes_no_jobs(own_redis: RunningRedis, tmp_path: Path) -> None:
    with own_redis.client() as behind:
        behind.replicaof("127.0.0.1", "1")
    assert "replica" in of_redis(own_redis, tmp_path)[1]


@pytest.mark.parametrize("password", [":wrong@", ""], ids=["wrong", "none"])
def test_a_redis_that_does_not_let_us_in(own_redis: RunningRedis, tmp_path: Path, password: str) -> None:
    url = f"unix://{password}{(own_redis.settings.url or '').rpartition('@')[2]}"
    verdict, text = only(check_redis(settings_for(tmp_path, url), []).findings)
    assert verdict is Verdict.WRONG
    assert "user or password" in text
    assert "wrong@" not in text


@pytest.mark.parametrize(
    ("url", "says"), [("redis://127.0.0.1:1/0", "does not answer"), ("http://here", "is no address of a Redis")]
)
def test_no_redis_there(tmp_path: Path, url: str, says: str) -> None:
    report = check_redis(settings_for(tmp_path, url), [])
    verdict, text = only(report.findings)
    assert (verdict, report.diagnostics) == (Verdict.WRONG, None)
    assert says in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--replicaof", "127.0.0.1", "1"), "is a replica, which takes no writes. Give the address of its primary."),
        (("--cluster-enabled", "yes"), "runs in cluster mode, which spreads the keys of one job over its nodes."),
    ],
)
def test_a_redis_that_can_keep_no_jobs(
    redis_processes: None, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    """Doctor says it, and no process starts with it."""
    with running_redis(tmp_path / "redis", options=options) as running:
        verdict, text = of_redis(running, tmp_path)
        with pytest.raises(ConfigurationError, match=says.partition(".")[0]):
            check_layout_at_start(running.settings)
    assert verdict is Verdict.WRONG
    assert says in text


def test_the_start_warns_of_a_redis_that_would_lose_jobs(
    own_redis: RunningRedis, caplog: pytest.LogCaptureFixture
) -> None:
    with own_redis.client() as behind:
        behind.config_set("maxmemory", "1gb")
        behind.config_set("maxmemory-policy", "allkeys-lru")
    check_layout_at_start(own_redis.settings)
    assert "throws jobs and images away when its memory is full (maxmemory-policy allkeys-lru)" in caplog.text


@pytest.mark.parametrize("options", [(), ("--rename-command", "CONFIG", "")], ids=["acl", "renamed"])
def test_doctor_does_without_config(redis_processes: None, tmp_path: Path, options: tuple[str, ...]) -> None:
    with running_redis(tmp_path / "redis", options=options) as running:
        with running.client() as behind:
            behind.execute_command("ACL", "SETUSER", "default", "+@all", "-config")
        verdict, text = of_redis(running, tmp_path)
    assert verdict is Verdict.OK, text


def test_a_redis_that_is_too_old(tmp_path: Path) -> None:
    with old_redis() as port:
        verdict, text = only(check_redis(settings_for(tmp_path, f"redis://127.0.0.1:{port}/0"), []).findings)
    assert verdict is Verdict.WRONG
    assert "6.2 or newer is needed" in text


@contextmanager
def old_redis() -> Iterator[int]:
    """What a Redis of 2020 answers to INFO and to a greeting."""
    info = b"# Server\r\nredis_version:6.0.20\r\n"

    def answer(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(4096):
                for command in data.split(b"*")[1:]:
                    if b"HELLO" in command:
                        connection.sendall(b"%1\r\n$5\r\nproto\r\n:3\r\n")
                    elif b"INFO\r\n" in command:
                        connection.sendall(b"$%d\r\n%s\r\n" % (len(info), info))
                    else:
                        connection.sendall(b"+PONG\r\n" if b"PING" in command else b"-ERR unknown command\r\n")

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        threading.Thread(target=lambda: answer(listening.accept()[0]), daemon=True).start()
        yield int(listening.getsockname()[1])


def test_nothing_runs_yet(tmp_path: Path) -> None:
    verdict, text = only(check_redis(settings_for(tmp_path), []).findings)
    assert verdict is Verdict.NOTE
    assert "Start `imagegen serve`" in text
