"""Random prompts that say exactly what must be seen, for judging a model; training never sees these seeds.

It needs nothing but Python, so a client of a running service can use it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.demo.world import COLOURS, PLACES, SHAPES, SIZES

_WHERE = {
    "centre": "in the centre", "left": "on the left", "right": "on the right", "top": "at the top",
    "bottom": "at the bottom",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A prompt and what it asks for; ``size``, ``place`` and ``second_colour`` are empty where it says nothing.

    With a ``second_colour`` there are two things: the first on the left, the second on the right.
    """

    prompt: str
    background: str
    colour: str
    shape: str
    size: str = ""
    place: str = ""
    second_colour: str = ""


def plain(count: int, seed: int = 77) -> list[Asked]:
    """Return prompts like "a red star on a blue background"."""
    return [_plain(dice) for dice in _dice("prompts", count, seed)]


def sized(count: int, seed: int = 77) -> list[Asked]:
    """Return prompts like "a small red star on a blue background"."""
    return [_plain(dice, size=dice.choice(sorted(SIZES))) for dice in _dice("sized", count, seed)]


def placed(count: int, seed: int = 77) -> list[Asked]:
    """Return prompts like "a red star on the left on a blue background"."""
    return [_plain(dice, place=dice.choice(sorted(PLACES))) for dice in _dice("placed", count, seed)]


def pairs(count: int, seed: int = 77) -> list[Asked]:
    """Return prompts like "a red star next to a green cross on a blue background"."""
    return [_pair(dice) for dice in _dice("pairs", count, seed)]


FORMS: dict[str, Callable[[int], list[Asked]]] = {"plain": plain, "sized": sized, "placed": placed, "pairs": pairs}


def _dice(name: str, count: int, seed: int) -> list[random.Random]:
    """Every prompt has dice of its own: more prompts leave the first ones as they are."""
    return [random.Random(f"{name}/{seed}/{number}") for number in range(count)]


def _plain(dice: random.Random, size: str = "", place: str = "") -> Asked:
    colour, background = dice.sample(sorted(COLOURS), 2)
    shape = dice.choice(SHAPES)
    thing = with_article(" ".join(word for word in (size, colour, shape) if word))
    where = f" {_WHERE[place]}" if place else ""
    prompt = f"{thing}{where} on {with_article(background)} background"
    return Asked(prompt, background, colour, shape, size, place)


def _pair(dice: random.Random) -> Asked:
    left, right, background = dice.sample(sorted(COLOURS), 3)
    first = dice.choice(SHAPES)
    second = dice.choice(SHAPES)
    things = f"{with_article(f'{left} {first}')} next to {with_article(f'{right} {second}')}"
    prompt = f"{things} on {with_article(background)} background"
    return Asked(prompt, background, left, first, second_colour=right)


def with_article(words: str) -> str:
    """Return the words after "a" or "an"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
