"""How much of the time the engine draws while clients keep one worker busy, compared with a loop of GenAI alone.

    python -m benchmarks.queues.busy --jobs 1000
    python -m benchmarks.queues.busy --model build/big-model/sd15 --size 512x512 --steps 20 --jobs 12 --blocks 2

Four clients send one request after the other. The busy share is the time of ``generate()``, as the answers'
Server-Timing tells it, over the time in which those jobs ended. Blocks of served images alternate with blocks of the
same requests in a loop of GenAI alone, in this process, so that other load slows both alike.
"""

import argparse
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openvino_genai

from benchmarks.machine import machine
from graphs.repository.bundled import bundled_model_path
from tests.support.service import Service, serving, write_graph

_CLIENTS = 4
_GENERATE = re.compile(r"generate;dur=([\d.]+)")
_F32 = {"INFERENCE_PRECISION_HINT": "f32"}


@dataclass(frozen=True)
class _Job:
    size: str
    steps: int

    def body(self, seed: int) -> dict[str, object]:
        prompt = "a red circle on a blue background"
        return {"prompt": prompt, "seed": seed, "size": self.size, "num_inference_steps": self.steps}


@dataclass
class _Drawn:
    """What one way of drawing took: images, the seconds in which they ended, and those of generate() within them."""

    images: int = 0
    seconds: float = 0.0
    generate_s: float = 0.0

    def add(self, ends: list[tuple[float, float]]) -> None:
        """``ends``: when each image was there, and its seconds in generate(); the first one begins the time."""
        ends = sorted(ends)
        self.images += len(ends) - 1
        self.seconds += ends[-1][0] - ends[0][0]
        self.generate_s += sum(generate_s for _, generate_s in ends[1:])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queues.busy", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(bundled_model_path()), help="default: the bundled model")
    parser.add_argument("--size", default="128x128")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=1000, help="images in all, of each of the two ways (default: 1000)")
    parser.add_argument("--blocks", type=int, default=5, help="blocks of each way, which alternate (default: 5)")
    arguments = parser.parse_args()
    job = _Job(arguments.size, arguments.steps)
    with tempfile.TemporaryDirectory() as folder:
        model = write_graph(Path(folder) / "model", arguments.model.resolve())
        pipeline = openvino_genai.Text2ImagePipeline(str(arguments.model), "CPU", **_F32)
        with serving(Path(folder), "--model_path", str(model), deadline_s=600) as service:
            served, raw = _measure(service, pipeline, job, arguments.jobs // arguments.blocks, arguments.blocks)
    print(machine())
    print("\n".join(_table(served, raw)))


def _measure(service: Service, pipeline: object, job: _Job, images: int, blocks: int) -> tuple[_Drawn, _Drawn]:
    served = _Drawn()
    raw = _Drawn()
    _serve(service, job, _CLIENTS)
    _loop(pipeline, job, 2)
    for _ in range(blocks):
        served.add(_serve(service, job, images))
        raw.add(_loop(pipeline, job, images))
    return served, raw


def _serve(service: Service, job: _Job, images: int) -> list[tuple[float, float]]:
    seeds = iter(range(images))
    ends: list[tuple[float, float]] = []
    clients = [threading.Thread(target=lambda: ends.extend(_requests(service, job, seeds))) for _ in range(_CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(ends) == images, f"{images - len(ends)} requests failed"
    return ends


def _requests(service: Service, job: _Job, seeds: Iterator[int]) -> Iterator[tuple[float, float]]:
    for seed in seeds:
        answer = service.http.post("/v3/images/generations", json=job.body(seed), timeout=600)
        answer.raise_for_status()
        (generate_ms,) = _GENERATE.findall(answer.headers["server-timing"])
        yield time.perf_counter(), float(generate_ms) / 1000


def _loop(pipeline: object, job: _Job, images: int) -> list[tuple[float, float]]:
    width, height = map(int, job.size.split("x"))
    ends = []
    for seed in range(images):
        body = job.body(seed)
        started = time.perf_counter()
        pipeline.generate(  # type: ignore[attr-defined]
            body["prompt"], width=width, height=height, num_inference_steps=job.steps, rng_seed=seed
        )
        ended = time.perf_counter()
        ends.append((ended, ended - started))
    return ends


def _table(served: _Drawn, raw: _Drawn) -> list[str]:
    lines = [f"| {served.images} images each | ms an image | of it generate() | busy share |", "|---|---|---|---|"]
    for name, drawn in (("served, four clients", served), ("GenAI's own loop", raw)):
        each_ms, generate_ms = (1000 * seconds / drawn.images for seconds in (drawn.seconds, drawn.generate_s))
        lines.append(f"| {name} | {each_ms:.1f} | {generate_ms:.1f} | {drawn.generate_s / drawn.seconds:.4f} |")
    return [*lines, "", f"Images a second, served over the loop: {raw.seconds / served.seconds:.3f}."]


if __name__ == "__main__":
    main()
