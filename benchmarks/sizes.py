"""``python -m benchmarks.sizes [MODEL]``: draws every size up to a longest side, and prints those that failed."""

import argparse
import resource
import time
from pathlib import Path

from graphs.definition.graph import Graph
from graphs.errors import EngineError
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.repository.bundled import bundled_model_path
from graphs.requests.request import ResolvedRequest
from workers.engine.openvino_engine import OpenVinoEngine


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=bundled_model_path(), help="a models directory")
    parser.add_argument("--side", type=int, default=256, help="the longest side")
    given = parser.parse_args()
    facts = read_model_facts(given.model)
    engine = OpenVinoEngine(Graph(name="sizes", models_path=given.model), facts, device=("CPU",), cache_dir=None)
    began = time.monotonic()
    failed = []
    sides = range(facts.size_multiple, given.side + 1, facts.size_multiple)
    for width in sides:
        # The runtime keeps memory for each size that it has drawn.
        engine.unload()
        engine.load()
        for height in sides:
            request = ResolvedRequest(
                operation=Operation.GENERATION,
                graph="sizes",
                model="sizes",
                prompt="a red circle",
                width=width,
                height=height,
                num_images_per_prompt=1,
                num_inference_steps=1,
                guidance_scale=facts.family.guidance_scale[Operation.GENERATION],
                rng_seed=7,
                max_sequence_length=facts.family.max_sequence_length,
            )
            try:
                engine.generate(request, None, lambda _step: False)
            except EngineError as error:
                failed.append(f"{width}x{height}: {error.message}")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{len(sides) ** 2} sizes in {time.monotonic() - began:.0f} s, {len(failed)} failed; peak memory {peak_mib} MiB"
    )
    print("\n".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
