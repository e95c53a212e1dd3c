"""Judges the style adapters through openvino_genai: how often an image is drawn in the style, at three strengths."""

import json
from pathlib import Path
from typing import Any

import openvino_genai
from PIL import Image

from benchmarks.demo.prompts import plain
from benchmarks.demo.scorer import look, style_of
from tools.demo_model.evaluate import generate
from tools.demo_model.recipe import Folders, Recipe
from tools.demo_model.training.loop import console

ALPHAS = (0.0, 0.5, 1.0)
_COUNT = 24


def run(recipe: Recipe, folders: Folders) -> None:
    """Judge the finished adapters and keep the table and the sheet."""
    del recipe
    adapters = sorted(folders.adapters.glob("*.safetensors"))
    table, sheet = judge(folders.model, adapters)
    (folders.records / "styles.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    sheet.save(folders.records / "styles.png")
    for row in table:
        console.print(
            f"{row['style']} at {row['alpha']}: {row['in_style']}/{row['prompts']} in the style, "
            f"colours kept in {row['colours_kept']}"
        )


def judge(model: Path, adapters: list[Path]) -> tuple[list[dict[str, Any]], Image.Image]:
    """Return for every adapter and strength how many of 24 images show the style, and a sheet of eight of them."""
    loaded = {path.stem: openvino_genai.Adapter(str(path)) for path in adapters}
    pipeline = openvino_genai.Text2ImagePipeline(str(model), "CPU", adapters=_config(list(loaded.items()), 0.0))
    table = []
    sheet = Image.new("RGB", (128 * 8, 128 * len(loaded) * len(ALPHAS)))
    for row, (style, alpha) in enumerate((style, alpha) for style in loaded for alpha in ALPHAS):
        drawn = 0
        kept = 0
        for number, asked in enumerate(plain(_COUNT, seed=9)):
            chosen = _config([(style, loaded[style])], alpha)
            image = generate(pipeline, asked.prompt, number, adapters=chosen)
            drawn += style_of(image, asked.shape)[0] == style
            seen = look(image)
            kept += (seen.background, seen.colour) == (asked.background, asked.colour)
            if number < 8:
                sheet.paste(image, (128 * number, 128 * row))
        table.append({"style": style, "alpha": alpha, "in_style": drawn, "colours_kept": kept, "prompts": _COUNT})
    return table, sheet


def _config(adapters: list[tuple[str, Any]], alpha: float) -> Any:
    config = openvino_genai.AdapterConfig(openvino_genai.AdapterConfig.Mode.MODE_DYNAMIC)
    for _, adapter in adapters:
        config.add(adapter, alpha)
    return config
