"""Adapters that an administrator adds and removes while the whole service runs."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cli.local.embedded_redis import prepared_url
from config.http_settings import HttpSettings
from config.settings import DownloadSettings, RedisSettings, RepositorySettings, Settings
from graphs.errors import EngineError
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.requests.request import AdapterSelection, ResolvedRequest
from tests.api.api_support import serving as api_serving
from tests.stack.adapter_service import (
    adapter_entry,
    ask,
    assert_raw,
    composite_entry,
    listed,
    refused,
    served_image,
    tiny,
)
from tests.support.polling import wait_until
from tests.support.service import Service, serving, write_graph
from tests.workers.engine.adapter_support import UNET, write_kohya, write_native
from tests.workers.engine.adapters.test_runtime_adapters import OTHER
from tests.workers.engine.engine_support import MODELS, OPERATIONS_BY_TIER, make_graph, make_request
from tests.workers.engine.lycoris_support import KINDS, write_kind
from workers.engine.simulated import SimulatedEngine
from workers.jobs.adapter_registry import AdapterRegistry, AddedAdapter, AddedAdapterReader
from workers.process.adapter_sync import AdapterSync

ADMINISTRATOR, CLIENT = "first-key-0123456789", "other-key-0123456789"


@dataclass(frozen=True)
class Stage:
    """A service with API keys and two graphs; only ``fox`` takes more adapters."""

    service: Service
    folder: Path

    def file(self, seed: int) -> Path:
        return write_native(self.folder / f"{seed}.safetensors", "sd", seed)


def start(folder: Path, *arguments: str) -> Any:
    """The service with a key for administrators and one for clients."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "keys").write_text(f"{ADMINISTRATOR}\n{CLIENT} max_priority=low\n")
    return serving(folder / "run", "--api_key_file", str(folder / "keys"), *arguments)


def as_key(service: Service, key: str) -> Service:
    service.http.headers["Authorization"] = f"Bearer {key}"
    return service


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("runtime")
    a, b = (write_native(folder / f"{name}.safetensors", "sd", seed) for seed, name in ((1, "a"), (2, "b")))
    tiny(folder / "models" / "fox", adapter_entry("a", a) + composite_entry("mix", a=0.7))
    tiny(folder / "models" / "compiled", adapter_entry("s", b, "STATIC"))
    with start(folder, "--model_repository_path", str(folder / "models")) as service:
        yield Stage(as_key(service, ADMINISTRATOR), folder)


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """The service; what a test added is removed again."""
    before = set(listed(shared.service))
    yield shared
    for alias in set(listed(shared.service)) - before:
        remove(shared.service, alias)


def add(service: Service, alias: str, source: Path | str, **more: Any) -> httpx2.Response:
    body = {"alias": alias, "source": str(source), "model": "fox", **more}
    return service.http.post("/v3/lora_adapters", json=body)


def remove(service: Service, alias: str) -> httpx2.Response:
    return service.http.delete(f"/v3/lora_adapters/{alias}")


def test_an_added_adapter_is_answered_as_a_model(stage: Stage) -> None:
    answer = add(stage.service, "new", stage.file(3), alpha=0.8)
    assert answer.status_code == 201
    body = answer.json()
    assert body == stage.service.http.get("/v3/models/new").json()
    assert (body["kind"], body["base"], body["adapters"]) == ("adapter", "fox", {"new": 0.8})
    assert listed(stage.service)["new"] == ("adapter", "fox", {"new": 0.8})


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
def test_an_added_adapter_is_drawn_at_once(stage: Stage, operation: Operation) -> None:
    path = stage.file(3)
    add(stage.service, "new", path, alpha=0.8)
    assert_raw(served_image(stage.service, "new", operation), [(path, 0.8)], operation)
    drawn = served_image(stage.service, "new", operation, lora_alphas={"new": 0.3})
    assert_raw(drawn, [(path, 0.3)], operation)
    assert_raw(served_image(stage.service, "a", operation), [(stage.folder / "a.safetensors", 1.0)], operation)
    assert_raw(served_image(stage.service, "fox", operation), (), operation)


def test_an_adapter_of_other_layers_is_drawn_too(stage: Stage) -> None:
    """The model is compiled again for it."""
    path = write_kohya(stage.folder / "elsewhere.safetensors", OTHER, 5)
    add(stage.service, "elsewhere", path)
    assert_raw(served_image(stage.service, "elsewhere"), [(path, 1.0)])
    assert_raw(served_image(stage.service, "a"), [(stage.folder / "a.safetensors", 1.0)])


def test_a_strength_may_stand_in_the_source(stage: Stage) -> None:
    path = stage.file(3)
    add(stage.service, "half", f"{path}:0.5")
    assert_raw(served_image(stage.service, "half"), [(path, 0.5)])
    error = refused(add(stage.service, "twice", f"{path}:0.5", alpha=0.5))
    assert error["param"] == "alpha"


@pytest.mark.parametrize("as_address", [False, True])
def test_a_name_with_any_character_may_be_the_source(stage: Stage, as_address: bool) -> None:
    path = write_native(stage.folder / "a, b=c @;100%.safetensors", "sd", 3)
    # As a path, it contains what would begin the next entry, and is refused.
    answer = add(stage.service, "odd", path.as_uri() if as_address else path)
    if as_address:
        assert answer.status_code == 201
        assert_raw(served_image(stage.service, "odd"), [(path, 1.0)])
    else:
        assert refused(answer)["param"] == "source"


def test_a_removed_adapter_is_gone(stage: Stage) -> None:
    add(stage.service, "gone", stage.file(3))
    served_image(stage.service, "gone")
    answer = remove(stage.service, "gone")
    assert (answer.status_code, answer.json()["deleted"]) == (200, True)
    assert refused(ask(stage.service, "gone"), 404)["code"] == "model_not_found"
    assert refused(remove(stage.service, "gone"), 404)["code"] == "model_not_found"
    assert "gone" not in listed(stage.service)
    assert_raw(served_image(stage.service, "fox"))


def test_a_name_may_come_back_with_another_file(stage: Stage) -> None:
    for seed in (3, 4):
        path = stage.file(seed)
        assert add(stage.service, "again", path).status_code == 201
        assert_raw(served_image(stage.service, "again"), [(path, 1.0)])
        remove(stage.service, "again")


@pytest.mark.parametrize("which", ["child", "whole worker"])
def test_a_worker_that_was_killed_knows_it_again(stage: Stage, which: str) -> None:
    path = stage.file(3)
    add(stage.service, "tough", path)
    served_image(stage.service, "tough")
    descendants = stage.service.descendants()
    parent, child = sorted(pid for pid, command in descendants.items() if "workers.start graph fox" in command)
    pid = child if which == "child" else parent
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the process is gone")
    assert_raw(served_image(stage.service, "tough"), [(path, 1.0)])
    wait_until(stage.service.is_ready, "ready again")


def test_only_administrators_may(stage: Stage) -> None:
    path = stage.file(3)
    client = {"Authorization": f"Bearer {CLIENT}"}
    for headers, status in ((client, 403), ({"Authorization": "Bearer wrong"}, 401), ({"Authorization": ""}, 401)):
        body = {"alias": "x", "source": str(path), "model": "fox"}
        refused(stage.service.http.post("/v3/lora_adapters", json=body, headers=headers), status)
        refused(stage.service.http.delete("/v3/lora_adapters/a", headers=headers), status)
    assert "x" not in listed(stage.service)


def test_without_keys_there_are_no_administrators(service: Service) -> None:
    body = {"alias": "x", "source": "/x.safetensors"}
    error = refused(service.http.post("/v3/lora_adapters", json=body), 403)
    assert "--api_key_file" in error["message"]
    refused(service.http.delete("/v3/lora_adapters/x"), 403)


def test_a_file_that_does_not_fit_changes_nothing(stage: Stage) -> None:
    before = listed(stage.service)
    for name, family in (("flux", "flux"), ("sd3", "sd3")):
        error = refused(add(stage.service, "new", write_native(stage.folder / f"{name}.safetensors", family, 1)))
        assert (error["param"], error["code"]) == ("source", "invalid_adapter")
        assert "'transformer.transformer_blocks.0.attn." in error["message"]
    assert listed(stage.service) == before
    refused(ask(stage.service, "new"), 404)
    assert_raw(served_image(stage.service, "fox"))
    assert_raw(served_image(stage.service, "a"), [(stage.folder / "a.safetensors", 1.0)])


def test_what_is_no_adapter_is_refused(stage: Stage) -> None:
    whole = stage.file(3).read_bytes()
    contents = {"garbage": b"no tensors" * 99, "cut": whole[: len(whole) // 2], "empty": b""}
    for name, bytes_ in contents.items():
        path = stage.folder / f"{name}.safetensors"
        path.write_bytes(bytes_)
        error = refused(add(stage.service, "new", path))
        assert (error["param"], error["code"]) == ("source", "invalid_adapter"), name
        assert str(path) in error["message"]
    error = refused(add(stage.service, "new", stage.folder / "away.safetensors"))
    assert error["code"] == "invalid_adapter"


@pytest.mark.parametrize("alias", ["fox", "compiled", "a", "mix", "s", "twice"])
def test_a_name_that_is_taken_is_refused(stage: Stage, alias: str) -> None:
    path = stage.file(3)
    if alias == "twice":
        assert add(stage.service, alias, path).status_code == 201
    error = refused(add(stage.service, alias, path))
    assert error["param"] == "alias"
    assert "already taken" in error["message"]


def test_of_two_at_once_one_gets_the_name(stage: Stage) -> None:
    path = stage.file(3)
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda _: add(stage.service, "wanted", path).status_code, range(4)))
    assert sorted(answers) == [201, 400, 400, 400]


@pytest.mark.parametrize("alias", ["", "a b", "x=/y", "x,y", " x", "../x", "@x"])
def test_an_alias_that_cannot_be_is_refused(stage: Stage, alias: str) -> None:
    before = listed(stage.service)
    assert refused(add(stage.service, alias, stage.file(3)))["param"] == "alias"
    assert listed(stage.service) == before


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("http://example.org/x.safetensors", "https"),
        ("https://127.0.0.1/x.safetensors", "127.0.0.1"),
        ("@a:0.5", "one adapter"),
        ("/x.safetensors,y=/y.safetensors", "one adapter"),
        ("/x.bin", "safetensors"),
        ("s3://bucket/x.safetensors", "presigned"),
        ("https://civitai.com/models/5/ink", "download button"),
        ("https://civitai.com/api/download/models/5?token=hush", "CIVITAI_TOKEN"),
        ("", "missing"),
    ],
)
def test_a_source_that_may_not_be_is_refused(stage: Stage, source: str, says: str) -> None:
    error = refused(add(stage.service, "new", source))
    assert error["param"] == "source"
    assert says in error["message"]


def test_compiled_adapters_take_no_others(stage: Stage) -> None:
    error = refused(add(stage.service, "new", stage.file(3), model="compiled"))
    assert (error["param"], error["message"]) == (
        "model",
        "The adapters of 'compiled' are compiled in; none can be added.",
    )


@pytest.mark.parametrize("model", [None, "unknown"])
def test_of_several_graphs_one_must_be_named(stage: Stage, model: str | None) -> None:
    error = refused(add(stage.service, "new", stage.file(3), model=model))
    assert error["param"] == "model"
    assert "compiled, fox" in error["message"]


def test_an_adapter_of_the_graph_stays(stage: Stage) -> None:
    for alias in ("a", "s"):
        error = refused(remove(stage.service, alias))
        assert (error["param"], "stands in graph.pbtxt" in error["message"]) == ("alias", True)


@contextmanager
def second_worker(stage: Stage) -> Iterator[Path]:
    """One more worker of ``fox`` on the service's own Redis; yields its log."""
    url = prepared_url(stage.folder / "run" / "data")
    assert url
    command = [sys.executable, "-m", "cli", "worker", "--graph", "fox", "--redis_url", url]
    log = stage.folder / "second.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--model_repository_path", str(stage.folder / "models")], stdout=output, stderr=output
        )
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_every_worker_of_the_graph_draws_it(stage: Stage) -> None:
    path = stage.file(3)
    add(stage.service, "spread", path)
    with second_worker(stage) as log, ThreadPoolExecutor(2) as clients:

        def both_have_drawn() -> bool:
            for drawn in clients.map(lambda _: served_image(stage.service, "spread"), range(4)):
                assert_raw(drawn, [(path, 1.0)])
            return "completed in" in log.read_text()

        wait_until(both_have_drawn, "the second worker draws too")
        mine = stage.service.log.read_text().count("completed in")
        wait_until(lambda: both_have_drawn() and stage.service.log.read_text().count("completed in") > mine, "both")


def test_it_is_kept_over_a_restart(tmp_path: Path) -> None:
    own = write_native(tmp_path / "own.safetensors", "sd", 1)
    path = write_kohya(tmp_path / "kept.safetensors", UNET, 3)
    model = tiny(tmp_path / "fox", adapter_entry("a", own))
    with start(tmp_path, "--model_path", str(model)) as service:
        assert add(as_key(service, ADMINISTRATOR), "kept", path, model=None).status_code == 201
        assert add(service, "clash", path).status_code == 201
    tiny(model, adapter_entry("clash", own))
    with start(tmp_path, "--model_path", str(model)) as service:
        as_key(service, ADMINISTRATOR)
        assert listed(service) == {
            "fox": ("base", "fox", {}),
            "clash": ("adapter", "fox", {"clash": 1.0}),
            "kept": ("adapter", "fox", {"kept": 1.0}),
        }
        assert_raw(served_image(service, "kept"), [(path, 1.0)])
        assert_raw(served_image(service, "clash"), [(own, 1.0)])  # graph.pbtxt comes first
        assert_raw(served_image(service, "fox"))


def test_what_no_worker_could_load_is_refused(redis_settings: RedisSettings, tmp_path: Path) -> None:
    """Only mode FUSE takes convolutions with a kernel, and adapters are added as DYNAMIC."""
    path = tmp_path / "locon.safetensors"
    write_kind(path, "sd", KINDS["LoCon, 3x3"])
    repository = RepositorySettings(model_path=write_graph(tmp_path / "sd", MODELS / "sd"))
    settings = Settings(redis=redis_settings, repository=repository, http=HttpSettings(api_key=ADMINISTRATOR))
    with api_serving(settings) as api:
        headers = {"Authorization": f"Bearer {ADMINISTRATOR}"}
        body = {"alias": "new", "source": str(path)}
        error = refused(api.http.post("/v3/lora_adapters", json=body, headers=headers))
    assert error["code"] == "invalid_adapter"
    assert (
        "'mid_block.resnets.0.conv1' is a convolution with a kernel; mode: FUSE in graph.pbtxt takes it"
        in error["message"]
    )


def prepared(redis_settings: RedisSettings, *added: AddedAdapter) -> AdapterSync:
    """A worker's adapters, with these added by the API."""

    async def add_all() -> None:
        registry = AdapterRegistry(redis_settings)
        for adapter in added:
            await registry.add("tiny", adapter)
        await registry.close()

    asyncio.run(add_all())
    graph = make_graph(MODELS / "sd")
    return AdapterSync(SimulatedEngine(0), graph, AddedAdapterReader(redis_settings, "tiny"), DownloadSettings())


def asking_for(alias: str) -> ResolvedRequest:
    facts, selected = read_model_facts(MODELS / "sd"), AdapterSelection(alias=alias, alpha=1.0)
    return make_request(facts, Operation.GENERATION, adapters=(selected,))


def test_a_job_that_waited_too_long_fails_with_the_adapters_name(redis_settings: RedisSettings) -> None:
    with pytest.raises(EngineError, match=r"The adapter 'gone' was removed\.") as refusal:
        prepared(redis_settings).prepare(asking_for("gone"))
    assert refusal.value.code == "adapter_removed"


def test_a_file_that_is_another_one_now_is_not_drawn(redis_settings: RedisSettings, tmp_path: Path) -> None:
    path = write_native(tmp_path / "x.safetensors", "sd", 1)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    adapters = prepared(redis_settings, AddedAdapter("x", str(path), 1.0, str(path), digest))
    write_native(path, "sd", 2)
    with pytest.raises(EngineError, match="'x' has changed since it was added") as changed:
        adapters.prepare(asking_for("x"))
    path.unlink()
    with pytest.raises(EngineError, match=r"The file of adapter 'x' is not on the machine of this worker\.") as gone:
        adapters.prepare(asking_for("x"))
    for refusal in (changed, gone):  # the message is the job's, which an ordinary client reads
        assert str(tmp_path) not in refusal.value.message
