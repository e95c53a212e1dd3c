"""What an API process serves of the models on disk, depending on the workers."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.model_reload import listed_now
from config.settings import RedisSettings, RepositorySettings
from graphs.reload.served_models import ServedModels, Source
from tests.api.api_support import Api, serving, settings_for
from tests.support.polling import wait_until
from tests.support.service import write_graph
from tests.workers.jobs.jobs_support import Upkeep
from workers.jobs.observe.presence import WorkerPresence

NOT_LOADED = {"error": "Reloading models failed. The log of the server says why."}


def _worker(graph: str, digest: str, *, ready: bool = True, error: str | None = None) -> WorkerPresence:
    return WorkerPresence(f"{graph} {digest}", graph, "CPU", ready, ("generation",), 0.0, error, digest=digest)


def _models(folder: Path, **steps: int) -> ServedModels:
    for name, number in steps.items():
        write_graph(folder / name, steps=number)
    return Source(model_repository_path=folder).read()


def test_a_changed_model_is_listed_once_a_worker_is_ready_with_it(tmp_path: Path) -> None:
    former = _models(tmp_path, one=3)
    wanted = _models(tmp_path, one=4)
    old = _worker("one", former.digest("one"))
    loading = _worker("one", wanted.digest("one"), ready=False)
    failed = _worker("one", wanted.digest("one"), ready=False, error="It cannot be loaded.")
    ready = _worker("one", wanted.digest("one"))
    for workers in ([old], [old, loading], [old, failed]):
        assert listed_now(former, wanted, workers).digest("one") == former.digest("one"), workers
    for workers in ([old, ready], [ready], [loading], []):  # without a former one there is none to wait for
        assert listed_now(former, wanted, workers).digest("one") == wanted.digest("one"), workers


def test_a_new_model_is_listed_once_a_worker_is_ready_and_a_removed_one_no_more(tmp_path: Path) -> None:
    former = _models(tmp_path / "a", one=3)
    wanted = _models(tmp_path / "b", two=3)
    assert list(listed_now(former, wanted, []).repository.graphs) == []
    found = listed_now(former, wanted, [_worker("two", wanted.digest("two"))])
    assert list(found.repository.graphs) == list(found.facts) == list(found.digests) == ["two"]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    write_graph(tmp_path / "one", steps=3)
    write_graph(tmp_path / "two", steps=3)
    _list(tmp_path, "one")
    return tmp_path


def _list(disk: Path, *names: str) -> None:
    entries = [{"name": name, "base_path": name} for name in names]
    (disk / "config.json").write_text(json.dumps({"mediapipe_config_list": entries}))


@pytest.fixture
def api(disk: Path, redis_settings: RedisSettings) -> Iterator[Api]:
    """An API that reads its models again only when it is asked to."""
    repository = RepositorySettings(config_path=disk / "config.json")
    settings = settings_for(redis_settings).model_copy(update={"repository": repository, "file_system_poll_wait_s": 0})
    with serving(settings) as running:
        yield running


def _beat(api: Api, graph: str, folder: Path) -> None:
    """Let a worker be ready with the model that is in this folder now."""
    digest = Source(model_path=folder).read().digest(folder.name)
    Upkeep(api.redis, digest=digest).heartbeat(_worker(graph, digest))


def _fail(api: Api, graph: str, folder: Path) -> None:
    """Let a worker have ended, since it cannot load the model that is in this folder now."""
    digest = Source(model_path=folder).read().digest(folder.name)
    Upkeep(api.redis, digest=digest).heartbeat(_worker(graph, digest, ready=False, error="Incorrect weights."))


def _state(api: Api, model: str) -> tuple[str, str]:
    version = api.http.get("/v1/config").json()[model]["model_version_status"][0]
    return version["state"], version["status"]["error_code"]


def _listed(api: Api) -> list[str]:
    return sorted({model["base"] for model in api.http.get("/v3/models").json()["data"]})


def test_a_reload_waits_for_the_worker_of_a_new_model(api: Api, disk: Path) -> None:
    _beat(api, "one", disk / "one")
    _list(disk, "one", "two")
    _beat(api, "two", disk / "two")
    answer = api.http.post("/v1/config/reload")
    assert (answer.status_code, sorted(answer.json())) == (201, ["one", "two"])
    assert api.http.post("/v1/config/reload").status_code == 200
    assert _listed(api) == ["one", "two"]


def test_a_new_model_that_no_worker_can_load_is_reported_and_not_waited_for(api: Api, disk: Path) -> None:
    _beat(api, "one", disk / "one")
    _list(disk, "one", "two")
    _fail(api, "two", disk / "two")
    for _ in range(2):
        answer = api.http.post("/v1/config/reload")
        assert (answer.status_code, answer.json()) == (412, NOT_LOADED)
    assert _state(api, "two") == ("LOADING", "FAILED_PRECONDITION")
    assert _listed(api) == ["one"]
    assert "imagegen_models_failed 1.0" in api.http.get("/metrics").text
    warning = "1 of the configured models cannot be served: two."
    assert api.http.get("/v2/health/ready").json() == {"status": "ready", "warning": warning}

    _beat(api, "two", disk / "two")
    assert api.http.post("/v1/config/reload").status_code == 201
    assert "imagegen_models_failed 0.0" in api.http.get("/metrics").text


def test_a_changed_model_that_no_worker_can_load_is_reported_while_the_former_one_is_served(
    api: Api, disk: Path
) -> None:
    _beat(api, "one", disk / "one")
    assert api.http.post("/v1/config/reload").status_code == 200
    write_graph(disk / "one", steps=5)
    _fail(api, "one", disk / "one")
    answer = api.http.post("/v1/config/reload")
    assert (answer.status_code, answer.json()) == (412, NOT_LOADED)
    assert _state(api, "one") == ("AVAILABLE", "OK")
    assert "imagegen_models_failed 0.0" in api.http.get("/metrics").text


def test_a_reload_waits_for_a_change_beside_a_model_that_cannot_be_loaded(api: Api, disk: Path) -> None:
    _beat(api, "one", disk / "one")
    _list(disk, "one", "two")
    _fail(api, "two", disk / "two")
    former = api.http.get("/v3/models/one").json()["digest"]
    write_graph(disk / "one", steps=5)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(api.http.post, "/v1/config/reload")
        wait_until(lambda: "two" in api.http.get("/v1/config").json(), "the reload has read the files")
        assert not answer.done()
        _beat(api, "one", disk / "one")
        assert answer.result(30).status_code == 412
    assert api.http.get("/v3/models/one").json()["digest"] != former


def test_a_new_model_that_cannot_be_read_counts_as_failed(api: Api, disk: Path) -> None:
    (disk / "two" / "graph.pbtxt").write_text("oops: 1")
    _list(disk, "one", "two")
    assert api.http.post("/v1/config/reload").status_code == 412
    assert "imagegen_models_failed 1.0" in api.http.get("/metrics").text


def test_the_models_of_workers_are_followed_where_no_process_looks_at_files(api: Api, disk: Path) -> None:
    """Workers that were started with changed files: those of the former model have ended."""
    _beat(api, "one", disk / "one")
    write_graph(disk / "one", steps=5)
    _beat(api, "one", disk / "one")
    api.http.get("/v3/models")
    new = Source(model_path=disk / "one").read().digest("one")
    former = api.http.get("/v3/models/one").json()["digest"]
    assert former != new
    with_former = _worker("one", former, ready=False, error="The files of this model changed.")
    Upkeep(api.redis, digest=former).heartbeat(with_former)
    wait_until(lambda: api.http.get("/v3/models/one").json()["digest"] == new)


def test_the_states_of_models_as_model_server_answers_them(api: Api, disk: Path) -> None:
    loading = {"version": "1", "state": "LOADING", "status": {"error_code": "OK", "error_message": "OK"}}
    assert api.http.get("/v1/config").json() == {"one": {"model_version_status": [loading]}}
    (disk / "two" / "graph.pbtxt").write_text("oops: 1")
    _beat(api, "one", disk / "one")
    _list(disk, "one", "two")
    answer = api.http.post("/v1/config/reload")
    assert answer.status_code == 412
    assert answer.json() == {"error": "Reloading models failed. The log of the server says why."}
    states = api.http.get("/v1/config").json()
    assert states["one"]["model_version_status"][0]["state"] == "AVAILABLE"
    code = "FAILED_PRECONDITION"
    failed = {"version": "1", "state": "LOADING", "status": {"error_code": code, "error_message": code}}
    assert states["two"] == {"model_version_status": [failed]}
    assert api.http.post("/v3/images/jobs", json={"prompt": "a red circle"}).status_code == 202
