"""Writes captions of a scene, in several ways and often incompletely, with the facts that each caption states."""

import random
from dataclasses import dataclass

from benchmarks.demo.prompts import with_article
from benchmarks.demo.world import COLOURS, PLACES, SHAPES, SIZES, Scene, Thing

_WHERE = {
    "centre": ("in the centre", "in the center", "in the middle"),
    "left": ("on the left", "on the left side"),
    "right": ("on the right", "on the right side"),
    "top": ("at the top", "on top"),
    "bottom": ("at the bottom", "below"),
}
_ON_BACKGROUND = (
    "{w}, {b} background",
    "{w} on {b}",
    "{a} background with {w}",
    "{w} on a plain {b} background",
    "{b} background, {w}",
)
_BEGIN = ("", "", "", "", "a picture of ", "a drawing of ", "an image of ", "a painting of ", "draw ", "there is ")
# The questions that the text encoder learns to answer; "" means that the caption does not say.
QUESTIONS: dict[str, tuple[str, ...]] = {
    "background": ("", *COLOURS),
    "count": ("0", "1", "2"),
    "relation": ("", "beside", "above"),
    **{f"colour{i}": ("", *COLOURS) for i in (0, 1)},
    **{f"shape{i}": ("", *SHAPES) for i in (0, 1)},
    "size0": ("", *SIZES),
    "place0": ("", *PLACES),
}
_OTHER_WORDS = (
    "a an the of on in at to is and with picture drawing image painting draw there next beside above below over under "
    "left right top bottom side centre center middle background plain empty simple nothing but shape two flat , . "
    "small medium large tiny big"
)
EVERY_WORD = [*_OTHER_WORDS.split(), *COLOURS, *SHAPES, *(f"{shape}s" for shape in SHAPES)]


@dataclass(frozen=True)
class Caption:
    """A text, and its answers to those of ``QUESTIONS`` that it answers."""

    text: str
    facts: dict[str, str]


def caption(scene: Scene, dice: random.Random, plain: float = 0.0) -> Caption:
    """Return a caption of a scene; with probability ``plain`` in the form "a red circle on a blue background"."""
    facts: dict[str, str] = {"count": str(len(scene.things))}
    terse = dice.random() < plain
    begin = "" if terse else dice.choice(_BEGIN)
    if not scene.things:
        facts["background"] = scene.background
        form = dice.choice(("{a} background", "an empty picture, {a} background", "nothing but {a} background"))
        return Caption(begin + form.format(a=with_article(scene.background)), facts)
    words = _pair(scene, facts, dice) if scene.relation else _alone(scene.things[0], facts, dice, terse)
    if not terse and dice.random() < 0.2:
        return Caption(begin + words, facts)
    facts["background"] = scene.background
    return Caption(begin + _on_background(words, scene.background, dice, terse), facts)


def _on_background(words: str, background: str, dice: random.Random, terse: bool) -> str:
    if terse or dice.random() < 0.5:
        return f"{words} on {with_article(background)} background"
    form = dice.choice(_ON_BACKGROUND)
    return form.format(w=words, b=background, a=with_article(background))


def _alone(thing: Thing, facts: dict[str, str], dice: random.Random, terse: bool) -> str:
    size = "" if terse or dice.random() < 0.55 else thing.size
    words = _named(thing, 0, facts, dice, size, everything=terse)
    if terse or dice.random() < 0.5:
        return words
    facts["place0"] = thing.place
    return f"{words} {dice.choice(_WHERE[thing.place])}"


def _pair(scene: Scene, facts: dict[str, str], dice: random.Random) -> str:
    first, second = (_named(thing, i, facts, dice, "") for i, thing in enumerate(scene.things))
    if dice.random() < 0.35:
        return f"{first} and {second}"
    facts["relation"] = scene.relation
    between = {"beside": ("next to", "beside", "to the left of"), "above": ("above", "over", "on top of")}
    return f"{first} {dice.choice(between[scene.relation])} {second}"


def _named(
    thing: Thing, number: int, facts: dict[str, str], dice: random.Random, size: str, everything: bool = False
) -> str:
    left_out = 1.0 if everything else dice.random()
    shape = thing.shape
    colour = thing.colour
    if left_out < 0.04:
        shape = "shape"
    else:
        facts[f"shape{number}"] = shape
    if 0.04 <= left_out < 0.09:
        colour = ""
    else:
        facts[f"colour{number}"] = colour
    if size:
        facts[f"size{number}"] = size
        size = dice.choice({"small": ("small", "small", "tiny"), "large": ("large", "big")}.get(size, (size,)))
    words = " ".join(word for word in (size, colour, shape) if word)
    return words if not everything and dice.random() < 0.15 else with_article(words)
