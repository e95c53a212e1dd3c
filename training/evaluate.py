"""Scores a model through openvino_genai, as the service runs it, on prompts made for this alone."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino_genai
from PIL import Image
from rich.table import Table

from training import curves
from training.loop import console
from training.recipe import Folders, Recipe
from training.scorer import look, nearest_colours
from training.world import COLOURS, SHAPES

SETTINGS = ((12, 4.0), (20, 4.0), (20, 7.5))  # steps and guidance
_FACTS = ("background", "colour", "shape")
_PAIRS = 60


def run(recipe: Recipe, folders: Folders) -> None:
    """Score the finished model and keep the table, a sheet of pictures and the loss curves."""
    curves.draw(folders.records)
    scores = score(folders.model, recipe.prompts)
    _keep(folders.records / "scores.json", scores)
    show(scores)
    sheet(folders.model).save(folders.records / "sheet.png")


def _keep(path: Path, table: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def prompts(count: int, seed: int = 77) -> list[tuple[str, dict[str, str]]]:
    """Return prompts like "a red star on a blue background" with what they ask for."""
    dice = random.Random(f"prompts/{seed}")  # noqa: S311 - no secret is made here
    made = []
    for _ in range(count):
        colour, background = dice.sample(sorted(COLOURS), 2)
        asked = {"background": background, "colour": colour, "shape": dice.choice(SHAPES)}
        made.append((f"{_a(colour)} {asked['shape']} on {_a(background)} background", asked))
    return made


def open_pipeline(model: Path) -> Any:
    """Return the model's text-to-image pipeline on the CPU."""
    return openvino_genai.Text2ImagePipeline(str(model), "CPU")


def generate(pipeline: Any, prompt: str, seed: int, steps: int = 12, guidance: float = 4.0, **more: Any) -> Image.Image:
    """Return one 128x128 picture."""
    made = pipeline.generate(
        prompt, width=128, height=128, num_inference_steps=steps, guidance_scale=guidance, rng_seed=seed, **more
    )
    return Image.fromarray(np.array(made.data)[0])


def score(model: Path, count: int) -> list[dict[str, Any]]:
    """Return for every setting how many of ``count`` pictures have the right background, colour and shape."""
    pipeline = open_pipeline(model)
    generate(pipeline, "", 0)  # the first one is slower
    return [_score(pipeline, count, steps, guidance) for steps, guidance in SETTINGS]


def _score(pipeline: Any, count: int, steps: int, guidance: float) -> dict[str, Any]:
    right = dict.fromkeys((*_FACTS, "all"), 0)
    fits, seconds = 0.0, []
    for number, (prompt, asked) in enumerate(prompts(count)):
        began = time.perf_counter()
        picture = generate(pipeline, prompt, number, steps, guidance)
        seconds.append(time.perf_counter() - began)
        seen = look(picture)
        hits = [getattr(seen, fact) == asked[fact] for fact in _FACTS]
        for fact, hit in zip((*_FACTS, "all"), (*hits, all(hits)), strict=True):
            right[fact] += hit
        fits += seen.fit
    pairs = sum(_pair_is_right(pipeline, steps, guidance))
    return {
        "steps": steps, "guidance": guidance, "prompts": count, **right, "fit": round(fits / count, 3),
        "pairs": pairs, "of_pairs": _PAIRS, "median_seconds": round(float(np.median(seconds)), 3),
    }  # fmt: skip


def _pair_is_right(pipeline: Any, steps: int, guidance: float) -> Iterator[bool]:
    """Whether of two things side by side each half shows its colour, and the border the background's."""
    dice = random.Random("pairs")  # noqa: S311 - no secret is made here
    for number in range(_PAIRS):
        left, right, background = dice.sample(sorted(COLOURS), 3)
        first, second = dice.choice(SHAPES), dice.choice(SHAPES)
        prompt = f"{_a(left)} {first} next to {_a(right)} {second} on {_a(background)} background"
        picture = generate(pipeline, prompt, number, steps, guidance)
        nearest = nearest_colours(np.asarray(picture, dtype=np.float32))
        names = list(COLOURS)
        halves = [np.bincount(half.ravel(), minlength=len(names)) for half in (nearest[:, :64], nearest[:, 64:])]
        for half in halves:
            half[names.index(background)] = 0
        found = [names[int(half.argmax())] for half in halves]
        yield found == [left, right] and look(picture).background == background


def show(scores: list[dict[str, Any]]) -> None:
    """Print the scores as a table."""
    table = Table("steps", "guidance", "background", "colour", "shape", "all three", "fit", "pairs", "s/picture")
    for row in scores:
        hits = (f"{row[fact]}/{row['prompts']}" for fact in (*_FACTS, "all"))
        pairs = f"{row['pairs']}/{row['of_pairs']}"
        rest = (str(row["fit"]), pairs, str(row["median_seconds"]))
        table.add_row(str(row["steps"]), str(row["guidance"]), *hits, *rest)
    console.print(table)


def sheet(model: Path) -> Image.Image:
    """Return a sheet of pictures: a row of prompts for each setting, and harder prompts below."""
    pipeline = open_pipeline(model)
    plain = [prompt for prompt, _ in prompts(8, seed=5)]
    hard = [
        "a small yellow star on a black background", "a red circle and a blue square", "a large white heart",
        "a green ring above an orange cross on a white background", "a tiny purple diamond at the top, pink background",
        "a cyan triangle on the left", "a black square on a white background", "an empty picture, orange background",
    ]  # fmt: skip
    rows = [*((plain, *setting) for setting in SETTINGS), *((hard, *setting) for setting in SETTINGS)]
    whole = Image.new("RGB", (128 * 8, 128 * len(rows)))
    for down, (texts, steps, guidance) in enumerate(rows):
        for across, prompt in enumerate(texts):
            whole.paste(generate(pipeline, prompt, across, steps, guidance), (across * 128, down * 128))
    return whole


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
