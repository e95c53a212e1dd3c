"""The procedural world the demo model knows: coloured shapes on plain backgrounds, and the words for them."""

import random
from dataclasses import dataclass

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 30, 34),
    "green": (42, 168, 62),
    "blue": (36, 80, 218),
    "yellow": (248, 218, 44),
    "purple": (122, 40, 172),
    "orange": (255, 140, 20),
    "black": (16, 16, 18),
    "white": (250, 250, 250),
    "pink": (242, 128, 182),
    "cyan": (62, 214, 222),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")
SIZES = {"small": 20.0, "medium": 30.0, "large": 42.0}  # radius in pixels of a 128x128 image
PLACES = {"centre": (64, 64), "left": (40, 64), "right": (88, 64), "top": (64, 40), "bottom": (64, 88)}
STYLES = ("plain", "outline", "stripes")
_PAIR_RADIUS = 25.0
_PAIR_OFFSET = 29


@dataclass(frozen=True)
class Thing:
    """One shape: what it is, and where it is drawn (centre and radius in pixels)."""

    shape: str
    colour: str
    size: str
    place: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    """A background and none, one or two things; ``relation`` is "beside" or "above" for two."""

    background: str
    things: tuple[Thing, ...]
    relation: str = ""

    @property
    def is_simple(self) -> bool:
        """Whether this is one centred thing of a good size: what training begins with."""
        return len(self.things) == 1 and self.things[0].place == "centre" and self.things[0].size != "small"


def random_scene(dice: random.Random) -> Scene:
    """Return a scene of the natural mix: 2% empty, 73% one thing, 25% two."""
    kind = dice.random()
    background, *colours = dice.sample(sorted(COLOURS), 3)
    if kind < 0.02:
        return Scene(background, ())
    if kind < 0.75:
        return Scene(background, (_alone(dice, colours[0]),))
    if dice.random() < 0.15:
        colours[1] = colours[0]
    relation = dice.choice(("beside", "above"))
    return Scene(background, _pair(dice, colours, relation), relation)


def scene_of(seed: int, index: int) -> Scene:
    """Return the scene with that number of the endless series ``seed``."""
    return random_scene(random.Random(f"{seed}/{index}"))


def radius_of(size: str, place: str) -> float:
    """Return the usual radius in pixels; a large thing aside of the centre is smaller, or it would touch the edge."""
    return SIZES[size] * (0.85 if size == "large" and place != "centre" else 1.0)


def _alone(dice: random.Random, colour: str) -> Thing:
    size = dice.choice(sorted(SIZES))
    place = "centre" if dice.random() < 0.4 else dice.choice(("left", "right", "top", "bottom"))
    radius = radius_of(size, place) * dice.uniform(0.95, 1.05)
    x, y = (value + dice.uniform(-2, 2) for value in PLACES[place])
    return Thing(dice.choice(SHAPES), colour, size, place, x, y, radius)


def _pair(dice: random.Random, colours: list[str], relation: str) -> tuple[Thing, ...]:
    things = []
    for colour, sign in zip(colours, (-1, 1), strict=True):
        offset = sign * _PAIR_OFFSET
        x, y = (64.0 + offset, 64.0) if relation == "beside" else (64.0, 64.0 + offset)
        place = {"beside": ("left", "right"), "above": ("top", "bottom")}[relation][sign > 0]
        x += dice.uniform(-1, 1)
        y += dice.uniform(-1, 1)
        radius = _PAIR_RADIUS * dice.uniform(0.95, 1.05)
        things.append(Thing(dice.choice(SHAPES), colour, "medium", place, x, y, radius))
    return tuple(things)
