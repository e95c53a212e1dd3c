"""Equal requests draw equal images after any other request, and with any bytes left in freed memory.

``python -m benchmarks.equality`` prints the whole table, with and without the cure.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from graphs.errors import EngineError
from graphs.families.family import Operation
from graphs.requests.request import AdapterSelection
from graphs.resolution import Resolution
from tests.support.own_process import run_in_own_process
from tests.workers.engine.adapter_support import write_kohya
from tests.workers.engine.engine_support import SIDE, draw
from tests.workers.engine.equality_support import (
    COUNTS,
    FAMILIES,
    MODES,
    PRECISIONS,
    Asked,
    Bench,
    count_differing,
)
from workers.engine.protocol import DrawingFailed, GenerationCancelled

pytestmark = pytest.mark.usefixtures("openvino_runtime", "processes")

# What is left out is in the table of ``python -m benchmarks.equality``: bf16 with adapters that are compiled in, and
# one and four images a request but for DYNAMIC in f32.
CELLS = [
    (family, mode, precision)
    for family in FAMILIES
    for mode in MODES
    for precision in PRECISIONS
    if precision == "f32" or "DYNAMIC" in mode
]
OTHER_LAYERS = {"mid_block.attentions.0.transformer_blocks.0.attn2.to_q": (32, 32)}


def test_equal_requests(tmp_path: Path) -> None:
    """SDXL with two images a request is the case that failed."""
    bench = Bench("sdxl", "DYNAMIC", "f32", tmp_path)
    one, other = bench.requests(2)[:2]

    assert bench.differing([one, one, one, other, other, one, other]) == []


def test_the_comparison_finds_what_the_cure_prevents(tmp_path: Path) -> None:
    run_in_own_process(draw_without_the_cure, tmp_path)


def draw_without_the_cure(tmp_path: Path) -> None:
    bench = Bench("sdxl", "DYNAMIC", "f32", tmp_path)
    one = bench.requests(2)[0]
    bench.restart(ranks_change=False)
    try:
        assert bench.differing([one] * 5)
    except DrawingFailed as error:  # the wrong memory held what is no number
        assert "not a number" in error.message


@pytest.mark.thorough
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("family", "mode", "precision"), CELLS)
def test_every_family_mode_and_precision(family: str, mode: str, precision: str, tmp_path: Path) -> None:
    bench = Bench(family, mode, precision, tmp_path)
    counts = COUNTS if (mode, precision) == ("DYNAMIC", "f32") else (2,)
    assert {count: count_differing(bench, count) for count in counts} == dict.fromkeys(counts, (0, 0))


@pytest.mark.thorough
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("family", ["sd", "sdxl", "lcm", "sd3"])
def test_a_graph_of_one_size_and_batch(family: str, count: int, tmp_path: Path) -> None:
    """A batch is drawn by one call, whose prompts are repeated in a tensor of their own."""
    options = {"resolution": (Resolution(SIDE, SIDE),), "num_images_per_prompt": count}
    bench = Bench(family, "DYNAMIC", "f32", tmp_path, encoders=False, **options)
    assert count_differing(bench, count) == (0, 0)


@pytest.mark.thorough
@pytest.mark.parametrize("family", ["sd", "lcm", "sdxl", "sd3", "flux"])
def test_operations_sizes_and_guidance_in_any_order(family: str, tmp_path: Path) -> None:
    bench = Bench(family, "DYNAMIC", "f32", tmp_path)
    a, both = (("a", 1.0),), (("a", 0.3), ("b", 0.7))
    asked = [
        Asked(blend=a),
        Asked(blend=a, operation=Operation.EDIT, steps=2),
        Asked(blend=a, operation=Operation.INPAINTING, steps=2),
        Asked(blend=a, guidance_scale=1.0),
        Asked(blend=a, size=(80, 112)),
        Asked(blend=both, operation=Operation.EDIT, steps=2, count=2),
        Asked(guidance_scale=1.0),
    ]
    assert bench.differing(_each_pair(asked)) == []


@pytest.mark.thorough
@pytest.mark.timeout(400)  # it loads the pipelines about twenty times
@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_guidance_and_adapters_in_any_order(scale: float, tmp_path: Path) -> None:
    """SD3 keeps a number of prompts; with an adapter, one and two do not add up in the same order."""
    bench = Bench("sd3", "DYNAMIC", "f32", tmp_path, guidance_scale=scale)
    asked = [Asked(blend=blend, guidance_scale=guided) for blend in ((("a", 1.0),), ()) for guided in (1.0, 5.0)]
    assert bench.differing(_each_pair(asked)) == []


@pytest.mark.thorough
@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_after_calls_that_end_early(family: str, tmp_path: Path) -> None:
    """One that was cancelled, one that the runtime refused, and one for an adapter that is not there."""
    bench = Bench(family, "DYNAMIC", "f32", tmp_path)
    known = [Asked(blend=(("a", 1.0),)), Asked(blend=(("a", 1.0),), count=2)]
    wrong = {"width": 60}, {"adapters": (AdapterSelection(alias="gone", alpha=1.0),)}
    for _ in range(4):
        with pytest.raises(GenerationCancelled):
            draw(bench.engine, bench.resolved(known[0]), lambda _step: True)
        assert bench.differing(known) == []
        for changes in wrong:
            with pytest.raises(EngineError):
                draw(bench.engine, bench.resolved(known[0]).model_copy(update=changes))
            assert bench.differing(known) == []


@pytest.mark.thorough
@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_while_an_adapter_comes_and_goes(family: str, tmp_path: Path) -> None:
    bench = Bench(family, "DYNAMIC", "f32", tmp_path)
    known = [Asked(blend=(("a", 1.0),)), Asked(blend=(("b", 0.5),), count=2)]
    path = write_kohya(tmp_path / "new.safetensors", OTHER_LAYERS, 5)
    for _ in range(3):
        bench.engine.add_adapter("new", path)
        draw(bench.engine, bench.resolved(Asked(blend=(("new", 1.0), ("a", 1.0)))))
        assert bench.differing(known * 2) == []
        bench.engine.remove_adapter("new")
        assert bench.differing(known * 2) == []


def _each_pair(asked: Sequence[Asked]) -> list[Asked]:
    """Return an order in which each one directly follows each other one, and itself."""
    return [one for first in asked for second in asked for one in (first, second)]
