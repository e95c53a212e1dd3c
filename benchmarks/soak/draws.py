"""``python -m benchmarks.soak.draws``: does the memory of a process grow that does nothing but draw?

The engine alone draws a mixture of requests to the bundled model. A line for each tenth has the resident memory of the
process, the bytes that malloc has in use, and the number of its heaps.
"""

import argparse
import ctypes
import gc
import random
import re
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from config.machine_memory import resident_bytes
from graphs.families.family import Operation
from graphs.repository.bundled import BUNDLED_MODEL_NAME, load_served
from graphs.repository.served_facts import read_served_facts
from graphs.requests.request import AdapterSelection, ResolvedRequest
from workers.engine.images import encode
from workers.engine.openvino_engine import OpenVinoEngine
from workers.engine.protocol import GenerationCancelled, InputImages, Step
from workers.process.memory.free_memory import give_back_freed_memory, use_one_heap

_SIDE = 64
_STEPS = 3
_KINDS = ("plain", "two", "larger", "adapters", "edit", "inpainting", "previews", "cancelled")


def main() -> None:
    """Draw so many requests and print what the process takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.draws", description=__doc__)
    parser.add_argument("--draws", type=int, default=3000, help="default: 3000")
    parser.add_argument(
        "--heaps", choices=("one", "many"), default="one", help="of malloc (default: one, as in a worker)"
    )
    parser.add_argument("--trim", action="store_true", help="give freed memory back after each draw, as a worker does")
    given = parser.parse_args()
    if given.heaps == "one":
        use_one_heap()
    print(machine(), flush=True)
    graph = load_served().graphs[BUNDLED_MODEL_NAME]
    engine = OpenVinoEngine(graph, read_served_facts(graph), device=("CPU",), cache_dir=None, most_threads=1)
    engine.load()
    chance = random.Random(1)
    for number in range(given.draws + 1):
        if number % max(1, given.draws // 10) == 0:
            gc.collect()
            used_bytes, heaps = _malloc()
            print(
                f"{number}: {resident_bytes() // 1024} KiB resident, {used_bytes // 1024} in use, {heaps} heaps",
                flush=True,
            )
        _draw(engine, chance)
        if given.trim:
            give_back_freed_memory()


def _draw(engine: OpenVinoEngine, chance: random.Random) -> None:
    kind = chance.choice(_KINDS)

    def on_step(step: Step) -> bool:
        if kind == "previews" and step.preview is not None:
            encode(step.preview(), "png", 0)
        return kind == "cancelled" and step.number == 2

    request = _request(kind, chance)
    try:
        generated = engine.generate(request, _inputs(request), on_step)
    except GenerationCancelled:
        return
    for image in generated.images:
        encode(image, "png", 0)


def _request(kind: str, chance: random.Random) -> ResolvedRequest:
    operation = {"edit": Operation.EDIT, "inpainting": Operation.INPAINTING}.get(kind, Operation.GENERATION)
    width, height = chance.choice([(96, 64), (128, 128)]) if kind == "larger" else (_SIDE, _SIDE)
    strengths = {"outline": 0.6, "stripes": chance.randrange(10) / 10} if kind == "adapters" else {}
    return ResolvedRequest(
        operation=operation,
        graph="demo",
        model="demo",
        prompt="a red circle",
        width=width,
        height=height,
        num_images_per_prompt=2 if kind == "two" else 1,
        num_inference_steps=_STEPS,
        guidance_scale=4.0,
        strength=None if operation is Operation.GENERATION else 1.0,
        rng_seed=chance.randrange(2**31),
        adapters=tuple(AdapterSelection(alias=alias, alpha=alpha) for alias, alpha in strengths.items()),
    )


def _inputs(request: ResolvedRequest) -> InputImages | None:
    if request.operation is Operation.GENERATION:
        return None
    image = np.full((request.height, request.width, 3), 99, np.uint8)
    return InputImages(image, image[..., 0] if request.operation is Operation.INPAINTING else None)


def _malloc() -> tuple[int, int]:
    """Return the bytes that malloc has in use, blocks of their own mapping included, and the number of its heaps."""
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "malloc_info.xml"
        file = ctypes.c_void_p(library.fopen(str(path).encode(), b"w"))
        library.malloc_info(0, file)
        library.fclose(file)
        text = path.read_text()
    total = text.rpartition("</heap>")[2]
    sizes = {kind: int(size) for kind, size in re.findall(r'type="(fast|rest|mmap|current)".* size="(\d+)"', total)}
    return sizes["current"] - sizes["fast"] - sizes["rest"] + sizes["mmap"], text.count("<heap nr")


if __name__ == "__main__":
    main()
