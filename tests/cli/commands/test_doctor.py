"""`imagegen doctor` as a process, beside a real service."""

import json
import os
from pathlib import Path

import pytest

from config.settings import RedisSettings
from tests.cli.cli_support import ROOT, imagegen
from tests.support.redis_server import RunningRedis
from tests.support.service import serving


@pytest.mark.usefixtures("processes")
def test_without_a_worker_it_exits_with_1(redis_server: RunningRedis, redis_settings: RedisSettings) -> None:
    done = imagegen("doctor", "--redis_url", str(redis_settings.url))
    assert done.returncode == 1, done.stdout
    assert "✗ workers: demo: no worker runs.\n  -> Start `imagegen worker --graph demo`" in done.stdout
    assert done.stderr == ""


@pytest.mark.usefixtures("processes")
def test_in_a_terminal_it_prints_a_table(redis_server: RunningRedis, redis_settings: RedisSettings) -> None:
    done = imagegen("doctor", "--redis_url", str(redis_settings.url), FORCE_COLOR="1")
    assert done.returncode == 1, done.stdout
    assert "✗ workers  demo: no worker runs." in done.stdout, done.stdout
    assert "           -> Start `imagegen worker --graph demo`" in done.stdout, done.stdout


@pytest.mark.usefixtures("processes")
def test_beside_a_running_service_nothing_is_wrong(tmp_path: Path) -> None:
    """It finds the Redis that `imagegen serve` started by its data directory."""
    environment = {**os.environ, "IMAGEGEN_WORKER__ENGINE": "simulated", "PYTHONPATH": str(ROOT)}
    with serving(tmp_path, environment=environment) as service:
        port = service.url.rpartition(":")[2]
        done = imagegen("doctor", "--json", "--data_dir", str(tmp_path / "data"), "--rest_port", port)
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"], done.stderr) == (0, True, ""), done.stdout
    assert {finding["verdict"] for finding in report["findings"]} == {"ok"}
    assert list(dict.fromkeys(finding["area"] for finding in report["findings"])) == [
        *("settings", "models", "adapters", "devices", "cpus", "redis", "workers", "api", "disk", "tmp"),
    ]
