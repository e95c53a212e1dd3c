"""The Redis of `imagegen serve`, with the real server."""

import os
import signal
import stat
from pathlib import Path

import pytest
import redis

from cli.errors import UserError
from cli.local.embedded_redis import choose_max_memory_bytes, find_binary, prepare, wait_until_answering
from cli.local.redis_url_check import answers, check_url
from cli.local.supervisor import ChildSpec, Supervisor
from config.settings import JobSettings, RedisSettings, Settings
from tests.cli.cli_support import clean_environment, start_redis
from tests.support.polling import pause, wait_until


def _client(url: str) -> "redis.Redis":
    return redis.Redis.from_url(url, socket_timeout=5, decode_responses=True)


def test_it_starts_durable_private_and_only_with_its_password(supervisor: Supervisor, tmp_path: Path) -> None:
    server = start_redis(supervisor, tmp_path / 'a "folder" with ünusual names')
    with _client(server.url) as client:
        wanted = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "aof-use-rdb-preamble": "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            "bind": "127.0.0.1",
            "tcp-keepalive": "60",
        }
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
    config = Path(server.command[1])
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
    port = server.url.rpartition(":")[2]
    with _client(f"redis://127.0.0.1:{port}") as stranger, pytest.raises(redis.AuthenticationError):
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


def test_a_taken_port_is_not_used_again(supervisor: Supervisor, tmp_path: Path, port_in_use: int) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "redis.conf").write_text(f"port {port_in_use}\nrequirepass abc123\n")
    server = prepare(tmp_path)
    assert str(port_in_use) not in server.url
    assert server.url.startswith("redis://:abc123@127.0.0.1:")


def test_a_failed_start_reports_the_logs_last_line(supervisor: Supervisor, tmp_path: Path, port_in_use: int) -> None:
    server = prepare(tmp_path)
    config = Path(server.command[1])
    port = server.url.rpartition(":")[2].partition("/")[0]
    config.write_text(config.read_text().replace(f"port {port}", f"port {port_in_use}"))
    broken = type(server)(server.command, "redis://127.0.0.1:1/0", server.log, server.log_start)
    supervisor.start(ChildSpec("redis", broken.command, clean_environment(), 0))
    with pytest.raises(UserError, match=r"Redis did not start: .*listen"):
        wait_until_answering(broken, lambda: supervisor.is_running("redis"), lambda: pause(0.02))


def test_a_server_on_the_path_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binary().name == "valkey-server"
    assert find_binary().parent != tmp_path
    for name in ("valkey-server", "redis-server"):
        (tmp_path / name).touch(mode=0o755)
        assert find_binary() == tmp_path / name
