"""The rules of a graph for the device that a worker chooses."""

from pathlib import Path

import pytest

from graphs.definition.graph import Graph, LoraAdapter, LoraMode
from graphs.errors import GraphError
from graphs.repository.configuration import check_worker_device
from graphs.resolution import Resolution

ONE = (Resolution(64, 64),)


def _graph(folder: Path, **options: object) -> Graph:
    return Graph.model_validate({"name": "tiny", "models_path": folder, **options})


def test_a_graph_without_one_resolution_does_not_go_on_the_npu(tmp_path: Path) -> None:
    for device in ("NPU", "CPU GPU NPU"):
        with pytest.raises(GraphError, match=rf"'tiny' cannot be served on '{device}'.*The NPU needs exactly one"):
            check_worker_device(_graph(tmp_path), device)
        check_worker_device(_graph(tmp_path, resolution=ONE, default_resolution=ONE[0]), device)


def test_a_graph_with_dynamic_adapters_does_not_go_on_the_npu(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.touch()
    for mode in (LoraMode.DYNAMIC, LoraMode.STATIC):
        adapters = (LoraAdapter(alias="a", path=path, mode=mode),)
        graph = _graph(tmp_path, resolution=ONE, default_resolution=ONE[0], lora_adapters=adapters)
        check_worker_device(graph, "GPU.1")
        if mode is LoraMode.STATIC:
            check_worker_device(graph, "NPU")
            continue
        with pytest.raises(GraphError, match="The NPU cannot switch adapters between requests"):
            check_worker_device(graph, "NPU")


@pytest.mark.parametrize(("device", "says"), [("CPU GPU", "names 2 devices"), ("cpu", "is not a device name")])
def test_what_is_no_device_is_refused(tmp_path: Path, device: str, says: str) -> None:
    with pytest.raises(GraphError, match=says):
        check_worker_device(_graph(tmp_path), device)
