"""The digest of a model: what tells two models of one name apart, and what does not."""

import shutil
from pathlib import Path

import pytest

from graphs.repository.bundled import load_served
from graphs.repository.served_facts import served_digest
from tests.graphs.definition.graph_files import MODELS, graph_text

_GRAPH = 'models_path: "./" device: "GPU" default_num_inference_steps: 5'


def _digest(root: Path, graph: str = _GRAPH, options: str = "", weights: bytes | None = b"12345678") -> str:
    """Return the digest of a model, in a folder of this name, with these files."""
    folder = root / "model"
    if not folder.exists():
        shutil.copytree(MODELS / "sd", folder)
    (folder / "graph.pbtxt").write_text(graph_text(graph))
    (folder / "imagegen.toml").write_text(options)
    (folder / "unet").mkdir(exist_ok=True)
    if weights is None:
        (folder / "unet" / "openvino_model.bin").unlink(missing_ok=True)
    else:
        (folder / "unet" / "openvino_model.bin").write_bytes(weights)
    return served_digest(load_served(model_path=folder, model_name="model"), "model")


def test_folders_devices_comments_and_order_do_not_count(tmp_path: Path) -> None:
    here = _digest(tmp_path / "here")
    assert len(here) == 16
    there = tmp_path / "there"
    assert _digest(there, 'default_num_inference_steps: 5  # few\n models_path: "./" device: "CPU"') == here
    assert _digest(there, options='default_size_fit = "exact"  # the default') == here
    (there / "model" / "README.md").write_text("changed")
    (there / "model" / "cache").mkdir()
    (there / "model" / "cache" / "blob.bin").write_bytes(b"of another machine")
    assert _digest(there) == here


@pytest.mark.parametrize(
    "changed",
    [
        {"graph": _GRAPH.replace("5", "6")},
        {"options": "default_guidance_scale = 3"},
        {"weights": b"123456789"},
    ],
    ids=["graph.pbtxt", "imagegen.toml", "the size of a file"],
)
def test_what_counts(tmp_path: Path, changed: dict[str, str | bytes]) -> None:
    before = _digest(tmp_path)
    assert _digest(tmp_path, **changed) not in ("", before)  # type: ignore[arg-type]
    assert _digest(tmp_path) == before


def test_without_the_weights_it_is_not_known(tmp_path: Path) -> None:
    assert _digest(tmp_path, weights=None) == ""
