"""Draws docs/gallery.png: images of a running service, with the prompts that made them.

Usage: python tools/draw_gallery.py [URL]   (the service must serve the bundled model as ``demo``)
"""

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image, ImageDraw

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
SIDE = 128
GAP = 12
TEXT = 34
COLUMNS = 6
PROMPTS = (
    "a red circle on a blue background",
    "a yellow star on a purple background",
    "a white heart on a red background",
    "a green ring on a black background",
    "a blue square next to a pink diamond on a white background",
    "a small orange triangle at the top on a cyan background",
)
STYLED = "a yellow heart on a blue background"
ALPHAS = (0, 0.5, 1)

Tile = tuple[Image.Image, str]


def ask(route: str, **request: Any) -> Image.Image:
    """Return one image of the service."""
    answer = httpx2.post(f"{URL}/v3/images/{route}", timeout=60, **request)
    answer.raise_for_status()
    return Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"])))


def draw(prompt: str, **more: Any) -> Image.Image:
    """Return the image of a prompt."""
    return ask("generations", json={"model": "demo", "prompt": prompt, "seed": 3, "guidance_scale": 4, **more})


def edit(image: Image.Image, prompt: str, mask: Image.Image | None = None, strength: float = 0.8) -> Image.Image:
    """Return the image edited."""
    files = {"image": png(image)} | ({"mask": png(mask)} if mask else {})
    fields = {"model": "demo", "prompt": prompt, "seed": "7", "strength": str(strength), "guidance_scale": "4"}
    return ask("edits", data=fields, files=files)


def png(image: Image.Image) -> bytes:
    """Return the image's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def prompts() -> list[Tile]:
    """Return a row of prompts."""
    return [(draw(prompt), prompt) for prompt in PROMPTS]


def edits(before: Image.Image) -> list[Tile]:
    """Return a row of edits: another prompt at three strengths; a mask, and the results of two prompts for it."""
    star = "a red star on a blue background"
    row = [(edit(before, star, strength=value), f'edit: "{star}", strength {value}') for value in (0.3, 0.6, 0.9)]
    mask = Image.new("L", (SIDE, SIDE), 0)
    mask.paste(255, (SIDE // 2, 0, SIDE, SIDE))
    row.append((mask, "a mask: white is repainted"))
    for prompt in ("a green circle on a blue background", "a red circle on a yellow background"):
        row.append((edit(before, prompt, mask, 1.0), f'repainted: "{prompt}"'))
    return row


def adapters() -> list[Tile]:
    """Return a row of the same image with each style adapter at three strengths."""
    return [
        (draw(STYLED, model=name, lora_alphas={name: alpha}), f"{name} {json.dumps(alpha)}: {STYLED}")
        for name in ("outline", "stripes")
        for alpha in ALPHAS
    ]


def wrapped(caption: str, width: int = 24) -> str:
    """Break a caption into lines that fit under an image."""
    lines = [""]
    for word in caption.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def main() -> None:
    """Draw the sheet."""
    first = prompts()
    tiles = [*first, *edits(first[0][0]), *adapters()]
    rows = len(tiles) // COLUMNS
    sheet = Image.new("RGB", (GAP + COLUMNS * (SIDE + GAP), GAP + rows * (SIDE + TEXT + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (image, caption) in enumerate(tiles):
        x = GAP + number % COLUMNS * (SIDE + GAP)
        y = GAP + number // COLUMNS * (SIDE + TEXT + GAP)
        sheet.paste(image.convert("RGB"), (x, y))
        pen.rectangle((x - 1, y - 1, x + SIDE, y + SIDE), outline="silver")
        pen.text((x, y + SIDE + 3), wrapped(caption), fill="black", font_size=10)
    sheet.save(Path(__file__).parents[1] / "docs" / "gallery.png", optimize=True)


if __name__ == "__main__":
    main()
