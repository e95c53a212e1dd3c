"""Draws docs/gallery.png: pictures of a running service, with the prompts that made them.

Usage: python docs/draw_gallery.py [URL]   (the service must serve the bundled model as ``demo``)
"""

import base64
import io
import sys
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
SIDE, GAP, TEXT = 128, 12, 34
PROMPTS = (
    "a red circle on a blue background",
    "a yellow star on a purple background",
    "a white heart on a red background",
    "a green ring on a black background",
    "a blue square on an orange background",
    "a pink diamond on a cyan background",
)


def ask(route: str, **request: Any) -> Image.Image:
    """Return one picture of the service."""
    answer = httpx.post(f"{URL}/v3/images/{route}", timeout=60, **request)
    answer.raise_for_status()
    return Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"])))


def edit(picture: Image.Image, prompt: str, mask: Image.Image | None = None, strength: float = 0.8) -> Image.Image:
    """Return the picture edited."""
    files = {name: png(image) for name, image in (("image", picture), ("mask", mask)) if image is not None}
    return ask("edits", data={"prompt": prompt, "seed": "4", "strength": str(strength)}, files=files)


def png(picture: Image.Image) -> bytes:
    """Return the picture's bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def tiles() -> list[tuple[Image.Image, str]]:
    """Return all pictures with their captions: six prompts, an edit at three strengths, a mask and what it repaints."""
    drawn = [
        (ask("generations", json={"prompt": prompt, "seed": 2, "guidance_scale": 4}), prompt) for prompt in PROMPTS
    ]
    before = drawn[0][0]
    star = "a red star on a blue background"
    drawn += [(edit(before, star, strength=value), f"edited: a red star, strength {value}") for value in (0.4, 0.7)]
    mask = Image.new("L", (SIDE, SIDE), 0)
    mask.paste(255, (SIDE // 2, 0, SIDE, SIDE))
    drawn.append((mask, "a mask: white is repainted"))
    drawn.append((edit(before, "a plain green background", mask, 1.0), "repainted: a plain green background"))
    return drawn


def main() -> None:
    """Draw the sheet."""
    pictures, columns = tiles(), 5
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (GAP + columns * (SIDE + GAP), GAP + rows * (SIDE + TEXT + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (picture, caption) in enumerate(pictures):
        x = GAP + number % columns * (SIDE + GAP)
        y = GAP + number // columns * (SIDE + TEXT + GAP)
        sheet.paste(picture.convert("RGB"), (x, y))
        pen.rectangle((x - 1, y - 1, x + SIDE, y + SIDE), outline="silver")
        words = caption.split()
        middle = len(words) // 2 + 1 if len(caption) > 22 else len(words)
        pen.text((x, y + SIDE + 3), " ".join(words[:middle]) + "\n" + " ".join(words[middle:]), fill="black")
    sheet.save(Path(__file__).parent / "gallery.png", optimize=True)


if __name__ == "__main__":
    main()
