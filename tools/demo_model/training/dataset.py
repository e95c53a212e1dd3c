"""The training images: drawn once, kept as one file, so that every run and process sees the same."""

import multiprocessing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.demo.drawing import SIDE, draw
from benchmarks.demo.world import Scene, scene_of
from tools.demo_model.recipe import PROCESSES, Folders, Recipe

_PIECE = 500


def scenes(recipe: Recipe) -> list[Scene]:
    """Return the scenes of the training set."""
    return [scene_of(recipe.seed, index) for index in range(recipe.scenes)]


def style_of(index: int) -> str:
    """Return how a scene is drawn for the VAE: it must be able to show the adapters' styles as well."""
    return {3: "outline", 7: "stripes"}.get(index % 10, "plain")


def numbers(recipe: Recipe, style: str) -> list[int]:
    """Return the numbers of the scenes that ``drawn`` shows in a style."""
    return [index for index in range(recipe.scenes) if style != "plain" or style_of(index) == "plain"]


def drawn(recipe: Recipe, folders: Folders, style: str) -> NDArray[np.uint8]:
    """Return images by scene number; those in ``numbers`` are in the style (plain ones were drawn for the VAE)."""
    return images(recipe, folders, "" if style == "plain" else style)


def images(recipe: Recipe, folders: Folders, style: str = "") -> NDArray[np.uint8]:
    """Return the images, uint8 [n, 128, 128, 3], mapped from a file that is drawn on first use.

    ``style`` draws all of them in one style; without it, styles are mixed by ``style_of``.
    """
    path = folders.work / f"images-{style or 'mixed'}.npy"
    if not path.exists():
        _draw_all(recipe, path, style)
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return images


def _draw_all(recipe: Recipe, path: Path, style: str) -> None:
    part = path.with_name(path.name + ".part.npy")
    shape = (recipe.scenes, SIDE, SIDE, 3)
    whole = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    starts = range(0, recipe.scenes, _PIECE)
    pieces = [(recipe.seed, start, min(start + _PIECE, recipe.scenes), style) for start in starts]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for (_, start, end, _), piece in zip(pieces, pool.imap(_draw_piece, pieces), strict=True):
            whole[start:end] = piece
    whole.flush()
    part.replace(path)


def _draw_piece(piece: tuple[int, int, int, str]) -> NDArray[np.uint8]:
    seed, start, end, style = piece
    return np.stack([np.asarray(draw(scene_of(seed, i), style or style_of(i))) for i in range(start, end)])
