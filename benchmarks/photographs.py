"""``python -m benchmarks.photographs [MODEL]``: what edits of photographs cost, and what the worker's memory keeps.

Prints the time of an edit of a small image and of a photograph of 12 megapixels, in turn, then the memory of the child
that draws after edits of more and more different input sizes, and after images of more and more different sizes, with
how often the worker has replaced the child.
"""

import argparse
import io
import re
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import machine
from tests.support.service import Service, serving, write_graph

PHOTO = (4032, 3024)
SMALL = (128, 128)
_ROUNDS = 5
_INPUT_SIZES = 100
_OUTPUT_SIZES = 30
_LIMIT = "IMAGEGEN_WORKER__CHILD_MEMORY_LIMIT_BYTES"


def main() -> None:
    """Serve the model and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photographs", description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, help="a models directory (default: the bundled model)")
    parser.add_argument("--size", default="128x128", help="what is drawn (default: 128x128)")
    parser.add_argument("--steps", type=int, default=2, help="denoising steps (default: 2)")
    parser.add_argument("--input_sizes", type=int, default=_INPUT_SIZES, help="different inputs (default: 100)")
    parser.add_argument("--output_sizes", type=int, default=_OUTPUT_SIZES, help="different sizes to draw (default: 30)")
    parser.add_argument("--least_side", type=int, default=80, help="the least side of these sizes (default: 80)")
    parser.add_argument("--multiple", type=int, default=8, help="what all sides are multiples of (default: 8)")
    parser.add_argument("--limit_mib", type=int, help="bound of the child's memory (default: that of the service)")
    parser.add_argument("--precision", default="f32", help="the type to compute in: f32 or bf16 (default: f32)")
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        graph = write_graph(Path(folder) / "model", given.model and given.model.absolute(), steps=given.steps)
        definition = graph / "graph.pbtxt"
        definition.write_text(definition.read_text().replace('"f32"', f'"{given.precision}"'))
        limit = {} if given.limit_mib is None else {_LIMIT: str(given.limit_mib * 2**20)}
        with serving(Path(folder), "--model_path", str(graph), environment=limit) as service:
            service.http.timeout = 600
            _times(service, given.size)
            _input_sizes(service, given.size, given.input_sizes)
            _output_sizes(service, _sizes(given.output_sizes, given.least_side, given.multiple))


def _times(service: Service, size: str) -> None:
    seconds: dict[tuple[int, int], list[float]] = {SMALL: [], PHOTO: []}
    for _ in range(_ROUNDS):
        for sides, found in seconds.items():
            image = _photograph(*sides)
            began = time.perf_counter()
            _edit(service, image, size)
            found.append(time.perf_counter() - began)
    small, photo = (statistics.median(found) for found in seconds.values())
    print(
        f"edit of {SMALL}: {small:.2f} s, of {PHOTO}: {photo:.2f} s (medians of {_ROUNDS}); memory {_memory(service)}"
    )


def _input_sizes(service: Service, size: str, count: int) -> None:
    for number in range(1, count + 1):
        _edit(service, _photograph(400 + 13 * number, 300 + 7 * number), size)
        if number in (1, 5, 20, count):
            print(f"after {number} input sizes: memory {_memory(service)}")


def _sizes(count: int, least: int, multiple: int) -> list[tuple[int, int]]:
    """Return so many different sizes, six widths for each height."""
    return [(least + multiple * (number % 6), least + multiple * (number // 6)) for number in range(count)]


def _output_sizes(service: Service, sizes: list[tuple[int, int]]) -> None:
    for number, (width, height) in enumerate(sizes, 1):
        began = time.perf_counter()
        body = {"prompt": "a red circle", "width": width, "height": height, "seed": 1}
        answer = service.http.post("/v3/images/generations", json=body)
        assert answer.status_code == 200, answer.text
        seconds = time.perf_counter() - began
        found = f"{seconds:.1f} s; memory {_memory(service)}; {_replacements(service)}"
        print(f"output size {number}, {width}x{height}: {found}")


def _replacements(service: Service) -> str:
    found = re.search(r'^imagegen_worker_replacements_total.*reason="memory".* (\S+)$', _metrics(service), re.MULTILINE)
    return f"{float(found[1]) if found else 0:.0f} replacements"


def _metrics(service: Service) -> str:
    return service.http.get("/metrics").text


def _edit(service: Service, image: bytes, size: str) -> None:
    fields = {"prompt": "a red circle", "size": size, "seed": "1", "strength": "0.7"}
    answer = service.http.post("/v3/images/edits", data=fields, files={"image": ("photo.jpg", image)})
    assert answer.status_code == 200, answer.text


def _photograph(width: int, height: int) -> bytes:
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows * 255 / height, columns * 255 / width, (rows + columns) % 256], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _memory(service: Service) -> str:
    """Return the resident memory of the child that draws, and of the API."""
    # The child is the larger of the worker's two processes; its number may be below its parent's.
    child = max(service.worker_pids(), key=_resident_mib)
    api = next(pid for pid, command in service.descendants().items() if re.search(r"-m cli api", command))
    return f"{_resident_mib(child)} MiB (child {child}), {_resident_mib(api)} MiB (API)"


def _resident_mib(pid: int) -> int:
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) // 1024 if found else 0


if __name__ == "__main__":
    main()
