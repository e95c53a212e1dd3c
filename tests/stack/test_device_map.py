"""Graphs of devices that are not here, on devices that stand in for them: what is drawn is what GenAI draws (f32)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino_genai
import pytest

from config.settings import RedisSettings
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from tests.stack.adapter_service import adapter_entry, ask, served_image, tiny
from tests.stack.worker_support import Process
from tests.support.polling import wait_until
from tests.support.service import Service, serving
from tests.workers.engine.adapter_support import UNET, write_kohya
from tests.workers.engine.engine_support import CLASSES, F32, MODELS, OPERATIONS_BY_TIER, SIDE, draw_raw, make_request

GUIDANCE = 5.0
ONE_SIZE = f'resolution: "{SIDE}x{SIDE}" guidance_scale: {GUIDANCE}'
MAP_TEXT = "GPU=CPU,NPU=CPU"
MAP = {"IMAGEGEN_WORKER__DEVICE_MAP": MAP_TEXT}


def _on(device: str, folder: Path, more: str = "") -> Path:
    """A servable of the tiny SD model on a device."""
    path = tiny(folder, more) / "graph.pbtxt"
    path.write_text(path.read_text().replace('device: "CPU"', f'device: "{device}"'))
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kohya(tmp_path_factory.mktemp("adapter") / "a.safetensors", UNET, 1)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, adapter: Path) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("mapped")
    models = folder / "models"
    _on("NPU", models / "npu", ONE_SIZE)
    _on("NPU", models / "npu-static", ONE_SIZE + "\n" + adapter_entry("fox", adapter).replace("mode: DYNAMIC", ""))
    _on("CPU GPU NPU", models / "three", ONE_SIZE)
    _on("CPU GPU.1 GPU.0", models / "open")
    with serving(folder / "run", "--model_repository_path", str(models), environment=MAP) as running:
        yield running


def _raw(
    operation: Operation, *devices: str, is_static: bool = True, adapter: Path | None = None
) -> npt.NDArray[np.uint8]:
    """What GenAI itself draws when its parts are compiled for these devices."""
    properties: dict[str, Any] = dict(F32)
    if adapter is not None:
        config = openvino_genai.AdapterConfig(openvino_genai.AdapterConfig.Mode.MODE_STATIC)
        config.add(openvino_genai.Adapter(str(adapter)), 1.0)
        properties["adapters"] = config
    pipeline = CLASSES[operation](str(MODELS / "sd"))
    changes = {"guidance_scale": GUIDANCE} if is_static else {}
    if is_static:
        pipeline.reshape(1, SIDE, SIDE, GUIDANCE)
    pipeline.compile(*devices, **properties)
    return draw_raw(pipeline, make_request(read_model_facts(MODELS / "sd"), operation, **changes))[0]


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
def test_an_npu_graph_draws_what_genai_draws(service: Service, operation: Operation) -> None:
    np.testing.assert_array_equal(served_image(service, "npu", operation), _raw(operation, "CPU"))


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
@pytest.mark.parametrize("model", ["three", "open"])
def test_a_three_way_graph_draws_what_genai_draws(service: Service, model: str, operation: Operation) -> None:
    expected = _raw(operation, "CPU", "CPU", "CPU", is_static=model == "three")
    np.testing.assert_array_equal(served_image(service, model, operation), expected)


def test_an_adapter_on_the_npu_is_static(service: Service, adapter: Path) -> None:
    drawn = served_image(service, "fox")
    np.testing.assert_array_equal(drawn, _raw(Operation.GENERATION, "CPU", adapter=adapter))
    assert (drawn != served_image(service, "npu")).any()
    error = ask(service, "fox", lora_alphas={"fox": 0.5}).json()["error"]
    assert error["message"] == "The strength of 'fox' is compiled in (STATIC) and cannot be changed."


def test_the_rules_of_the_npu_hold(service: Service) -> None:
    answer = ask(service, "npu", size=f"96x{SIDE}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "size")


def test_the_map_is_shown(service: Service) -> None:
    metrics = service.http.get("/metrics").text
    shown = 'imagegen_workers_ready{device="CPU GPU NPU (mapped to CPU CPU CPU)",graph="three"} 1.0'
    assert shown in metrics
    assert "IMAGEGEN_WORKER__DEVICE_MAP is set (GPU=CPU,NPU=CPU): for tests and demos only" in service.log.read_text()


def test_a_pool_of_two_devices(redis_settings: RedisSettings, tmp_path: Path) -> None:
    model = _on("GPU.0", tmp_path / "pool")
    url = redis_settings.url or ""
    with serving(tmp_path / "run", "--model_path", str(model), environment={"REDIS_URL": url, **MAP}) as running:
        command = ("worker", "--model_path", str(model), "--graph", "pool", "--device", "GPU.1")
        other = Process(*command, log=tmp_path / "other.log", REDIS_URL=url, IMAGEGEN_WORKER__DEVICE_MAP=MAP_TEXT)
        try:
            both = {f'imagegen_workers_ready{{device="GPU.{n} (mapped to CPU)",graph="pool"}} 1.0' for n in range(2)}
            wait_until(
                lambda: both <= set(running.http.get("/metrics").text.splitlines()), "a ready worker on each device"
            )
            expected = _raw(Operation.GENERATION, "CPU", is_static=False)
            for _ in range(4):
                np.testing.assert_array_equal(served_image(running, "pool"), expected)
        finally:
            other.kill()


def test_a_worker_for_a_device_that_does_not_go_with_its_graph(redis_settings: RedisSettings, tmp_path: Path) -> None:
    model = tiny(tmp_path / "wide")
    command = ("worker", "--model_path", str(model), "--graph", "wide", "--device", "NPU")
    worker = Process(*command, log=tmp_path / "worker.log", REDIS_URL=redis_settings.url or "")
    assert worker.code() == 2
    said = " ".join(worker.log.read_text().split())
    assert "'wide' cannot be served on 'NPU'. device: The NPU needs exactly one resolution, and 0 are listed" in said
