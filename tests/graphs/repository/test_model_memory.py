"""The estimate of what drawing takes, against what was measured."""

import json
from pathlib import Path

import pytest

from graphs.repository.bundled import bundled_model_path
from graphs.repository.model_memory import MemoryNeed, read_memory_need
from graphs.resolution import Resolution

pytestmark = pytest.mark.fast

MIB = 2**20
# The weights of `make big-model`, a model of Stable Diffusion 1.5's size, in bytes of f16.
BIG_MODEL = {
    "text_encoder": 245_878_322,
    "unet": 1_718_892_488,
    "vae_decoder": 98_980_398,
    "vae_encoder": 68_327_330,
}
# (bytes of a number, side) -> MiB of resident memory after one image, `python -m benchmarks.memory`, 2026-11-28.
MEASURED = {
    (2, 256): 4300,
    (2, 512): 5003,
    (2, 768): 6038,
    (2, 1024): 7566,
    (4, 256): 6320,
    (4, 512): 7367,
    (4, 768): 9089,
}
MEASURED_BUNDLED = {512: 283, 768: 362, 1024: 469}


def _model(folder: Path, weights: dict[str, int], kind: str = "f16") -> Path:
    """Write what the estimate reads of a model: the constants of each part, and the decoder's widths."""
    for part, size_bytes in weights.items():
        (folder / part).mkdir()
        constant = f'<data element_type="{kind}" shape="1" offset="0" size="{size_bytes}"/>'
        parameter = '<data shape="?,4,?,?" element_type="f32" />'
        (folder / part / "openvino_model.xml").write_text(f"<net><layers>{parameter}{constant}</layers></net>")
    widths = {"block_out_channels": [128, 256, 512, 512]}
    (folder / "vae_decoder" / "config.json").write_text(json.dumps(widths))
    return folder


@pytest.mark.parametrize(("compute_bytes", "side"), MEASURED)
def test_it_is_within_30_percent_for_a_model_of_sd_15s_size(tmp_path: Path, compute_bytes: int, side: int) -> None:
    estimate = read_memory_need(_model(tmp_path, BIG_MODEL), compute_bytes).bytes_for(side, side)
    assert estimate / MIB == pytest.approx(MEASURED[compute_bytes, side], rel=0.3)


@pytest.mark.parametrize("side", MEASURED_BUNDLED)
def test_it_is_within_30_percent_for_the_bundled_model(side: int) -> None:
    estimate = read_memory_need(bundled_model_path(), compute_bytes=2).bytes_for(side, side)
    assert estimate / MIB == pytest.approx(MEASURED_BUNDLED[side], rel=0.3)


def test_weights_in_whole_numbers_stay_as_they_are(tmp_path: Path) -> None:
    for name in ("float", "whole"):
        (tmp_path / name).mkdir()
    float_need = read_memory_need(_model(tmp_path / "float", BIG_MODEL), compute_bytes=4)
    whole_need = read_memory_need(_model(tmp_path / "whole", BIG_MODEL, "i8"), compute_bytes=4)
    assert float_need.fixed_bytes - whole_need.fixed_bytes == sum(BIG_MODEL.values())


@pytest.mark.parametrize("text", [None, "no JSON", "[]", '{"block_out_channels": "128"}', '{"block_out_channels": []}'])
def test_a_model_without_widths_has_the_usual_ones(tmp_path: Path, text: str | None) -> None:
    model = _model(tmp_path, BIG_MODEL)
    expected = read_memory_need(model, compute_bytes=2)
    config = model / "vae_decoder" / "config.json"
    config.unlink()
    if text is not None:
        config.write_text(text)
    assert read_memory_need(model, compute_bytes=2) == expected


def test_the_largest_size_has_the_same_shape_and_fits() -> None:
    need = MemoryNeed(fixed_bytes=1000 * MIB, pixel_bytes=1024)
    limit = 1300 * MIB
    found = need.largest_within(limit, Resolution(4096, 2048), multiple=64)
    assert found == Resolution(768, 384)
    assert need.bytes_for(768, 384) <= limit < need.bytes_for(896, 448)
    assert need.largest_within(1001 * MIB, Resolution(4096, 2048), multiple=64) is None
    assert need.largest_within(999 * MIB, Resolution(512, 512), multiple=8) is None


def test_more_images_of_a_request_take_their_pixels_more() -> None:
    need = MemoryNeed(fixed_bytes=0, pixel_bytes=0)
    assert need.bytes_for(100, 10, images=4) == 4 * need.bytes_for(100, 10)
