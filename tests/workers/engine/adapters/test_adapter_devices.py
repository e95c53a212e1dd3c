"""Adapters on three devices and in graphs of one size: applied as on one device, or refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphs.definition.graph import LoraMode
from graphs.errors import EngineError
from graphs.resolution import Resolution
from tests.workers.engine.equality_support import MODES, Asked, Bench

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("openvino_runtime")]

SPLIT = ("CPU", "CPU", "CPU")


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
def test_three_devices_draw_what_one_draws(family: str, mode: str, tmp_path: Path) -> None:
    """SDXL without a part for its text encoders, which is refused there."""
    one = Bench(family, mode, "f32", tmp_path, encoders=family != "sdxl")
    three = Bench(family, mode, "f32", tmp_path, encoders=family != "sdxl", device=SPLIT)

    for asked in one.requests(1):
        np.testing.assert_array_equal(three.images(three.engine, asked), one.images(one.engine, asked))


@pytest.mark.parametrize("options", [{"device": SPLIT}, {"resolution": (Resolution(64, 64),)}])
@pytest.mark.parametrize("mode", list(MODES))
def test_text_encoders_of_sdxl_are_refused_by_name(mode: str, options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"The adapter 'a' \(.*a\.safetensors\) cannot be used: .*text encoders"):
        Bench("sdxl", mode, "f32", tmp_path, **options)


@pytest.mark.parametrize("mode", ["DYNAMIC", "STATIC"])
def test_a_graph_of_one_size_applies_the_strength(mode: str, tmp_path: Path) -> None:
    """As a graph for the NPU, which takes STATIC adapters and one size."""
    bench = Bench("sd", mode, "f32", tmp_path, encoders=False, resolution=(Resolution(64, 64),))
    plain = Bench("sd", mode, "f32", tmp_path, encoders=False)
    asked = Asked(blend=(("a", 0.5), ("b", 0.5)))

    drawn, expected = bench.images(bench.engine, asked), plain.images(plain.engine, asked)
    # With fixed shapes, some numbers are rounded the other way.
    np.testing.assert_allclose(drawn.astype(int), expected.astype(int), atol=1)
    assert MODES[mode][0] in (LoraMode.DYNAMIC, LoraMode.STATIC)
