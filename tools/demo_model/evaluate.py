"""Scores a model through openvino_genai, as the service runs it, on prompts made for this alone."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino_genai
from PIL import Image
from rich.table import Table

from benchmarks.demo.prompts import pairs, plain
from benchmarks.demo.scorer import hits
from tools.demo_model import curves
from tools.demo_model.recipe import Folders, Recipe
from tools.demo_model.training.loop import console

SETTINGS = ((12, 4.0), (20, 4.0), (20, 7.5))  # steps and guidance
_FACTS = ("background", "colour", "shape")
_PAIRS = 60


def run(recipe: Recipe, folders: Folders) -> None:
    """Score the finished model and keep the table, a sheet of images and the loss curves."""
    curves.draw(folders.records)
    scores = score(folders.model, recipe.prompts)
    _keep(folders.records / "scores.json", scores)
    show(scores)
    sheet(folders.model).save(folders.records / "sheet.png")


def _keep(path: Path, table: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def open_pipeline(model: Path) -> Any:
    """Return the model's text-to-image pipeline on the CPU."""
    return openvino_genai.Text2ImagePipeline(str(model), "CPU")


def generate(pipeline: Any, prompt: str, seed: int, steps: int = 12, guidance: float = 4.0, **more: Any) -> Image.Image:
    """Return one 128x128 image."""
    made = pipeline.generate(
        prompt, width=128, height=128, num_inference_steps=steps, guidance_scale=guidance, rng_seed=seed, **more
    )
    return Image.fromarray(np.array(made.data)[0])


def score(model: Path, count: int) -> list[dict[str, Any]]:
    """Return for every setting how many of ``count`` images have the right background, colour and shape."""
    pipeline = open_pipeline(model)
    generate(pipeline, "", 0)  # the first one is slower
    return [_score(pipeline, count, steps, guidance) for steps, guidance in SETTINGS]


def _score(pipeline: Any, count: int, steps: int, guidance: float) -> dict[str, Any]:
    right = dict.fromkeys((*_FACTS, "all"), 0)
    seconds = []
    for number, asked in enumerate(plain(count)):
        began = time.perf_counter()
        image = generate(pipeline, asked.prompt, number, steps, guidance)
        seconds.append(time.perf_counter() - began)
        found = hits(asked, image)
        for fact in _FACTS:
            right[fact] += found[fact]
        right["all"] += all(found.values())
    images = (
        (asked, generate(pipeline, asked.prompt, number, steps, guidance)) for number, asked in enumerate(pairs(_PAIRS))
    )
    both = sum(all(hits(asked, image).values()) for asked, image in images)
    return {
        "steps": steps, "guidance": guidance, "prompts": count, **right,
        "pairs": both, "of_pairs": _PAIRS, "median_seconds": round(float(np.median(seconds)), 3),
    }  # fmt: skip


def show(scores: list[dict[str, Any]]) -> None:
    """Print the scores as a table."""
    table = Table("steps", "guidance", "background", "colour", "shape", "all three", "pairs", "s/image")
    for row in scores:
        shares = (f"{row[fact]}/{row['prompts']}" for fact in (*_FACTS, "all"))
        both = f"{row['pairs']}/{row['of_pairs']}"
        table.add_row(str(row["steps"]), str(row["guidance"]), *shares, both, str(row["median_seconds"]))
    console.print(table)


def sheet(model: Path) -> Image.Image:
    """Return a sheet of images: a row of prompts for each setting, and harder prompts below."""
    pipeline = open_pipeline(model)
    easy = [asked.prompt for asked in plain(8, seed=5)]
    hard = [
        "a small yellow star on a black background", "a red circle and a blue square", "a large white heart",
        "a green ring above an orange cross on a white background", "a tiny purple diamond at the top, pink background",
        "a cyan triangle on the left", "a black square on a white background", "an empty picture, orange background",
    ]  # fmt: skip
    rows = [*((easy, *setting) for setting in SETTINGS), *((hard, *setting) for setting in SETTINGS)]
    whole = Image.new("RGB", (128 * 8, 128 * len(rows)))
    for down, (texts, steps, guidance) in enumerate(rows):
        for across, prompt in enumerate(texts):
            whole.paste(generate(pipeline, prompt, across, steps, guidance), (across * 128, down * 128))
    return whole
