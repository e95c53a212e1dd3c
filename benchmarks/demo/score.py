"""``make demo-score``: how often the bundled model, through the running service, draws what the prompt says.

Random prompts of four forms; ``benchmarks/demo/scorer.py`` judges each image. Prints tables in Markdown. Starts a
service of its own unless ``--url`` names a running one that serves the bundled model as ``demo``.
"""

import argparse
import base64
import io
import re
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from PIL import Image
from rich.console import Console
from rich.progress import track

from benchmarks.demo.prompts import FORMS, Asked
from benchmarks.demo.scorer import hits, look
from benchmarks.demo.world import SHAPES
from tests.support.service import serving

FACTS = ("background", "colour", "shape", "size", "place", "second_colour")
SETTINGS = ((12, 4.0), (20, 7.5))  # steps and guidance; the second pair is what a request without them gets
SMALLER_SHARE = 3  # of the forms beside the plain one this part of the prompts is drawn
_GENERATE = re.compile(r"generate;dur=([\d.]+)")
_progress = Console(stderr=True)


@dataclass(frozen=True)
class Drawn:
    """What was asked, what came, and the milliseconds that the model took for it."""

    asked: Asked
    image: Image.Image
    generate_ms: float


def main() -> None:
    """Draw, judge, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo.score", description=__doc__)
    parser.add_argument("--url", help="a running service; one is started when left out")
    parser.add_argument("--prompts", type=int, default=300, help="prompts of the plain form (default: 300)")
    arguments = parser.parse_args()
    drawn = {}
    with _service(arguments.url) as http:
        for form, made in FORMS.items():
            asked = made(arguments.prompts if form == "plain" else max(1, arguments.prompts // SMALLER_SHARE))
            for setting in SETTINGS:
                drawn[form, setting] = draw_all(http, asked, *setting)
    print("\n".join([*by_form(drawn), "", *by_shape(drawn["plain", SETTINGS[0]])]))


def draw_all(http: httpx2.Client, asked: list[Asked], steps: int, guidance: float) -> list[Drawn]:
    """Draw every prompt once, with its number as the seed."""
    what = f"{len(asked)} prompts like {asked[0].prompt!r}, {steps} steps, guidance {guidance}"
    return [
        Drawn(one, *draw(http, one.prompt, number, steps, guidance))
        for number, one in enumerate(track(asked, what, console=_progress))
    ]


def by_form(drawn: dict[tuple[str, tuple[int, float]], list[Drawn]]) -> list[str]:
    """Return a table: for each form of prompt and each setting how many images show each fact."""
    lines = ["| prompts | steps | guidance | " + " | ".join(FACTS) + " | all | generate() ms |"]
    lines.append("|---" * (len(FACTS) + 5) + "|")
    for (form, (steps, guidance)), images in drawn.items():
        found = [hits(one.asked, one.image) for one in images]
        cells = [f"{sum(hit[fact] for hit in found)}/{len(found)}" if fact in found[0] else "" for fact in FACTS]
        cells.append(f"{sum(all(hit.values()) for hit in found)}/{len(found)}")
        median_ms = statistics.median(one.generate_ms for one in images)
        lines.append(f"| {form} | {steps} | {guidance} | {' | '.join(cells)} | {median_ms:.0f} |")
    return lines


def by_shape(drawn: list[Drawn]) -> list[str]:
    """Return a table: for each shape how often it was drawn, and what was seen instead."""
    seen: dict[str, Counter[str]] = {shape: Counter() for shape in SHAPES}
    for one in drawn:
        seen[one.asked.shape][look(one.image).shape or "nothing"] += 1
    lines = ["| shape asked | drawn | seen instead |", "|---|---|---|"]
    for shape, found in seen.items():
        others = ", ".join(f"{name} {times}" for name, times in found.most_common() if name != shape)
        lines.append(f"| {shape} | {found[shape]}/{found.total()} | {others} |")
    return lines


def draw(http: httpx2.Client, prompt: str, seed: int, steps: int, guidance: float) -> tuple[Image.Image, float]:
    """Return the service's image and the milliseconds that the model took."""
    body = {
        "model": "demo", "prompt": prompt, "seed": seed, "size": "128x128", "num_inference_steps": steps,
        "guidance_scale": guidance,
    }  # fmt: skip
    answer = http.post("/v3/images/generations", json=body)
    answer.raise_for_status()
    timing = _GENERATE.search(answer.headers["server-timing"])
    if timing is None:
        raise RuntimeError(f"the answer does not say how long the model took: {answer.headers['server-timing']!r}")
    content = base64.b64decode(answer.json()["data"][0]["b64_json"])
    return Image.open(io.BytesIO(content)).convert("RGB"), float(timing[1])


@contextmanager
def _service(url: str | None) -> Iterator[httpx2.Client]:
    if url is not None:
        with httpx2.Client(base_url=url, timeout=60) as http:
            yield http
        return
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as service:
        yield service.http


if __name__ == "__main__":
    main()
