"""The scorer is right about images whose truth is known: those that the training draws."""

import random

import pytest

from benchmarks.demo.drawing import draw
from benchmarks.demo.prompts import Asked, pairs, placed, plain, sized
from benchmarks.demo.scorer import hits, look, style_of
from benchmarks.demo.world import COLOURS, SHAPES, STYLES, Scene, scene_of

pytestmark = pytest.mark.usefixtures("long_computation")

SCENES = [scene_of(5, number) for number in range(160)]
ALONE = [scene for scene in SCENES if len(scene.things) == 1]
BESIDE = [scene for scene in SCENES if scene.relation == "beside" and len({t.colour for t in scene.things}) == 2]


def test_it_sees_every_fact_of_one_thing() -> None:
    assert {scene.things[0].shape for scene in ALONE} == set(SHAPES), "every shape is among them"
    for scene in ALONE:
        thing = scene.things[0]
        asked = Asked("", scene.background, thing.colour, thing.shape, thing.size, thing.place)
        assert all(hits(asked, draw(scene)).values()), (scene, look(draw(scene)))


def test_it_sees_two_things_side_by_side() -> None:
    assert len(BESIDE) > 10
    for scene in BESIDE:
        left, right = scene.things
        asked = Asked("", scene.background, left.colour, left.shape, second_colour=right.colour)
        assert all(hits(asked, draw(scene)).values()), scene


@pytest.mark.parametrize("style", STYLES)
def test_it_tells_the_styles_apart(style: str) -> None:
    for scene in ALONE[:60]:
        assert style_of(draw(scene, style), scene.things[0].shape)[0] == style, scene


def test_it_says_no_where_the_image_shows_something_else() -> None:
    scene = ALONE[0]
    thing, image = scene.things[0], draw(ALONE[0])
    others = [name for name in COLOURS if name not in (thing.colour, scene.background)]
    wrong = Asked("", others[0], others[1], next(shape for shape in SHAPES if shape != thing.shape), "", "")
    assert hits(wrong, image) == {"background": False, "colour": False, "shape": False}


def test_an_empty_image_shows_nothing() -> None:
    seen = look(draw(Scene("orange", ())))
    assert (seen.background, seen.colour, seen.shape) == ("orange", "", "")


def test_noise_is_not_taken_for_a_shape() -> None:
    scene = ALONE[3]
    dice = random.Random(1)
    image = draw(scene)
    for _ in range(300):  # specks
        image.putpixel((dice.randrange(128), dice.randrange(128)), (255, 0, 255))
    assert (look(image).shape, look(image).colour) == (scene.things[0].shape, scene.things[0].colour)


def test_more_prompts_leave_the_first_ones_as_they_are() -> None:
    for form in (plain, sized, placed, pairs):
        assert form(5) == form(50)[:5]
        assert form(5, seed=1) != form(5, seed=2)
