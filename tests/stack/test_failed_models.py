"""A repository of five models of which two cannot be served: the others serve, and every place tells of the two."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graphs.repository.bundled import bundled_model_path
from tests.support.polling import wait_until
from tests.support.service import Service, serving, write_graph

KEYS = {"administrator": "first-key", "client": "second-key"}
GOOD = ["good/a", "good/b", "good/c"]
SMALL = 'max_resolution: "128x128" default_resolution: "64x64"'


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in GOOD:
        write_graph(folder / name, steps=2, more=SMALL)
    write_graph(folder / "typo", steps=2, more="max_resolutions: 1")
    write_graph(folder / "incomplete", folder / "copy", steps=2, more=SMALL)
    shutil.copytree(bundled_model_path(), folder / "copy", ignore=shutil.ignore_patterns("*.pbtxt", "model_index.json"))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("service")
    (folder / "keys").write_text("\n".join(KEYS.values()))
    (folder / "keys").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def service(models: Path, data: Path) -> Iterator[Service]:
    with serving(data, "--model_repository_path", str(models), "--api_key_file", str(data / "keys")) as running:
        yield running


def _as(who: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[who]}"}


def _draw(service: Service, model: str) -> Any:
    body = {"model": model, "prompt": "a red circle"}
    return service.http.post("/v3/images/generations", json=body, headers=_as("client"))


def _imagegen(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "cli", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("model", GOOD)
def test_the_good_models_serve(service: Service, model: str) -> None:
    assert _draw(service, model).status_code == 200


def test_a_request_for_a_failed_model_is_answered_without_a_path(service: Service) -> None:
    answer = _draw(service, "typo")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "model_failed"
    assert answer.json()["error"]["message"] == (
        "The model 'typo' cannot be served now; the administrators of this server can see why."
    )


def test_an_administrator_sees_why_in_the_list_of_models(service: Service, models: Path) -> None:
    listed = service.http.get("/v3/models", headers=_as("administrator")).json()
    assert [model["id"] for model in listed["data"]] == GOOD
    assert listed["failed"]["typo"].startswith(f"{models / 'typo' / 'graph.pbtxt'}:")
    assert listed["failed"]["incomplete"].startswith(f"{models / 'copy' / 'model_index.json'}: There is no such file.")
    assert "failed" not in service.http.get("/v3/models", headers=_as("client")).json()


def test_readiness_and_metrics_tell_how_many(service: Service) -> None:
    ready = service.http.get("/v2/health/ready")
    assert ready.json() == {"status": "ready", "warning": "2 of the configured models cannot be served."}
    assert "imagegen_models_failed 2.0" in service.http.get("/metrics", headers=_as("client")).text


def test_the_log_says_why(service: Service) -> None:
    for name in ("typo", "incomplete"):
        assert f"{name} cannot be served; the others are: " in service.log.read_text()


def test_doctor_tells_it(service: Service, models: Path, data: Path) -> None:
    done = _imagegen("doctor", "--json", "--model_repository_path", str(models), "--data_dir", str(data / "data"))
    wrong = [finding["message"] for finding in json.loads(done.stdout)["findings"] if finding["verdict"] == "wrong"]
    assert done.returncode == 1
    for name in ("typo", "incomplete"):
        assert any(message.startswith(f"{name}: {models}") for message in wrong)


def test_validate_tells_it(models: Path) -> None:
    done = _imagegen("validate", str(models))
    assert done.returncode == 2
    assert sorted(json.loads(done.stdout)) == GOOD
    assert f"typo cannot be served: {models / 'typo' / 'graph.pbtxt'}:" in done.stderr
    assert f"incomplete cannot be served: {models / 'copy' / 'model_index.json'}:" in done.stderr


def test_a_mended_model_serves_after_the_next_start(models: Path, tmp_path: Path) -> None:
    write_graph(models / "typo", steps=2, more=SMALL)
    with serving(tmp_path, "--model_repository_path", str(models)) as service:
        body = {"model": "typo", "prompt": "a red circle"}
        assert service.http.post("/v3/images/generations", json=body).status_code == 200
        warning = "1 of the configured models cannot be served: incomplete."
        assert service.http.get("/v2/health/ready").json() == {"status": "ready", "warning": warning}


def test_a_configuration_without_models_starts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_config_list": []}')
    with serving(tmp_path, "--config_path", str(tmp_path / "config.json")) as service:
        assert service.http.get("/v3/models").json()["data"] == []
        warning = "No model is served: none is configured."
        assert service.http.get("/v2/health/ready").json() == {"status": "ready", "warning": warning}
        answer = service.http.post("/v3/images/generations", json={"prompt": "a red circle"})
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == "No model is served here: none is configured."


def test_a_model_that_no_worker_can_load_does_not_take_the_others_down(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    write_graph(folder / "good", steps=2, more=SMALL)
    torn = tmp_path / "torn"
    shutil.copytree(bundled_model_path(), torn, ignore=shutil.ignore_patterns("*.pbtxt"))
    decoder = torn / "vae_decoder" / "openvino_model.xml"
    whole = decoder.read_bytes()
    decoder.write_bytes(whole[: len(whole) // 2])
    write_graph(folder / "torn", torn, steps=2, more=SMALL)
    keys = tmp_path / "keys"
    keys.write_text("first-key\nsecond-key")
    keys.chmod(0o600)
    options = ("--model_repository_path", str(folder), "--api_key_file", str(keys))
    with serving(tmp_path / "service", *options) as service:
        assert _draw(service, "good").status_code == 200
        assert _draw(service, "torn").json()["error"]["code"] == "model_failed"
        (name, sentence), *others = (
            service.http.get("/v3/models", headers=_as("administrator")).json()["failed"].items()
        )
        assert (name, others) == ("torn", [])
        warning = "1 of the configured models cannot be served."
        assert service.http.get("/v2/health/ready").json() == {"status": "ready", "warning": warning}
        assert "imagegen_models_failed 1.0" in service.http.get("/metrics", headers=_as("client")).text
        data = tmp_path / "service" / "data"
        done = _imagegen("doctor", "--model_repository_path", str(folder), "--data_dir", str(data))
        assert "cannot be loaded on CPU" in sentence
        assert f"torn: {decoder}: This is no whole OpenVINO network" in done.stdout
        decoder.write_bytes(whole)  # the worker is started again by itself
        wait_until(lambda: _draw(service, "torn").status_code == 200, "the mended model")
        # A job may be drawn before the worker's next heartbeat, which says that it is ready.
        ready = {"status": "ready"}
        wait_until(
            lambda: service.http.get("/v2/health/ready").json() == ready, "the worker's heartbeat", deadline_s=15
        )
