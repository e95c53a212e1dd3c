"""What the weight formats of an export cost and change in the picture: ``python -m benchmarks.export MODEL``.

MODEL is ``bundled`` (whose parts are compressed in OpenVINO form), or a family of tests/cli/export/make_source.py, such
as ``sd15``, which has the size of Stable Diffusion 1.5: its folder in diffusers form is made and exported.
"""

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import openvino_genai

from benchmarks.machine import machine
from cli.export.environment import exporter_python
from config.environment import foreign_environment
from config.machine_memory import resident_bytes
from graphs.repository.bundled import bundled_model_path
from tests.cli.cli_support import clean_environment
from tests.cli.export.torch_support import made_source
from tests.support.service import IMAGEGEN, serving

_FORMATS = ("fp32", "fp16", "int8", "int4")
_PROMPTS = ("a yellow star on a red background", "a green heart", "two blue circles")
_SEEDS = (1, 2, 3)
_GIB = 2**30
_MIB = 2**20
_COMPRESS = """
import json, sys
from pathlib import Path
import openvino
from tools.exporter.compression import compressed
for xml in Path(sys.argv[1]).glob("*/openvino_model.xml"):
    model = compressed(openvino.Core().read_model(xml), xml.parent.name, json.loads(sys.argv[2]))
    openvino.save_model(model, xml.with_name("new.xml"))
    for suffix in (".bin", ".xml"):
        xml.with_name(f"new{suffix}").replace(xml.with_suffix(suffix))
"""


def main() -> None:
    """Print a table with a row for each format."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.export", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data_dir", type=Path, required=True, help="where the environment with PyTorch is or comes")
    parser.add_argument("--size", default="128x128")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--weights", choices=_FORMATS, action="append", help="a format, several times for several")
    given = parser.parse_args()
    width, _, height = given.size.partition("x")
    with tempfile.TemporaryDirectory(dir=given.data_dir) as name:
        folder = Path(name)
        source = folder / "source"
        if given.model != "bundled":
            made_source(given.data_dir, given.model, source)
        print(f"{machine()}; {given.model}, {given.size}, {given.steps} steps, f32", flush=True)
        print("| weights | export | memory at most | size | PSNR to the first row | the stock client's image after |")
        print("|---|---|---|---|---|---|", flush=True)
        first: list[np.ndarray] = []
        for weights in given.weights or (_FORMATS[1:] if given.model == "bundled" else _FORMATS):
            target = folder / weights
            if given.model == "bundled":
                cost = _compressed_copy(given.data_dir, target, weights)
            else:
                cost = _export(given.data_dir, source, target, weights)
            size = sum(path.stat().st_size for path in target.rglob("*.bin"))
            drawn = _draw(target, int(width), int(height), given.steps)
            first = first or drawn
            served = _served(folder / f"service-{weights}", target, given.size, given.steps)
            print(f"| {weights} | {cost} | {size / _MIB:,.1f} MiB | {_psnr(first, drawn)} | {served} |", flush=True)
            shutil.rmtree(target)


def _compressed_copy(data_dir: Path, target: Path, weights: str) -> str:
    shutil.copytree(bundled_model_path(), target)
    options = {"weight_format": weights, "group_size": 64, "ratio": 1.0, "sym": False, "all_layers": False}
    options |= {"backup_precision": None, "group_size_fallback": "adjust"}
    words = [exporter_python(data_dir), "-c", _COMPRESS, target, json.dumps(options)]
    environment = foreign_environment() | {"PYTHONPATH": str(Path.cwd())}
    subprocess.run([str(word) for word in words], env=environment, check=True, stdout=subprocess.DEVNULL)
    return "(from its fp16) | "


def _export(data_dir: Path, source: Path, target: Path, weights: str) -> str:
    words = ["export", str(source), "--data_dir", str(data_dir), "-o", str(target), "--weight-format", weights]
    began = time.perf_counter()
    used_before = os.times().children_user + os.times().children_system
    with subprocess.Popen([*IMAGEGEN, *words], env=clean_environment(), stdout=subprocess.DEVNULL) as process:
        peak = _Peak(process.pid)
        peak.start()
        if process.wait():
            sys.exit("the export failed")
    peak.join()
    used_s = os.times().children_user + os.times().children_system - used_before
    return f"{time.perf_counter() - began:.0f} s ({used_s:.0f} s of CPU) | {peak.bytes / _GIB:.1f} GiB"


class _Peak(threading.Thread):
    """Looks at the memory of a process and all below it until it has ended."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.bytes = 0
        self._pid = pid
        self._pause = threading.Event()

    def run(self) -> None:
        """Look ten times a second."""
        while total := sum(_resident(pid) for pid in (self._pid, *_descendants(self._pid))):
            self.bytes = max(self.bytes, total)
            self._pause.wait(0.1)


def _resident(pid: int) -> int:
    try:
        return resident_bytes(pid)
    except (OSError, ValueError):  # it has ended
        return 0


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for child in children for one in (int(child), *_descendants(int(child)))]


def _draw(folder: Path, width: int, height: int, steps: int) -> list[np.ndarray]:
    pipeline = openvino_genai.Text2ImagePipeline(str(folder), "CPU", INFERENCE_PRECISION_HINT="f32")
    options = {"width": width, "height": height, "num_inference_steps": steps}
    return [
        np.array(pipeline.generate(prompt, rng_seed=seed, **options).data[0], dtype=np.float64)
        for prompt, seed in zip(_PROMPTS, _SEEDS, strict=True)
    ]


def _served(data: Path, model: Path, size: str, steps: int) -> str:
    """Serve the model, ask for an image with the stock client, and return how long that took from the start on."""
    began = time.perf_counter()
    with serving(data, "--model_path", str(model)) as service:
        options = {"size": size, "num_inference_steps": steps}
        found = service.client().images.generate(prompt=_PROMPTS[0], extra_body=options).data
    if not found or not base64.b64decode(found[0].b64_json or "").startswith(b"\x89PNG"):
        sys.exit("the answer has no PNG")
    return f"{time.perf_counter() - began:.0f} s"


def _psnr(first: list[np.ndarray], drawn: list[np.ndarray]) -> str:
    error = float(np.mean([np.mean((a - b) ** 2) for a, b in zip(first, drawn, strict=True)]))
    return f"{10 * np.log10(255**2 / error):.1f} dB" if error else "-"


if __name__ == "__main__":
    main()
