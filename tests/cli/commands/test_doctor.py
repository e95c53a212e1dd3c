"""``imagegen doctor``: real things in a wrong state, and the sentence that tells it."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.checks.finding import Finding, Verdict
from cli.checks.machine_check import check_devices, check_disk, check_models, check_port
from cli.checks.redis_check import check_redis
from cli.checks.settings_check import check_settings, is_loopback
from cli.checks.workers_check import check_workers
from config.settings import HttpSettings, RedisSettings, RepositorySettings, Settings, WorkerSettings
from tests.cli.cli_support import ROOT, imagegen
from tests.redis_support import RunningRedis, running_redis
from tests.stack.support import serving
from tests.workers.jobs.jobs_support import GRAPH, Upkeep, claims_of, client, submit
from workers.jobs.observe.diagnostics import read_diagnostics
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.redis import keys


def settings_for(tmp_path: Path, url: str | None = None, **groups: Any) -> Settings:
    return Settings(redis=RedisSettings(url=url), data_dir=tmp_path, **groups)


def told(findings: list[Finding]) -> tuple[Verdict, str]:
    """The only finding: its verdict, and all that it says."""
    (finding,) = findings
    assert finding.message.endswith("."), finding
    assert (finding.remedy != "") or finding.verdict is not Verdict.WRONG
    return finding.verdict, f"{finding.message} {finding.remedy}"


@pytest.fixture
def own_redis(redis_processes: None, tmp_path: Path) -> Iterator[RunningRedis]:
    """A server whose configuration is this test's."""
    with running_redis(tmp_path / "redis") as running:
        yield running


def of_redis(running: RunningRedis, tmp_path: Path) -> tuple[Verdict, str]:
    return told(check_redis(settings_for(tmp_path, running.settings.url), []).findings)


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
        behind.set(keys.LAYOUT, "2")
    verdict, text = of_redis(own_redis, tmp_path)
    assert verdict is Verdict.WRONG
    assert "The data in Redis has layout version 2" in text
    assert "Start the release that wrote it" in text
    with own_redis.client() as behind:
        behind.set(keys.LAYOUT, "1")
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
    url = f"redis://{password}{(own_redis.settings.url or '').rpartition('@')[2]}"
    verdict, text = told(check_redis(settings_for(tmp_path, url), []).findings)
    assert verdict is Verdict.WRONG
    assert "user or password" in text
    assert "wrong@" not in text


@pytest.mark.parametrize(
    ("url", "says"), [("redis://127.0.0.1:1/0", "does not answer"), ("http://here", "is not a Redis URL")]
)
def test_no_redis_there(tmp_path: Path, url: str, says: str) -> None:
    report = check_redis(settings_for(tmp_path, url), [])
    verdict, text = told(report.findings)
    assert (verdict, report.diagnostics) == (Verdict.WRONG, None)
    assert says in text


def test_a_redis_that_is_too_old(tmp_path: Path) -> None:
    with old_redis() as port:
        verdict, text = told(check_redis(settings_for(tmp_path, f"redis://127.0.0.1:{port}/0"), []).findings)
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
    verdict, text = told(check_redis(settings_for(tmp_path), []).findings)
    assert verdict is Verdict.NOTE
    assert "Start `imagegen serve`" in text


def of_workers(redis: RedisSettings) -> list[tuple[str, Verdict, str]]:
    diagnostics = read_diagnostics(redis, [GRAPH])
    return [(f.area, f.verdict, f"{f.message} {f.remedy}") for f in check_workers(diagnostics, [GRAPH])]


def beat(redis: RedisSettings, name: str = "w", graph: str = GRAPH, ready: bool = True) -> None:
    presence = WorkerPresence(name, graph, "CPU", ready=ready, operations=(), seen_at=0.0)
    Upkeep(redis).heartbeat(presence)


def test_workers_missing_loading_ready(redis_settings: RedisSettings) -> None:
    submit(redis_settings)
    ((_, verdict, text),) = of_workers(redis_settings)
    assert (verdict, "no worker runs. 1 jobs wait." in text) == (Verdict.WRONG, True), text
    assert f"imagegen worker --graph {GRAPH}" in text
    beat(redis_settings, ready=False)
    ((_, verdict, text),) = of_workers(redis_settings)
    assert (verdict, "none has loaded its model" in text) == (Verdict.WRONG, True), text
    beat(redis_settings)
    beat(redis_settings, "other", "elsewhere")
    (_, ready, text), (_, other, of_other) = of_workers(redis_settings)
    assert (ready, "ready: 1 on CPU" in text) == (Verdict.OK, True), text
    assert (other, "elsewhere" in of_other) == (Verdict.NOTE, True)


def test_workers_that_die_again_and_again(redis_settings: RedisSettings) -> None:
    beat(redis_settings)
    for number, expected in enumerate((Verdict.NOTE, Verdict.NOTE, Verdict.WRONG), 1):
        job = submit(redis_settings)
        claims_of(redis_settings).claim_next(GRAPH)
        Upkeep(redis_settings).end_lease(job.id)
        Upkeep(redis_settings).count_crash()
        _, (_, verdict, text) = of_workers(redis_settings)
        assert verdict is expected
        assert f"died {number} times" in text


def test_a_worker_whose_clock_is_wrong(redis_settings: RedisSettings) -> None:
    beat(redis_settings)
    with client(redis_settings) as behind:
        value = json.loads(str(behind.hget(keys.WORKERS, "w")))
        assert abs(value["clock"] - value["seen_at"]) < 2
        late = {**value, "clock": value["seen_at"] - 61.0, "of_a_later_version": 1}
        behind.hset(keys.WORKERS, "w", json.dumps(late))
    _, (area, verdict, text) = of_workers(redis_settings)
    assert (area, verdict) == ("clock", Verdict.WRONG)
    assert "-61.0 s" in text


def test_webhooks_that_nobody_delivers(redis_settings: RedisSettings) -> None:
    beat(redis_settings)
    with client(redis_settings) as behind:
        behind.zadd(keys.DELIVERIES, {"evt_1": 1000})
    _, (area, verdict, text) = of_workers(redis_settings)
    assert (area, verdict) == ("webhooks", Verdict.WRONG)
    assert "imagegen worker --webhooks" in text


def test_models_that_cannot_be_served(tmp_path: Path) -> None:
    (tmp_path / "graph.pbtxt").write_text("node: {")
    report = check_models(Settings(repository=RepositorySettings(model_path=tmp_path)))
    assert report.finding.verdict is Verdict.WRONG
    assert str(tmp_path / "graph.pbtxt") in report.finding.message
    assert report.graphs == {}


@pytest.mark.usefixtures("processes", "openvino_runtime")
def test_a_device_that_is_not_here() -> None:
    settings = Settings(worker=WorkerSettings(device="CPU NPU.7 CPU"))
    graphs = check_models(settings).graphs
    verdict, text = told(check_devices(settings, graphs))
    assert verdict is Verdict.WRONG
    assert "demo wants NPU.7; OpenVINO finds CPU" in text
    assert told(check_devices(settings, graphs, served=["demo"]))[0] is Verdict.NOTE


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    assert check_disk(tmp_path / "not" / "yet", 0).verdict is Verdict.OK
    assert check_disk(tmp_path, 2**62).verdict is Verdict.WRONG


def test_a_port_that_is_anothers(port_in_use: int, free_port: int) -> None:
    taken = check_port(HttpSettings(rest_port=port_in_use))
    assert (taken.verdict, "is in use" in taken.message) == (Verdict.WRONG, True), taken
    assert "--rest_port" in taken.remedy
    assert check_port(HttpSettings(rest_port=free_port)).verdict is Verdict.NOTE


def test_settings_that_open_the_service(tmp_path: Path) -> None:
    keys_file = tmp_path / "keys"
    keys_file.write_text("a-key-of-somebody\n")
    keys_file.chmod(0o600)

    def judged(**http: Any) -> tuple[Verdict, str]:
        return told(check_settings(Settings(http=HttpSettings(**http))))

    assert judged()[0] is Verdict.OK
    verdict, text = judged(rest_bind_address="0.0.0.0")
    assert (verdict, "--api_key_file" in text) == (Verdict.WRONG, True)
    assert judged(rest_bind_address="0.0.0.0", api_key_file=keys_file)[0] is Verdict.OK
    keys_file.chmod(0o644)
    assert judged(api_key_file=keys_file)[1].endswith(f"chmod 600 {keys_file}")
    assert judged(api_key_file=tmp_path / "none")[0] is Verdict.WRONG
    assert [is_loopback(host) for host in ("127.0.0.2", "::1", "localhost", "::", "h", "10.0.0.1")] == [
        *[True] * 3,
        *[False] * 3,
    ]
    assert "without a password" in told(check_settings(settings_for(tmp_path, "redis://10.0.0.1:6379/0")))[1]


@pytest.mark.usefixtures("processes")
def test_without_a_worker_it_exits_with_1(redis_server: RunningRedis, redis_settings: RedisSettings) -> None:
    done = imagegen("doctor", "--redis_url", str(redis_settings.url))
    assert done.returncode == 1, done.stdout
    assert "✗ workers: demo: no worker runs.\n  -> Start `imagegen worker --graph demo`" in done.stdout
    assert done.stderr == ""


@pytest.mark.usefixtures("processes")
def test_beside_a_service_that_runs_all_is_well(tmp_path: Path) -> None:
    """It finds the Redis that `imagegen serve` started by its data directory."""
    environment = {**os.environ, "IMAGEGEN_WORKER__ENGINE": "simulated", "PYTHONPATH": str(ROOT)}
    with serving(tmp_path, environment=environment) as service:
        port = service.url.rpartition(":")[2]
        done = imagegen("doctor", "--json", "--data_dir", str(tmp_path / "data"), "--rest_port", port)
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], done.stderr) == (0, True, ""), done.stdout
    assert {finding["verdict"] for finding in told["findings"]} == {"ok"}
    assert [finding["area"] for finding in told["findings"]] == [
        *("settings", "models", "devices", "redis", "workers", "api", "disk"),
    ]
