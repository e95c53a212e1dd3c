"""Processes that start on data of another release, or are still there when a newer one takes the data over."""

import subprocess
from pathlib import Path

import pytest

from config.settings import JobSettings, RedisSettings
from tests.api.api_support import error_of, serving, settings_for
from tests.cli.cli_support import imagegen
from tests.support.ports import free_port
from tests.workers.jobs.jobs_support import write_layout_version
from tests.workers.process.worker_process import running_worker
from tests.workers.webhooks.test_webhook_worker import webhook_worker
from tests.workers.webhooks.webhook_support import SECRET

pytestmark = pytest.mark.usefixtures("processes")

SENTENCE = "The data in Redis has layout version 5, and this release of imagegen-server"


@pytest.mark.parametrize("command", [["api"], ["worker"], ["worker", "--webhooks"], ["serve"]], ids=" ".join)
def test_no_process_starts_on_a_newer_version(
    redis_settings: RedisSettings, tmp_path: Path, command: list[str]
) -> None:
    write_layout_version(redis_settings, "5")
    options = ["--rest_port", str(free_port())] if command[0] in ("api", "serve") else []
    if command == ["serve"]:
        options += ["--data_dir", str(tmp_path)]
    ended = imagegen(
        *command, *options, REDIS_URL=redis_settings.url or "", IMAGEGEN_WEBHOOKS__SECRET=SECRET, cwd=tmp_path
    )
    assert ended.returncode == 2, ended.stderr
    assert f"imagegen: {SENTENCE}" in ended.stderr
    assert "Traceback" not in ended.stderr


def _ends_with_the_sentence(process: "subprocess.Popen[bytes]", log: Path) -> None:
    assert process.wait(60) == 2, log.read_text()
    # A script that meets the other layout first warns with the same sentence.
    assert [SENTENCE in line for line in log.read_text().splitlines() if " CRITICAL " in line] == [True]
    assert "Traceback" not in log.read_text()


def test_a_worker_ends_when_a_newer_release_takes_over(redis_settings: RedisSettings, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_worker(redis_settings, log, JobSettings()) as worker:
        assert worker.is_ready()
        write_layout_version(redis_settings, "5")
        _ends_with_the_sentence(worker.process, log)


def test_a_webhook_worker_ends_when_a_newer_release_takes_over(redis_settings: RedisSettings, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with webhook_worker(redis_settings, log) as process:
        write_layout_version(redis_settings, "5")
        _ends_with_the_sentence(process, log)


def test_an_api_refuses_work_when_a_newer_release_takes_over(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings)) as api:
        write_layout_version(redis_settings, "5")
        ready = api.http.get("/v2/health/ready")
        submitted = api.http.post("/v3/images/generations", json={"prompt": "x"})
    for response in (ready, submitted):
        assert SENTENCE in error_of(response, 503)["message"]
