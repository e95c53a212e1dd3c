"""What the bundled model draws through the service means what was asked: judged by training/scorer.py."""

import numpy as np
from PIL import Image, ImageChops

from tests.demo.conftest import Draw
from training.prompts import plain
from training.scorer import hits, look

RED_ON_BLUE = "a red circle on a blue background"


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures in 0..255."""
    return float(np.asarray(ImageChops.difference(one, other)).mean())


def test_the_colours_and_the_shape_of_the_prompt_appear(draw: Draw) -> None:
    asked = plain(30, seed=3)
    found = [hits(one, draw(one.prompt, seed=number)) for number, one in enumerate(asked)]
    right = {fact: sum(hit[fact] for hit in found) for fact in ("background", "colour", "shape")}
    assert right["background"] >= 28 and right["colour"] >= 28, right
    assert right["shape"] >= 26, right


def test_a_seed_changes_the_picture_and_not_the_colours(draw: Draw) -> None:
    pictures = [draw(RED_ON_BLUE, seed=seed) for seed in range(5)]
    assert {(look(one).background, look(one).colour, look(one).shape) for one in pictures} == {
        ("blue", "red", "circle")
    }
    for number, one in enumerate(pictures):
        assert all(_difference(one, other) > 0.2 for other in pictures[:number])


def test_low_strength_keeps_the_picture_and_high_strength_replaces_it(draw: Draw, edit: Draw) -> None:
    before = draw(RED_ON_BLUE, seed=1)
    after = {
        strength: edit(before, "a yellow star on a green background", strength=strength, seed=1)
        for strength in (0.2, 0.6, 1.0)
    }
    kept, new = look(after[0.2]), look(after[1.0])
    assert (kept.background, kept.colour, kept.shape) == ("blue", "red", "circle")
    assert (new.background, new.colour, new.shape) == ("green", "yellow", "star")
    changes = [_difference(before, picture) for picture in after.values()]
    assert changes == sorted(changes), "the stronger, the further from the input"


def test_inpainting_changes_the_inside_of_the_mask_and_leaves_the_outside(draw: Draw, edit: Draw) -> None:
    before = draw(RED_ON_BLUE, seed=1)
    right_half = Image.new("L", before.size, 0)
    right_half.paste(255, (64, 0, 128, 128))
    repainted = edit(before, "a green background", right_half, strength=1.0, seed=2)
    untouched = edit(before, "a green background", Image.new("L", before.size, 0), strength=1.0, seed=2)
    change = np.asarray(ImageChops.difference(repainted, untouched)).max(axis=2)
    # What lies outside is decoded along with the rest: the autoencoder's normalisation spans the whole picture.
    assert change[:, :32].mean() < 8, "outside of the mask"
    assert change[:, 80:].mean() > 40, "inside of it"
    assert _difference(before.crop((0, 0, 48, 128)), repainted.crop((0, 0, 48, 128))) < 4


def test_a_negative_prompt_acts(draw: Draw) -> None:
    """What it names is avoided: the colour that the prompt leaves open."""
    prompt, seeds = "a circle on a white background", range(8)
    for unwanted in ("red", "blue"):
        negative = f"a {unwanted} circle on a white background"
        colours = [look(draw(prompt, seed=seed, negative_prompt=negative)).colour for seed in seeds]
        assert unwanted not in colours
