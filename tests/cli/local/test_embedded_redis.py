"""The Redis of `imagegen serve`, with the real server."""

import os
import shutil
import signal
import stat
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
import redis

from cli.errors import UserError
from cli.local.data_folder import is_private
from cli.local.embedded_redis import (
    choose_max_memory_bytes,
    find_binary,
    prepare,
    prepared_url,
    wait_until_answering,
)
from cli.local.redis_url_check import answers, check_url
from cli.local.supervisor import ChildSpec, Supervisor
from config.settings import JobSettings, RedisSettings, Settings
from tests.cli.cli_support import clean_environment, start_redis
from tests.support.polling import pause, wait_until


def _client(url: str) -> "redis.Redis":
    return redis.Redis.from_url(url, socket_timeout=5, decode_responses=True)


def test_it_starts_durable_private_and_only_with_its_password(supervisor: Supervisor, tmp_path: Path) -> None:
    server = start_redis(supervisor, tmp_path / 'ü "f" %')
    with _client(server.url) as client:
        wanted = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "aof-use-rdb-preamble": "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            "port": "0",
            "unixsocketperm": "600",
        }
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
    config = Path(server.command[1])
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
    path = config.parent / "redis.sock"
    assert unquote(urlsplit(server.url).path) == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with _client(f"unix://{quote(str(path))}") as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    check_url(RedisSettings(url=server.url))


def test_its_memory_is_limited_to_what_the_queues_may_need(tmp_path: Path) -> None:
    for given in (0, 123_456_789):
        assert choose_max_memory_bytes(Settings(redis=RedisSettings(max_memory_bytes=given)), 1) == given
    machine = choose_max_memory_bytes(Settings(jobs=JobSettings(max_queued_bytes=1)), 1)
    large = Settings(jobs=JobSettings(max_queued_bytes=10 * machine))
    assert machine < 20 * machine < choose_max_memory_bytes(large, 1) < choose_max_memory_bytes(large, 2)
    assert machine > 64 * 2**20
    server = prepare(tmp_path, 123_456_789)
    assert "maxmemory 123456789\n" in Path(server.command[1]).read_text()


def test_data_survive_a_kill_and_a_second_start(supervisor: Supervisor, tmp_path: Path) -> None:
    server = start_redis(supervisor, tmp_path)
    with _client(server.url) as client:
        client.rpush("queue", *(str(i) for i in range(500)))
    killed = supervisor.pid("redis")
    assert killed
    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        supervisor.tick()
        return supervisor.pid("redis") not in (None, killed) and answers(server.url)

    wait_until(is_back)
    with _client(server.url) as client:  # the same port, the same password
        assert client.llen("queue") == 500
        client.rpush("queue", "last")
    supervisor.stop()
    assert not answers(server.url)

    again = start_redis(supervisor, tmp_path)
    assert again.url == server.url
    with _client(again.url) as client:
        assert client.llen("queue") == 501


def test_a_failed_start_reports_the_logs_last_line(supervisor: Supervisor, tmp_path: Path) -> None:
    server = prepare(tmp_path)
    config = Path(server.command[1])
    config.write_text(config.read_text().replace("redis.sock", "none/redis.sock"))
    supervisor.start(ChildSpec("redis", server.command, clean_environment(), 0))
    with pytest.raises(UserError, match=r"Redis did not start: .*[Ss]ocket"):
        wait_until_answering(server, lambda: supervisor.is_running("redis"), lambda: pause(0.02))


def test_a_folder_with_a_long_name_has_its_socket_elsewhere(supervisor: Supervisor, tmp_path: Path) -> None:
    data_dir = tmp_path / ("a" * 100)
    server = start_redis(supervisor, data_dir)
    path = Path(unquote(urlsplit(server.url).path))
    assert not path.is_relative_to(tmp_path)
    assert is_private(path.parent)
    assert prepared_url(data_dir) == server.url
    supervisor.stop()
    assert prepare(data_dir).url == server.url
    path.parent.chmod(0o755)  # then another one is made
    again = Path(unquote(urlsplit(prepare(data_dir).url).path))
    assert (again == path, is_private(again.parent)) == (False, True)
    for folder in (path.parent, again.parent):
        shutil.rmtree(folder)


def test_a_server_on_the_path_is_preferred(processes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert find_binary().name == "valkey-server"
    assert find_binary().parent != tmp_path
    for name in ("valkey-server", "redis-server"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'Redis server v=7.0.15 sha=0'\n")
        (tmp_path / name).chmod(0o755)
        assert find_binary() == tmp_path / name


@pytest.mark.parametrize(
    ("version", "is_taken"),
    [
        ("Redis server v=6.0.16 sha=0", False),
        ("Redis server v=7.0.15 sha=0", True),
        ("Valkey server v=9.1.2", True),
        ("", False),
    ],
)
def test_a_server_on_the_path_that_is_too_old_is_passed_over(
    processes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, is_taken: bool
) -> None:
    program = tmp_path / "redis-server"
    program.write_text(f"#!/bin/sh\necho '{version}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert (find_binary() == program) is is_taken
