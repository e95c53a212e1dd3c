"""The whole road with the real libraries: a diffusers folder, its export, its server, the stock client's picture."""

import base64
import json
from pathlib import Path

import pytest
from PIL import Image

from cli.export.report import REPORT_FILE
from tests.cli.export.same_picture import difference
from tests.cli.export.torch_support import by_hand, converted, exported, made_source
from tests.support.images import image_bytes
from tests.support.service import serving

pytestmark = [pytest.mark.timeout(1500), pytest.mark.usefixtures("processes", "openvino_runtime")]
SERVED = ("sd", "lcm", "sdxl", "sd3", "flux")
HERE = Path(__file__).parent


@pytest.mark.thorough
def test_from_a_diffusers_folder_to_a_picture_that_means_the_same(data_dir: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "picture.npz"
    source = made_source(data_dir, "sd", tmp_path / "model", "--picture", str(drawn))
    for weights in ("int8", "fp32"):
        made = exported(source, data_dir, tmp_path / weights, "--weight-format", weights)
        assert made.returncode == 0, made.stderr
    report = json.loads((tmp_path / "int8" / REPORT_FILE).read_text())
    assert sorted(report["parts"]) == ["text_encoder", "unet", "vae_decoder", "vae_encoder"]
    assert all(part["cosine"] >= 0.99 and part["weight_format"] == "int8" for part in report["parts"].values())
    assert difference(tmp_path / "fp32", drawn, guidance=5.0) < 1
    with serving(tmp_path / "service", "--model_path", str(tmp_path / "int8")) as service:
        data = service.client().images.generate(prompt="a red circle", extra_body={"size": "128x128"}).data
        assert data is not None and data[0].b64_json is not None
        assert base64.b64decode(data[0].b64_json).startswith(b"\x89PNG")

    again = exported(source, data_dir, tmp_path / "int8")
    assert again.returncode == 2 and "is there already" in again.stderr


@by_hand
@pytest.mark.parametrize(
    ("family", "size", "guidance"),
    [("sd", "128x128", 1.0), ("sdxl", "128x128", 5.0), ("sdxl", "128x96", 5.0), ("sdxl", "64x96", 1.0)],
)
def test_the_picture_is_that_of_diffusers(
    data_dir: Path, tmp_path: Path, family: str, size: str, guidance: float
) -> None:
    drawn = tmp_path / "picture.npz"
    options = ("--picture", str(drawn), "--size", size, "--guidance", str(guidance))
    source = made_source(data_dir, family, tmp_path / "model", *options)
    made = exported(source, data_dir, tmp_path / "ov", "--weight-format", "fp32")
    assert made.returncode == 0, made.stderr
    assert difference(tmp_path / "ov", drawn, guidance=guidance) < 1


@by_hand
@pytest.mark.parametrize("weights", ["fp16", "int8", "int4"])
@pytest.mark.parametrize("family", SERVED)
def test_every_family_that_is_served(data_dir: Path, tmp_path: Path, family: str, weights: str) -> None:
    source = made_source(data_dir, family, tmp_path / "model")
    made = exported(source, data_dir, tmp_path / "ov", "--weight-format", weights, "--group-size", "16")
    assert made.returncode == 0, made.stderr
    with serving(tmp_path / "service", "--model_path", str(tmp_path / "ov")) as service:
        data = service.client().images.generate(prompt="a red circle", extra_body={"size": "128x128"}).data
    assert data is not None and data[0].b64_json is not None


@by_hand
@pytest.mark.parametrize("family", ["sd_inpaint", "flux_fill"])
def test_pipelines_that_only_inpaint(data_dir: Path, tmp_path: Path, family: str) -> None:
    source = made_source(data_dir, family, tmp_path / "model")
    made = exported(source, data_dir, tmp_path / "ov", "--weight-format", "fp16")
    assert made.returncode == 0, made.stderr
    image, mask = (image_bytes(Image.new(mode, (128, 128), "white")) for mode in ("RGB", "L"))
    with serving(tmp_path / "service", "--model_path", str(tmp_path / "ov")) as service:
        data = service.client().images.edit(image=image, mask=mask, prompt="a red circle").data
    assert data is not None and data[0].b64_json is not None


@by_hand
@pytest.mark.parametrize("family", ["flux2_klein", "z_image", "qwen_image"])
def test_families_that_the_runtime_loads_and_this_server_does_not_serve_yet(
    data_dir: Path, tmp_path: Path, family: str
) -> None:
    source = made_source(data_dir, family, tmp_path / "model")
    done = converted(data_dir, source, tmp_path / "ov")
    assert all(part["error"] < 0.01 for part in done["parts"].values())


@by_hand
def test_groups_that_do_not_fit_are_one_sentence(data_dir: Path, tmp_path: Path) -> None:
    source = made_source(data_dir, "sdxl", tmp_path / "model")
    made = exported(source, data_dir, tmp_path / "ov", "--weight-format", "int4")
    assert made.returncode == 2 and not (tmp_path / "ov").exists()
    assert " 32, 80 channels have no whole groups of 64. Give a --group-size that divides them, or" in made.stderr


@by_hand
@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae_decoder"])
def test_weights_that_are_not_the_model_s_are_an_error(data_dir: Path, tmp_path: Path, part: str) -> None:
    source = made_source(data_dir, "sd", tmp_path / "model")
    program = (str(HERE / "convert_with_random_weights.py"), part)
    done = converted(data_dir, source, tmp_path / "ov", program)
    assert done["error"].startswith(f"{part}: the converted part does not compute what PyTorch computes")
    assert not (tmp_path / "ov" / part).exists() and not (tmp_path / "ov" / "model_index.json").exists()
