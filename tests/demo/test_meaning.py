"""What the bundled model draws through the service means what was asked: judged by benchmarks/demo/scorer.py."""

import numpy as np
import pytest
from openai import OpenAI
from PIL import Image, ImageChops

from benchmarks.demo.prompts import plain
from benchmarks.demo.scorer import hits, look, style_of
from tests.demo.conftest import Draw

# Weights change seldom, and drawing takes long.
pytestmark = pytest.mark.thorough

RED_ON_BLUE = "a red circle on a blue background"
STYLES = ("outline", "stripes")
STYLED = ("circle", "square")  # shapes with room for a style
HEART = "a yellow heart on a blue background"


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two images in 0..255."""
    return float(np.asarray(ImageChops.difference(one, other)).mean())


def test_the_colours_and_the_shape_of_the_prompt_appear(draw: Draw) -> None:
    asked = plain(30, seed=3)
    found = [hits(one, draw(one.prompt, seed=number)) for number, one in enumerate(asked)]
    right = {fact: sum(hit[fact] for hit in found) for fact in ("background", "colour", "shape")}
    assert right["background"] >= 28 and right["colour"] >= 28, right
    assert right["shape"] >= 26, right


def test_a_seed_changes_the_image_and_not_the_colours(draw: Draw) -> None:
    images = [draw(RED_ON_BLUE, seed=seed) for seed in range(5)]
    assert {(look(one).background, look(one).colour, look(one).shape) for one in images} == {("blue", "red", "circle")}
    for number, one in enumerate(images):
        assert all(_difference(one, other) > 0.2 for other in images[:number])


def test_low_strength_keeps_the_image_and_high_strength_replaces_it(draw: Draw, edit: Draw) -> None:
    before = draw(RED_ON_BLUE, seed=1)
    after = {
        strength: edit(before, "a yellow star on a green background", strength=strength, seed=1)
        for strength in (0.2, 0.6, 1.0)
    }
    kept, new = look(after[0.2]), look(after[1.0])
    assert (kept.background, kept.colour, kept.shape) == ("blue", "red", "circle")
    assert (new.background, new.colour, new.shape) == ("green", "yellow", "star")
    changes = {strength: _difference(before, image) for strength, image in after.items()}
    assert 0 < changes[0.2] < 10 < 40 < min(changes[0.6], changes[1.0])


def test_inpainting_changes_the_inside_of_the_mask_and_leaves_the_outside(draw: Draw, edit: Draw) -> None:
    before = draw(RED_ON_BLUE, seed=1)
    right_half = Image.new("L", before.size, 0)
    right_half.paste(255, (64, 0, 128, 128))
    repainted = edit(before, "a green background", right_half, strength=1.0, seed=2)
    untouched = edit(before, "a green background", Image.new("L", before.size, 0), strength=1.0, seed=2)
    change = np.asarray(ImageChops.difference(repainted, untouched)).max(axis=2)
    # The autoencoder sees some pixels around each latent; 48 pixels away nothing moves but by rounding.
    assert change[:, :16].max() <= 2 and change[:, :32].mean() < 1, "outside of the mask"
    assert change[:, 80:].mean() > 40, "inside of it"
    assert _difference(before.crop((0, 0, 48, 128)), repainted.crop((0, 0, 48, 128))) < 4


@pytest.mark.parametrize("style", STYLES)
def test_an_adapter_changes_the_style_and_keeps_the_colours(draw: Draw, style: str) -> None:
    asked = [one for one in plain(60, seed=9) if one.shape in STYLED][:8]
    plainly = [draw(one.prompt, seed=seed) for seed, one in enumerate(asked)]
    styled = [draw(one.prompt, style, seed=seed) for seed, one in enumerate(asked)]
    assert not [one for one, image in zip(asked, plainly, strict=True) if style_of(image, one.shape)[0] == style]
    in_style = [one for one, image in zip(asked, styled, strict=True) if style_of(image, one.shape)[0] == style]
    assert len(in_style) >= 3, in_style
    seen = [look(image) for image in styled]
    assert [one.background for one in seen] == [one.background for one in asked]
    assert sum(mine.colour == one.colour for mine, one in zip(seen, asked, strict=True)) >= 7


@pytest.mark.parametrize("style", STYLES)
def test_an_adapter_of_strength_0_changes_nothing(draw: Draw, style: str) -> None:
    without = draw(HEART, seed=5)
    assert _difference(draw(HEART, style, seed=5, lora_alphas={style: 0}), without) == 0
    assert _difference(draw(HEART, style, seed=5), without) > 5


def test_an_image_does_not_depend_on_the_images_before_it(draw: Draw) -> None:
    """In the device's own precision: in bf16 an adapter after an image without one was black."""
    order = ("demo", *STYLES, "mix", "demo", "stripes", "demo", "outline", "demo", "mix", "outline", "demo", "stripes")
    first: dict[str, Image.Image] = {}
    for name in order:
        image = draw(HEART, name, seed=5)
        assert _difference(image, first.setdefault(name, image)) == 0, name
        assert look(image).background == "blue"


def test_the_composite_blends_both_adapters(draw: Draw) -> None:
    blend, *alone = (draw(HEART, name, seed=5) for name in ("mix", *STYLES))
    assert all(_difference(blend, one) > 2 for one in alone)
    assert (look(blend).background, look(blend).colour) == ("blue", "yellow")


def test_a_negative_prompt_acts(draw: Draw) -> None:
    """What it names is avoided: the colour that the prompt leaves open."""
    prompt, seeds = "a circle on a white background", range(8)
    for unwanted in ("red", "blue"):
        negative = f"a {unwanted} circle on a white background"
        colours = [look(draw(prompt, seed=seed, negative_prompt=negative)).colour for seed in seeds]
        assert unwanted not in colours


def test_models_lists_the_adapters_and_the_composite(client: OpenAI) -> None:
    own = [model for model in client.models.list() if not (model.model_extra or {})["alias_of"]]
    assert {model.id for model in own} == {"demo", *STYLES, "mix"}
