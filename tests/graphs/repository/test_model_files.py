import json
import shutil
from pathlib import Path

import pytest

from graphs.definition.reader import graph_with_defaults
from graphs.errors import RepositoryError
from graphs.repository.bundled import bundled_model_path
from graphs.repository.model_files import check_loadable
from tests.graphs.definition.graph_files import MODELS


@pytest.mark.parametrize("name", ["sd", "lcm", "sdxl", "sd3", "flux"])
def test_a_complete_model_of_every_family_is_loadable(name: str) -> None:
    check_loadable(graph_with_defaults(MODELS / name, name))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundled_model_path(), tmp_path / "m"))


@pytest.mark.parametrize(
    "file",
    [
        "unet/openvino_model.bin",
        "unet/openvino_model.xml",
        "vae_decoder/openvino_model.bin",
        "text_encoder/openvino_model.xml",
        "tokenizer/openvino_tokenizer.xml",
    ],
)
def test_a_file_that_a_worker_needs_is_missed(model: Path, file: str) -> None:
    (model / file).unlink()
    with pytest.raises(RepositoryError) as refusal:
        check_loadable(graph_with_defaults(model, "m"))
    assert refusal.value.message == f"{model / file}: There is no such file. Is the model complete?"


def test_a_model_that_cannot_edit_is_loadable(model: Path) -> None:
    shutil.rmtree(model / "vae_encoder")
    check_loadable(graph_with_defaults(model, "m"))


def test_a_scheduler_that_the_runtime_does_not_have_is_refused(model: Path) -> None:
    path = model / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": "UniPCMultistepScheduler"}))
    with pytest.raises(RepositoryError, match=r"'UniPCMultistepScheduler', a scheduler that OpenVINO GenAI does not"):
        check_loadable(graph_with_defaults(model, "m"))
