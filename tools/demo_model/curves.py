"""Draws the loss curves of all stages as one SVG image."""

import csv
from pathlib import Path

_WIDTH = 260
_HEIGHT = 150
_GAP = 50
_NAMES = {"vae": "autoencoder, whole images", "vae-fine": "autoencoder, mosaics", "text": "text encoder",
    "unet-first": "UNet, first round", "unet": "UNet, second round"}  # fmt: skip


def draw(records: Path) -> None:
    """Write ``loss.svg`` beside the CSV files ``loss-STAGE.csv``: loss over steps, one small plot for each stage."""
    order = ("vae", "vae-fine", "text", "unet-first", "unet", "outline", "stripes")
    found = [(name, _read(records / f"loss-{name}.csv")) for name in order if (records / f"loss-{name}.csv").exists()]
    plots = [
        _plot(name, points, _GAP + i % 3 * (_WIDTH + _GAP), _GAP + i // 3 * (_HEIGHT + 2 * _GAP))
        for i, (name, points) in enumerate(found)
    ]
    width = _GAP + 3 * (_WIDTH + _GAP)
    height = _GAP + (len(found) + 2) // 3 * (_HEIGHT + 2 * _GAP)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
    paper = f'<rect width="{width}" height="{height}" fill="white"/>'
    (records / "loss.svg").write_text("\n".join([head, paper, *plots, "</svg>"]) + "\n", encoding="utf-8")


def _read(path: Path) -> list[tuple[float, float]]:
    with path.open(encoding="utf-8") as file:
        return [(float(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]


def _plot(name: str, points: list[tuple[float, float]], left: int, top: int) -> str:
    last = points[-1][0]
    highest = max(loss for _, loss in points)
    line = " ".join(
        f"{left + step / last * _WIDTH:.1f},{top + (1 - loss / highest) * _HEIGHT:.1f}" for step, loss in points
    )
    bottom = top + _HEIGHT
    return "\n".join(
        [
            f'<text x="{left}" y="{top - 12}" font-size="14">{_NAMES.get(name, name)}</text>',
            f'<polyline points="{left},{top} {left},{bottom} {left + _WIDTH},{bottom}" fill="none" stroke="#888"/>',
            f'<polyline points="{line}" fill="none" stroke="#2450da" stroke-width="1.5"/>',
            f'<text x="{left - 4}" y="{top + 10}" font-size="11" text-anchor="end">{highest:.2f}</text>',
            f'<text x="{left - 4}" y="{bottom}" font-size="11" text-anchor="end">0</text>',
            f'<text x="{left + _WIDTH}" y="{bottom + 14}" font-size="11" text-anchor="end">{last:.0f} steps,'
            f" at the end {points[-1][1]:.3f}</text>",
        ]
    )
