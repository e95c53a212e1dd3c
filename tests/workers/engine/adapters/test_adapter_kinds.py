"""Adapters of every kind draw, in f32, the image of a model whose weights were changed by hand."""

from pathlib import Path

import pytest

from graphs.definition.graph import LoraAdapter, LoraMode
from graphs.errors import EngineError
from graphs.families.family import Operation
from tests.workers.engine.adapter_support import (
    distance,
    draw_image,
    merge_by_hand,
    raw_image,
)
from tests.workers.engine.engine_support import MODELS, load_engine, make_graph
from tests.workers.engine.lycoris_support import KINDS, write_kind
from workers.engine.openvino_engine import OpenVinoEngine

pytestmark = pytest.mark.usefixtures("openvino_runtime")

FAMILIES = ("sd", "sdxl", "sd3", "flux", "lcm")
CONVOLUTIONAL = ("sd", "sdxl", "lcm")
# Small enough that no image is noise: there a difference of roundings would grow.
STRENGTH = 1.0
# x (W + B A) rounds differently than x W + x B A.
MERGED = 0.01


def engine_with(family: str, **adapters: tuple[Path, LoraMode]) -> OpenVinoEngine:
    entries = tuple(
        LoraAdapter(alias=alias, path=path, mode=mode, alpha=STRENGTH) for alias, (path, mode) in adapters.items()
    )
    return load_engine(make_graph(MODELS / family, lora_adapters=entries))


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name == "sd" else pytest.mark.thorough) for name in FAMILIES]
)
def test_low_rank_kinds_are_applied_by_request(family: str, tmp_path: Path) -> None:
    written = {}
    for number, kind in enumerate(kind for kind in KINDS.values() if not kind.fused):
        path = tmp_path / f"a{number}.safetensors"
        written[f"a{number}"] = (path, *write_kind(path, family, kind, strength=STRENGTH))
    engine = engine_with(family, **{alias: (one[0], LoraMode.DYNAMIC) for alias, one in written.items()})
    base = draw_image(engine, family)

    for alias, (_, layer, change) in written.items():
        (tmp_path / alias).mkdir()
        expected = raw_image(merge_by_hand(family, tmp_path / alias, {layer: change}))
        drawn = draw_image(engine, family, Operation.GENERATION, **{alias: STRENGTH})
        assert distance(drawn, expected) < MERGED, alias
        assert distance(drawn, base) > 5 * MERGED, alias


@pytest.mark.parametrize(
    ("family", "name"),
    [
        pytest.param(family, name, marks=[] if (family, name) == ("sd", "LoCon, 3x3") else pytest.mark.thorough)
        for family in FAMILIES
        for name, kind in KINDS.items()
        if kind.fused and (family in CONVOLUTIONAL or not kind.convolution)
    ],
)
def test_other_kinds_are_merged_by_mode_fuse(family: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    layer, change = write_kind(path, family, KINDS[name], strength=STRENGTH)

    with pytest.raises(EngineError, match=r"The adapter 'a' .*a\.safetensors.*mode: FUSE in graph\.pbtxt takes it"):
        engine_with(family, a=(path, LoraMode.DYNAMIC))
    drawn = draw_image(engine_with(family, a=(path, LoraMode.FUSE)), family)

    (tmp_path / "merged").mkdir()
    expected = raw_image(merge_by_hand(family, tmp_path / "merged", {layer: change}))
    assert distance(drawn, expected) < MERGED
    assert distance(drawn, raw_image(family)) > 5 * MERGED
