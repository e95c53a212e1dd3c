"""Tells what an image of the demo model shows: the colours, the shape, and roughly its size and place.

Colours are the palette's nearest by area, shapes the best overlap with each drawn template after centring and
scaling, so soft edges and small dents do not matter. Needs numpy and Pillow only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.demo.drawing import FINE, LINE, SIDE, cover, extent, template
from benchmarks.demo.prompts import Asked
from benchmarks.demo.world import COLOURS, SHAPES, SIZES, STYLES, Thing, radius_of

_GRID = 48  # templates and cut-outs are compared at this size
_MARGIN = 6  # width of the border that tells the background
_LEAST = 60  # pixels: less than this is not a shape
_NAMES = tuple(COLOURS)
_PALETTE = np.array(list(COLOURS.values()), dtype=np.float32)
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Seen:
    """What an image shows; without any shape ``colour`` to ``place`` are empty.

    ``fit`` is the overlap with the best template (intersection over union, 0 to 1), ``background_share`` the share
    of the image's border that has the background's colour.
    """

    background: str
    colour: str
    shape: str
    size: str
    place: str
    fit: float
    background_share: float


def look(image: Image.Image) -> Seen:
    """Return what the image shows; for two shapes, the larger one."""
    nearest = _nearest_of(image)
    background, share = _background(nearest)
    mask = _largest_piece(nearest != background)
    if mask.sum() < _LEAST:
        return Seen(_NAMES[background], "", "", "", "", 0.0, share)
    colour = _colour_within(nearest, mask, background)
    shape, fit = _shape(mask)
    place = _place(mask)
    return Seen(_NAMES[background], colour, shape, _size(_radius(mask, shape), place), place, fit, share)


def hits(asked: Asked, image: Image.Image) -> dict[str, bool]:
    """Return for every fact that the prompt gives whether the image shows it.

    Two things are judged by the colour on the left and the colour on the right.
    """
    seen = look(image)
    if asked.second_colour:
        left, right = halves(image, asked.background)
        return {"background": seen.background == asked.background, "colour": left == asked.colour,
                "second_colour": right == asked.second_colour}  # fmt: skip
    facts = [name for name in ("background", "colour", "shape", "size", "place") if getattr(asked, name)]
    return {name: getattr(seen, name) == getattr(asked, name) for name in facts}


def halves(image: Image.Image, background: str) -> tuple[str, str]:
    """Return the most frequent colour of the left and of the right half, the background's left out."""
    nearest = _nearest_of(image)
    found = []
    for half in (nearest[:, : SIDE // 2], nearest[:, SIDE // 2 :]):
        counts = np.bincount(half.ravel(), minlength=len(_NAMES))
        counts[_NAMES.index(background)] = 0
        found.append(_NAMES[int(counts.argmax())])
    return found[0], found[1]


def style_of(image: Image.Image, shape: str) -> tuple[str, dict[str, float]]:
    """Return in which style the image's only shape is drawn, and each style's overlap with it (0 to 1)."""
    nearest = _nearest_of(image)
    mask = nearest != _background(nearest)[0]
    if mask.sum() < _LEAST:
        return "", dict.fromkeys(STYLES, 0.0)
    fits = dict.fromkeys(STYLES, 0.0)
    for style, thing in _guesses(mask, shape):
        wanted = np.asarray(cover(thing, style).reduce(FINE)) > 127
        fits[style] = max(fits[style], float((mask & wanted).sum() / (mask | wanted).sum()))
    return max(fits, key=lambda style: fits[style]), fits


def _guesses(mask: Mask, shape: str) -> Iterator[tuple[str, Thing]]:
    """Where the shape may lie in each style: an outline is a line wider, stripes do not show top and bottom."""
    rows, columns = _box(mask)
    middle = (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2
    (left, top), (right, bottom) = extent(shape)
    seen = _radius(mask, shape)
    radii = {"plain": (seen,), "outline": (seen - LINE / 2,), "stripes": tuple(seen * grown for grown in (1, 1.1, 1.2))}
    for style in STYLES:
        for radius in radii[style]:
            for shift in (-6, -3, 0, 3, 6) if style == "stripes" else (0,):
                x = middle[0] - (left + right) / 2 * radius
                y = middle[1] - (top + bottom) / 2 * radius + shift
                yield style, Thing(shape, "", "", "", x, y, radius)


def _nearest_of(image: Image.Image) -> NDArray[np.intp]:
    return _nearest_colours(np.asarray(image.convert("RGB").resize((SIDE, SIDE)), dtype=np.float32))


def _nearest_colours(pixels: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the number of the nearest palette colour of each pixel; ``pixels`` is [height, width, 3] in 0..255."""
    distances = np.square(pixels[:, :, None, :] - _PALETTE).sum(axis=-1)
    return np.asarray(distances.argmin(axis=-1), dtype=np.intp)


def _background(nearest: NDArray[np.intp]) -> tuple[int, float]:
    border = np.ones(nearest.shape, dtype=bool)
    border[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = False
    counts = np.bincount(nearest[border], minlength=len(_NAMES))
    return int(counts.argmax()), float(counts.max() / counts.sum())


def _colour_within(nearest: NDArray[np.intp], mask: Mask, background: int) -> str:
    """Most frequent colour away from the soft edge (or of the whole piece, when it is all edge)."""
    inner = mask & _shrunk(mask)
    counts = np.bincount(nearest[inner if inner.sum() >= _LEAST // 2 else mask], minlength=len(_NAMES))
    counts[background] = 0
    return _NAMES[int(counts.argmax())]


def _shrunk(mask: Mask) -> Mask:
    """Without the pixels that touch the outside within two pixels."""
    for _ in range(2):
        padded = np.pad(mask, 1)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def _largest_piece(mask: Mask) -> Mask:
    """Return the largest connected piece, found by spreading labels until nothing changes."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        padded = np.pad(labels, 1)
        around = np.maximum.reduce([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:], labels])
        spread = np.where(mask, around, 0)
        if np.array_equal(spread, labels):
            break
        labels = spread
    if not labels.any():
        return mask
    return np.asarray(labels == np.bincount(labels[labels > 0]).argmax())


def _shape(mask: Mask) -> tuple[str, float]:
    cut = np.asarray(
        Image.fromarray(mask[_box(mask)].astype(np.uint8) * 255).resize((_GRID, _GRID), Image.Resampling.BOX),
        dtype=np.float32,
    )
    cut /= 255
    fits = {}
    for shape in SHAPES:
        wanted = template(shape, _GRID)
        fits[shape] = float(np.minimum(cut, wanted).sum() / np.maximum(cut, wanted).sum())
    best = max(fits, key=lambda shape: fits[shape])
    return best, fits[best]


def _box(mask: Mask) -> tuple[slice, slice]:
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _size(radius: float, place: str) -> str:
    return min(SIZES, key=lambda size: abs(radius_of(size, place) - radius))


def _radius(mask: Mask, shape: str) -> float:
    """In pixels, from the larger side of the piece's box."""
    rows, columns = _box(mask)
    (left, top), (right, bottom) = extent(shape)
    return float(max(rows.stop - rows.start, columns.stop - columns.start) / max(right - left, bottom - top))


def _place(mask: Mask) -> str:
    """Where the middle of the piece's box lies; within a tenth of the image it is the centre."""
    rows, columns = _box(mask)
    down = (rows.start + rows.stop) / 2 - SIDE / 2
    across = (columns.start + columns.stop) / 2 - SIDE / 2
    if max(abs(down), abs(across)) < SIDE / 10:
        return "centre"
    if abs(across) >= abs(down):
        return "right" if across > 0 else "left"
    return "bottom" if down > 0 else "top"
