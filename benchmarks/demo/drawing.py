"""Draws scenes: everything is drawn four times as large and reduced, so that edges are smooth."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.demo.world import COLOURS, Scene, Thing

SIDE = 128
FINE = 4  # drawn this many times as large
LINE = 6.0  # width of an outline in pixels
_STRIPE = 9.0  # width of a stripe in pixels
Points = list[tuple[float, float]]


def draw(scene: Scene, style: str = "plain") -> Image.Image:
    """Return the 128x128 RGB image of a scene, its things in one of ``world.STYLES``."""
    canvas = Image.new("RGB", (SIDE * FINE, SIDE * FINE), COLOURS[scene.background])
    for thing in scene.things:
        canvas.paste(COLOURS[thing.colour], mask=cover(thing, style))
    return canvas.reduce(FINE)


@cache
def template(shape: str, side: int) -> NDArray[np.float32]:
    """Return how much of each pixel a shape covers (0..1) that fills a square image from edge to edge."""
    low, high = extent(shape)
    fine = side * FINE

    def fit(point: tuple[float, float]) -> tuple[float, float]:
        x, y = ((p - a) / (b - a) * (fine - 1) for p, a, b in zip(point, low, high, strict=True))
        return x, y

    mask = Image.new("L", (fine, fine), 0)
    _fill(ImageDraw.Draw(mask), [[fit(point) for point in contour] for contour in contours(shape)])
    return np.asarray(mask.reduce(FINE), dtype=np.float32) / np.float32(255)


@cache
def extent(shape: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the corners of the box around a shape of radius 1: (left, top), (right, bottom)."""
    across, down = zip(*contours(shape)[0], strict=True)
    return (min(across), min(down)), (max(across), max(down))


@cache
def contours(shape: str) -> tuple[Points, ...]:
    """Return a shape's outline (and its hole's, where it has one) within the unit circle, y down."""
    if shape == "circle":
        return (_polygon(72, 1.0),)
    if shape == "ring":
        return _polygon(72, 1.0), _polygon(72, 0.52)
    if shape == "heart":
        return (_heart(),)
    half = 0.84
    arm = 0.34
    corners: dict[str, Points] = {
        "square": [(-half, -half), (half, -half), (half, half), (-half, half)],
        "triangle": [(0, -0.95), (0.98, 0.8), (-0.98, 0.8)],
        "diamond": [(0, -1), (0.68, 0), (0, 1), (-0.68, 0)],
        "star": [_on_circle(0.42 if i % 2 else 1.05, i / 10) for i in range(10)],
        "cross": [
            *((-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm)),
            *((arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm)),
        ],
    }
    return (corners[shape],)


def cover(thing: Thing, style: str) -> Image.Image:
    """Return what a thing covers, as an "L" image of four times the size."""
    mask = Image.new("L", (SIDE * FINE, SIDE * FINE), 0)
    pen = ImageDraw.Draw(mask)
    placed = [
        [((thing.x + thing.radius * x) * FINE, (thing.y + thing.radius * y) * FINE) for x, y in contour]
        for contour in contours(thing.shape)
    ]
    if style == "outline":
        for contour in placed:
            pen.line([*contour, *contour[:2]], fill=255, width=round(LINE * FINE), joint="curve")
        return mask
    _fill(pen, placed)
    return _striped(mask, thing) if style == "stripes" else mask


def _on_circle(radius: float, turn: float) -> tuple[float, float]:
    return radius * math.sin(math.tau * turn), -radius * math.cos(math.tau * turn)


def _polygon(count: int, radius: float) -> Points:
    return [_on_circle(radius, i / count) for i in range(count)]


def _heart() -> Points:
    """The usual heart curve, scaled into the unit circle."""
    points = []
    for i in range(72):
        t = math.tau * i / 72
        across = 16 * math.sin(t) ** 3
        up = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((across / 16.5, -(up + 2.5) / 16.5))
    return points


def _fill(pen: ImageDraw.ImageDraw, placed: list[Points]) -> None:
    for contour, value in zip(placed, (255, 0), strict=False):
        pen.polygon(contour, fill=value)


def _striped(mask: Image.Image, thing: Thing) -> Image.Image:
    """Keep every second band of the mask; the middle of the shape is the middle of a band."""
    rows = (np.arange(SIDE * FINE) + 0.5) / FINE - thing.y
    keep = np.floor(rows / _STRIPE + 0.5).astype(int) % 2 == 0
    return Image.fromarray(np.asarray(mask) * keep[:, None].astype(np.uint8))
