"""``python -m benchmarks.memory [MODEL]``: what drawing takes of memory, measured and as it is estimated.

Each size is drawn once by a new process, whose resident memory is read after that.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.machine import machine
from config.machine_memory import computes_in_bf16, resident_bytes
from graphs.definition.graph import Graph
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.repository.bundled import bundled_model_path
from graphs.repository.model_memory import read_memory_need
from graphs.requests.request import ResolvedRequest
from graphs.resolution import Resolution
from workers.engine.openvino_engine import OpenVinoEngine

_MIB = 2**20
_COMPUTE_BYTES = {"f32": 4, "bf16": 2}


def main() -> None:
    """Measure the sizes one after the other and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=bundled_model_path(), help="a models directory")
    parser.add_argument("--sizes", default="256x256 512x512 768x768", help="with spaces between them")
    parser.add_argument("--precision", choices=_COMPUTE_BYTES, default="bf16" if computes_in_bf16() else "f32")
    parser.add_argument("--drawn_here", type=Resolution.parse, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drawn_here:
        print(_drawn_bytes(given.model, given.drawn_here, given.precision))
        return
    print(machine())
    need = read_memory_need(given.model, _COMPUTE_BYTES[given.precision])
    for size in Resolution.parse_list(given.sizes):
        command = [sys.executable, "-m", "benchmarks.memory", str(given.model), "--precision", given.precision]
        done = subprocess.run([*command, "--drawn_here", str(size)], check=True, stdout=subprocess.PIPE, text=True)
        measured = int(done.stdout.split()[-1])
        estimated = need.bytes_for(size.width, size.height)
        ratio = estimated / measured
        shown = f"{measured // _MIB} MiB measured, {estimated // _MIB} MiB estimated ({ratio - 1:+.0%})"
        print(f"{size}, {given.precision}: {shown}")


def _drawn_bytes(model: Path, size: Resolution, precision: str) -> int:
    """Draw one image of one step with guidance; return the resident memory of this process."""
    facts = read_model_facts(model)
    graph = Graph(name="memory", models_path=model, plugin_config={"INFERENCE_PRECISION_HINT": precision})
    engine = OpenVinoEngine(graph, facts, device=("CPU",), cache_dir=None)
    engine.load()
    request = ResolvedRequest(
        operation=Operation.GENERATION,
        graph="memory",
        model="memory",
        prompt="a red circle",
        width=size.width,
        height=size.height,
        num_images_per_prompt=1,
        num_inference_steps=1,
        guidance_scale=facts.family.guidance_scale[Operation.GENERATION],
        rng_seed=7,
        max_sequence_length=facts.family.max_sequence_length,
    )
    engine.generate(request, None, lambda _step: False)
    return resident_bytes()


if __name__ == "__main__":
    main()
