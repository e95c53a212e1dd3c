"""What an ordinary client reads of a failed job, with real pipelines: no path of the server."""

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from config.settings import DownloadSettings, RedisSettings
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.requests.request import AdapterSelection
from tests.workers.engine.adapter_support import write_native
from tests.workers.engine.engine_support import MODELS, load_engine, make_graph, make_request
from tests.workers.jobs.jobs_support import claims_of, look, put_in
from workers.jobs.adapter_registry import AdapterRegistry, AddedAdapter, AddedAdapterReader
from workers.jobs.status import Status
from workers.jobs.store import Submission
from workers.process.adapter_sync import AdapterSync
from workers.process.runner import Runner
from workers.process.server_paths import ServerPaths
from workers.process.shared_memory import SharedMemory

GRAPH = "tiny"


def _deleted(adapter: Path, model: Path) -> None:
    adapter.unlink()


def _changed(adapter: Path, model: Path) -> None:
    write_native(adapter, "sd", 2)


def _model_deleted(adapter: Path, model: Path) -> None:
    shutil.rmtree(model / "unet")


def _model_damaged(adapter: Path, model: Path) -> None:
    (model / "unet" / "openvino_model.xml").write_text("<net/>")


def _weights_damaged(adapter: Path, model: Path) -> None:
    (model / "unet" / "openvino_model.bin").write_bytes(b"short")


def _without_tokenizer(adapter: Path, model: Path) -> None:
    shutil.rmtree(model / "tokenizer")


def _broken(adapter: Path, model: Path) -> None:
    """Before it is registered: what a client could upload to a place that an administrator adds."""
    adapter.write_bytes(b"no safetensors")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (None, _deleted, "The file of adapter 'x' is not on the machine of this worker."),
        (None, _changed, "The file of adapter 'x' has changed since it was added."),
        (_broken, None, "The adapter 'x' (x.safetensors) cannot be used: "),
        (None, _model_deleted, "The adapter 'x' (x.safetensors) cannot be used: "),
        (None, _model_damaged, "The adapter 'x' (x.safetensors) cannot be used: "),
        (None, _weights_damaged, "The model in model cannot be loaded on CPU: "),
        (None, _without_tokenizer, "The model in model cannot be loaded: tokenizer/openvino_tokenizer.xml is missing."),
    ],
    ids=["deleted", "changed", "broken", "model deleted", "model damaged", "weights damaged", "without tokenizer"],
)
def test_a_failed_job_names_no_path_of_the_server(
    redis_settings: RedisSettings,
    tmp_path: Path,
    before: Callable[[Path, Path], None] | None,
    after: Callable[[Path, Path], None] | None,
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "with blanks"
    model = folder / "model"
    shutil.copytree(MODELS / "sd", model)
    adapter = folder / "x.safetensors"
    write_native(adapter, "sd", 1)
    if before:
        before(adapter, model)
    graph = make_graph(model)
    engine = load_engine(graph)
    digest = hashlib.sha256(adapter.read_bytes()).hexdigest()
    _register(redis_settings, AddedAdapter("x", str(adapter), 1.0, str(adapter), digest))
    if after:
        after(adapter, model)
    sync = AdapterSync(engine, graph, AddedAdapterReader(redis_settings, GRAPH), DownloadSettings())
    selected = AdapterSelection(alias="x", alpha=1.0)
    request = make_request(read_model_facts(MODELS / "sd"), Operation.GENERATION, adapters=(selected,))
    job, _ = put_in(redis_settings, Submission(request.model_copy(update={"graph": GRAPH})))
    paths = ServerPaths([graph.models_path])
    claims = claims_of(redis_settings)
    Runner(claims, engine, GRAPH, SharedMemory(), time_limit_s=600, adapters=sync, paths=paths).run_next()
    ended = look(redis_settings, job)
    assert ended.status is Status.FAILED
    assert ended.error is not None
    assert ended.error.message.startswith(says), ended.error.message
    for hidden in (str(tmp_path), "with blanks", tmp_path.name, " /", "(/", "'/", '"/'):
        assert hidden not in ended.error.message, ended.error.message
    if says.startswith("The adapter"):
        assert str(adapter) in caplog.text  # the operator reads which file it is
    if says.startswith("The model"):
        assert str(model) in caplog.text


def _register(redis_settings: RedisSettings, adapter: AddedAdapter) -> None:
    async def add() -> None:
        registry = AdapterRegistry(redis_settings)
        await registry.add(GRAPH, adapter)
        await registry.close()

    asyncio.run(add())
