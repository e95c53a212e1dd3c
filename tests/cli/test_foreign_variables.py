"""The environment of another project: its Celery, its modules of the same names, its platform."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config.environment import FOREIGN, leave_out_foreign_variables
from tests.support.service import serving

# As projects that use Celery, Django, Gunicorn and prometheus-client set them. Nothing listens on port 9.
OTHERS = {
    "BROKER_URL": "redis://127.0.0.1:9/0",
    "CELERY_BROKER_URL": "redis://127.0.0.1:9/0",
    "CELERY_BROKER_READ_URL": "redis://127.0.0.1:9/0",
    "CELERY_BROKER_WRITE_URL": "redis://127.0.0.1:9/0",
    "CELERY_RESULT_BACKEND": "redis://127.0.0.1:9/1",
    "CELERY_CONFIG_MODULE": "their.celeryconfig",
    "CELERY_LOADER": "their.loader",
    "CELERY_APP": "their.app",
    "CELERY_WORKER_AUTOSCALE": "3,3",
    "CELERY_WORKER_CONCURRENCY": "3",
    "CELERY_WORKER_MAX_TASKS_PER_CHILD": "1",
    "CELERY_WORKER_POOL": "solo",
    "CELERY_WORKER_QUEUES": "theirs",
    "CELERY_WORKER_DETACH": "1",
    "CELERY_WORKER_BEAT": "1",
    "CELERYD_NODES": "w1 w2",
    "C_FORCE_ROOT": "1",
    "DJANGO_SETTINGS_MODULE": "their.settings",
    "FORKED_BY_MULTIPROCESSING": "1",
    "KOMBU_LOG_DEBUG": "1",
    "NO_COLOR": "please",
    "PROMETHEUS_MULTIPROC_DIR": "/nowhere/theirs",
    "PYTHONOPTIMIZE": "2",
    "REMAP_SIGTERM": "SIGQUIT",
    "WEB_CONCURRENCY": "4",
}


def test_each_pattern_takes_its_variables_out(monkeypatch: pytest.MonkeyPatch) -> None:
    names = sorted(pattern.replace("*", "X") for pattern in FOREIGN)
    for name in names:
        monkeypatch.setenv(name, "theirs")
    monkeypatch.setenv("OURS_CELERY", "kept")
    assert set(names) <= set(leave_out_foreign_variables())
    assert not set(names) & set(os.environ)
    assert os.environ["OURS_CELERY"] == "kept"


@pytest.mark.usefixtures("processes")
def test_another_projects_environment_changes_nothing(tmp_path: Path) -> None:
    """One worker with one child draws from our own Redis, and keeps its model from image to image."""
    environment = {**OTHERS, "PYTHONPATH": _modules_of_another_project(tmp_path / "theirs")}
    with serving(tmp_path, environment=environment, imagegen=_command()) as service:
        workers = service.worker_pids()
        for seed in (1, 2):
            body = {"prompt": "a red circle", "num_inference_steps": 2, "size": "128x128", "seed": seed}
            answer = service.http.post("/v3/images/generations", json=body)
            assert answer.status_code == 200, answer.text
        assert service.worker_pids() == workers
        assert len(workers) == 2
        assert service.http.get("/metrics").status_code == 200


@pytest.mark.usefixtures("processes")
def test_the_modules_of_another_project_leave_the_commands_alone(tmp_path: Path) -> None:
    environment = {**os.environ, **OTHERS, "PYTHONPATH": _modules_of_another_project(tmp_path)}
    done = subprocess.run([*_command(), "--help"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.search(r"serve\s+Run everything", done.stdout), done.stdout


def _command() -> list[str]:
    return [str(Path(sys.executable).with_name("imagegen"))]


def _modules_of_another_project(folder: Path) -> str:
    for name in ("api", "cli", "config", "graphs", "workers"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise RuntimeError('the {name} of another project')\n")
    return str(folder)
