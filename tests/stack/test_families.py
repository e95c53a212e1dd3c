"""All five families from one repository: each draws, edits and inpaints from its one shared set."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support.images import image_bytes, pixels
from tests.support.service import Service, serving, write_graph

MODELS = Path(__file__).parents[1] / "models"
FAMILIES = ("sd", "lcm", "sdxl", "sd3", "flux")
SMALL = {"size": "64x64", "num_inference_steps": "2", "seed": "1"}


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("families")
    for name in FAMILIES:
        write_graph(folder / "models" / "tiny" / name, MODELS / name)
    with serving(folder, "--model_repository_path", str(folder / "models")) as running:
        yield running


def _edit(service: Service, model: str, **files: bytes) -> list[bytes]:
    fields = {"prompt": "a star", "model": model, "strength": "0.9", "n": "2", **SMALL}
    answer = service.http.post("/v3/images/edits", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(item["b64_json"]) for item in answer.json()["data"]]


def test_a_folder_of_folders_is_served_under_its_paths(families: Service) -> None:
    listed = [model.id for model in families.client().models.list().data]
    assert listed == sorted(f"tiny/{name}" for name in FAMILIES)
    assert families.client().models.retrieve("tiny/sd").id == "tiny/sd"


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_generates_edits_and_inpaints(families: Service, family: str) -> None:
    model = f"tiny/{family}"
    body = {"prompt": "a star", "model": model, "size": "64x64", "num_inference_steps": 2, "n": 2}
    answer = families.http.post("/v3/images/generations", json=body)
    assert answer.status_code == 200 and len(answer.json()["data"]) == 2, answer.text
    image, mask = Image.new("RGB", (64, 64), "green"), Image.new("L", (64, 64), 255)
    edited = _edit(families, model, image=image_bytes(image))
    inpainted = _edit(families, model, image=image_bytes(image), mask=image_bytes(mask))
    assert len(edited) == len(inpainted) == 2
    assert all(pixels(image).shape == (64, 64, 3) for image in edited + inpainted)


@pytest.mark.parametrize(
    ("family", "fields", "param"),
    [
        ("flux", {"size": "72x64"}, "size"),
        ("sd3", {"size": "72x64"}, "size"),
        ("flux", {"max_sequence_length": 64}, "max_sequence_length"),
        ("sd3", {"guidance_scale": 1.0, "negative_prompt": "x"}, "negative_prompt"),
        ("lcm", {"negative_prompt": "x"}, "negative_prompt"),
        ("flux", {"negative_prompt": "x"}, "negative_prompt"),
        ("sdxl", {"prompt_3": "x"}, "prompt_3"),
    ],
)
def test_what_a_family_cannot_do_is_refused(
    families: Service, family: str, fields: dict[str, object], param: str
) -> None:
    body = {"prompt": "a star", "model": f"tiny/{family}", **fields}
    answer = families.http.post("/v3/images/generations", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_without_a_model_the_choice_is_asked_for(families: Service) -> None:
    answer = families.http.post("/v3/images/generations", json={"prompt": "a star"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
    assert "tiny/flux" in answer.json()["error"]["message"]


def test_sd3_takes_guidance_in_any_order(families: Service) -> None:
    def draw(guidance_scale: float) -> object:
        body = {"prompt": "a star", "model": "tiny/sd3", "seed": 1, "guidance_scale": guidance_scale}
        answer = families.http.post("/v3/images/generations", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"][0]["b64_json"]

    first, guided, again = draw(1.0), draw(7.0), draw(1.0)

    assert first == again != guided
