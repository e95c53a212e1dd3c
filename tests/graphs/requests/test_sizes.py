from typing import Any

import pytest

from graphs.errors import InvalidRequest
from graphs.families.family import Family, Operation
from graphs.families.flux import FLUX
from graphs.families.sd import SD
from graphs.families.sd3 import SD3
from graphs.families.sdxl import SDXL
from graphs.resolution import Resolution
from tests.graphs.facts_support import facts_of, resolved, route_of

R = Resolution


def _size(
    family: Family = SD, image: Resolution | None = None, graph: dict[str, Any] | None = None, **side: Any
) -> str:
    operation = Operation.GENERATION if image is None else Operation.EDIT
    return resolved(operation, facts=facts_of(family), route=route_of(**(graph or {})), image_size=image, **side).size


def _refusal(family: Family = SD, **more: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refusal:
        _size(family, **more)
    return refusal.value


@pytest.mark.parametrize(("width", "height"), [(8, 8), (512, 512), (1024, 8), (4096, 4096)])
def test_a_size_is_drawn_as_requested(width: int, height: int) -> None:
    assert _size(width=width, height=height) == f"{width}x{height}"


def test_without_a_size_the_models_own_is_drawn() -> None:
    assert _size() == "512x512"


def test_a_side_that_is_not_given_is_the_defaults() -> None:
    assert _size(width=256) == "256x512"
    assert _size(height=256) == "512x256"


def test_the_graphs_default_comes_before_the_image_and_the_model() -> None:
    graph = {"default_resolution": R(640, 384)}
    assert _size(graph=graph) == "640x384"
    assert _size(graph=graph, image=R(128, 128)) == "640x384"
    assert _size(graph=graph, width=64, height=64) == "64x64"


@pytest.mark.parametrize(
    ("family", "image", "drawn"),
    [
        (SD, R(256, 320), "256x320"),
        (SD, R(90, 100), "88x96"),
        (SD, R(1, 1), "8x8"),
        (SD, R(100, 3), "96x8"),
        (SD, R(95, 101), "96x104"),
        (FLUX, R(100, 200), "96x192"),
        (FLUX, R(1, 25), "16x32"),
    ],
)
def test_an_edit_has_the_images_size_as_near_as_the_model_can(family: Family, image: Resolution, drawn: str) -> None:
    assert _size(family, image) == drawn


@pytest.mark.parametrize(
    ("family", "image", "graph", "drawn"),
    [
        pytest.param(SD, R(4032, 3024), {}, "592x440", id="a phone's photograph, on its side"),
        pytest.param(SD, R(3024, 4032), {}, "440x592", id="upright"),
        pytest.param(FLUX, R(4032, 3024), {}, "592x448", id="sides of 16"),
        pytest.param(SD, R(513, 512), {}, "512x512", id="just above the area"),
        pytest.param(SD, R(4000, 40), {}, "4000x40", id="a long one of the same area"),
        pytest.param(SD, R(6000, 20), {}, "4096x16", id="the default limit"),
        pytest.param(SD, R(400, 300), {"max_resolution": R(200, 200)}, "200x152", id="the graph's limit"),
        pytest.param(SD, R(300, 300), {"max_resolution": R(203, 203)}, "200x200", id="a limit that is no multiple"),
        pytest.param(SD, R(10**7, 1), {}, "4096x8", id="a line"),
        pytest.param(SD, R(4032, 3024), {"default_resolution": R(256, 256)}, "256x256", id="the graph's default"),
        pytest.param(SD, R(4032, 3024), {"resolution": (R(64, 64), R(96, 96))}, "64x64", id="a list"),
    ],
)
def test_a_large_image_is_drawn_within_the_models_area_in_its_shape(
    family: Family, image: Resolution, graph: dict[str, Any], drawn: str
) -> None:
    assert _size(family, image, graph=graph) == drawn


@pytest.mark.parametrize("side", ["width", "height"])
@pytest.mark.parametrize("value", [0, -8, -(10**30)])
def test_a_side_below_one_is_refused(side: str, value: int) -> None:
    sides: dict[str, Any] = {side: value}
    refusal = _refusal(**sides)
    assert refusal.param == side
    assert "at least 1" in refusal.message


@pytest.mark.parametrize(
    ("family", "width", "height", "nearest"),
    [
        (SD, 100, 100, "96x96"),
        (SD, 7, 512, "8x512"),
        (SD, 512, 509, "512x512"),
        (SD, 1, 1, "8x8"),
        (SDXL, 1023, 1024, "1024x1024"),
        (SD3, 520, 521, "512x528"),
        (FLUX, 512, 504, "512x496"),
    ],
)
def test_a_size_that_the_model_cannot_draw_is_refused_with_the_nearest(
    family: Family, width: int, height: int, nearest: str
) -> None:
    refusal = _refusal(family, width=width, height=height)
    multiple = facts_of(family).family.size_multiple
    assert (refusal.param, refusal.code) == ("width" if width % multiple else "height", "invalid_size")
    assert f"{width}x{height}" in refusal.message
    assert f"the nearest is {nearest}." in refusal.message


def test_the_nearest_size_can_itself_be_drawn() -> None:
    for side in range(1, 70):
        if side % 16:
            nearest = _refusal(FLUX, width=side, height=side).message.split()[-1].rstrip(".")
            found = R.parse(nearest)
            assert _size(FLUX, width=found.width, height=found.height) == nearest
            assert abs(found.width - side) <= 8 or found.width == 16


@pytest.mark.parametrize("value", [10**30, 10**40])
def test_a_size_that_no_image_has_is_refused(value: int) -> None:
    assert _refusal(width=value, height=8).param == "width"


@pytest.mark.parametrize(
    ("width", "height", "param"), [(1032, 512, "width"), (512, 520, "height"), (2048, 2048, "width")]
)
def test_a_size_over_the_graphs_limit_is_refused(width: int, height: int, param: str) -> None:
    refusal = _refusal(graph={"max_resolution": R(1024, 512)}, width=width, height=height)
    assert (refusal.param, refusal.code) == (param, "invalid_size")
    assert refusal.message.startswith(
        f"The size is {width}x{height}, but this model draws at most 1024x512; size_fit: nearest"
    )


def test_the_limit_itself_is_drawn() -> None:
    assert _size(graph={"max_resolution": R(1024, 512)}, width=1024, height=512) == "1024x512"


def test_the_models_own_size_over_the_limit_is_refused_with_a_remedy() -> None:
    refusal = _refusal(graph={"max_resolution": R(256, 256)})
    assert (refusal.param, refusal.code) == ("size", "invalid_size")
    assert "512x512 (the image's or the model's own; give size to have another)" in refusal.message
    assert _size(graph={"max_resolution": R(256, 256)}, width=256, height=256) == "256x256"


LISTED = {"resolution": (R(256, 256), R(512, 768))}


def test_of_listed_sizes_only_those_are_drawn() -> None:
    assert _size(graph=LISTED, width=512, height=768) == "512x768"
    refusal = _refusal(graph=LISTED, width=512, height=512)
    assert (refusal.param, refusal.code) == ("height", "invalid_size")
    assert "draws only 256x256, 512x768" in refusal.message


@pytest.mark.parametrize(("image", "drawn"), [(None, "256x256"), (R(512, 768), "512x768"), (R(300, 300), "256x256")])
def test_of_listed_sizes_the_first_is_drawn_unless_the_image_has_another(image: Resolution | None, drawn: str) -> None:
    assert _size(graph=LISTED, image=image) == drawn


def test_where_the_other_side_is_wrong_the_given_one_is_named() -> None:
    graph = {"default_resolution": R(512, 100), "max_resolution": R(512, 512)}
    assert _refusal(graph=graph, width=256).param == "width"


def test_a_listed_size_may_exceed_the_limit_for_free_sizes() -> None:
    graph = {"resolution": (R(8192, 4096),)}
    assert _size(graph=graph) == "8192x4096"


LIST = {"resolution": (R(512, 512), R(768, 512), R(512, 768))}
LIMITED = {"max_resolution": R(1024, 1024)}


@pytest.mark.parametrize(
    ("graph", "asked", "drawn"),
    [
        (LIMITED, (1536, 1024), "1024x680"),
        (LIMITED, (1024, 1792), "584x1024"),
        (LIMITED, (100, 100), "96x96"),
        (LIMITED, (512, 512), "512x512"),
        (LIMITED, (1, 10**40), "8x1024"),
        ({"max_resolution": R(1020, 1020)}, (4096, 4096), "1016x1016"),
        (LIST, (1536, 1024), "768x512"),
        (LIST, (1024, 1792), "512x768"),
        (LIST, (2048, 2048), "512x512"),
    ],
)
def test_the_nearest_size_is_drawn_where_that_is_asked_for(
    graph: dict[str, Any], asked: tuple[int, int], drawn: str
) -> None:
    width, height = asked
    request = resolved(facts=facts_of(SD), route=route_of(**graph), width=width, height=height, size_fit="nearest")
    assert request.size == drawn
    sentence = f"The size {width}x{height} was asked for; {drawn} is drawn, the nearest size of this model."
    assert request.warnings == (() if drawn == f"{width}x{height}" else (sentence,))


def test_without_size_fit_such_a_size_is_refused() -> None:
    assert "at most 1024x1024" in _refusal(graph=LIMITED, width=1536, height=1024).message
    assert "at least 1" in _refusal(graph=LIMITED, width=0, size_fit="nearest").message


@pytest.mark.parametrize(
    ("image", "more", "warnings"),
    [
        (R(200, 150), {}, ["The image of 200x150 is stretched to 128x128, the size of this model; give size for"]),
        (R(200, 150), {"image_fit": "pad"}, []),
        (R(256, 256), {}, []),
        (R(200, 150), {"width": 200, "height": 152}, []),
    ],
)
def test_an_image_that_is_stretched_to_the_models_size_is_reported(
    image: Resolution, more: dict[str, Any], warnings: list[str]
) -> None:
    route = route_of(default_resolution=R(128, 128))
    request = resolved(Operation.EDIT, facts=facts_of(SD), route=route, image_size=image, **more)
    assert [sentence.partition(" another")[0] for sentence in request.warnings] == warnings
