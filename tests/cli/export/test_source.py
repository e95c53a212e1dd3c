"""What cannot be exported or served is refused before anything is converted."""

from pathlib import Path

import pytest

from cli.errors import UserError
from cli.export.source import read_source
from tests.cli.export.export_support import write_safetensors, write_source


def test_the_parameters_of_each_part_are_counted(tmp_path: Path) -> None:
    folder = write_source(tmp_path / "model")
    write_safetensors(folder / "unet" / "diffusion_pytorch_model.fp16.safetensors", {"conv_in.weight": [8, 4, 3, 3]})
    write_safetensors(folder / "safety_checker" / "model.safetensors", {"one": [1]})
    found = read_source(folder)
    assert found.class_name == "StableDiffusionPipeline"
    assert found.parameters == {"unet": 288, "vae": 288, "text_encoder": 288}
    assert (found.total, found.largest) == (864, 288)


def test_a_folder_without_an_index_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no model_index.json; give a folder in diffusers form"):
        read_source(tmp_path)


def test_a_folder_that_is_not_there_may_be_a_name_at_hugging_face(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder .*/org/name; .* a model at Hugging Face as org/name"):
        read_source(tmp_path / "org" / "name")


def test_a_model_in_openvino_form_is_served_as_it_is(tmp_path: Path) -> None:
    folder = write_source(tmp_path / "model")
    (folder / "unet" / "openvino_model.xml").write_text("<net/>")
    with pytest.raises(UserError, match="is in OpenVINO form already: `imagegen serve --model_path"):
        read_source(folder)


@pytest.mark.parametrize(
    ("class_name", "scheduler", "sentence"),
    [
        ("KandinskyPipeline", None, "'KandinskyPipeline', which is no image pipeline that this server knows"),
        (
            "StableDiffusionPipeline",
            {"_class_name": "UniPCMultistepScheduler"},
            "'UniPCMultistepScheduler', a scheduler that OpenVINO GenAI does not have",
        ),
        ("StableDiffusionPipeline", {"_class_name": "DDIMScheduler", "clip_sample": True}, "clip_sample"),
    ],
)
def test_what_cannot_be_served_is_not_exported(
    tmp_path: Path, class_name: str, scheduler: object, sentence: str
) -> None:
    folder = write_source(tmp_path / "model", class_name, scheduler)
    with pytest.raises(UserError) as refused:
        read_source(folder)
    assert "cannot be served, so it is not exported" in str(refused.value) and sentence in str(refused.value)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = write_source(tmp_path / "model")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match=r"pickled weights \(.bin\), which may run code"):
        read_source(folder)


@pytest.mark.parametrize("broken", ["cut off", "no weights"])
def test_weights_that_cannot_be_read(tmp_path: Path, broken: str) -> None:
    folder = write_source(tmp_path / "model")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if broken == "cut off":
        file.write_bytes(file.read_bytes()[:-3])
    else:
        file.unlink()
    with pytest.raises(UserError, match=r"cut off|has no weights of a unet or transformer"):
        read_source(folder)
