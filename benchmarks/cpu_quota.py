"""``python -m benchmarks.cpu_quota WAY``: how long a picture takes in the cgroup that this process is in.

WAY is ``free`` (the threads that OpenVINO chooses), ``bounded`` (those of a worker under the quota) or ``pinned``
(as many, bound to CPUs). docs/measurements.md shows how to make a cgroup with a quota.
"""

import argparse
import hashlib
import statistics
import time

from benchmarks.machine import machine
from config.machine_cpus import machine_cpus
from graphs.definition.graph import Graph
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.repository.bundled import bundled_model_path
from graphs.requests.request import ResolvedRequest
from workers.engine.openvino_engine import OpenVinoEngine

_STEPS = 8


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu_quota", description=__doc__)
    parser.add_argument("way", choices=("free", "bounded", "pinned"))
    parser.add_argument("--side", type=int, default=256, help="width and height of the pictures")
    parser.add_argument("--pictures", type=int, default=15)
    parser.add_argument("--precision", default="f32")
    given = parser.parse_args()
    model = bundled_model_path()
    facts = read_model_facts(model)
    config: dict[str, object] = {"INFERENCE_PRECISION_HINT": given.precision}
    if given.way == "pinned":
        config["ENABLE_CPU_PINNING"] = True
    cpus = machine_cpus()
    engine = OpenVinoEngine(
        Graph(name="demo", models_path=model, plugin_config=config),
        facts,
        device=("CPU",),
        cache_dir=None,
        most_threads=None if given.way == "free" else cpus.most_threads,
    )
    engine.load()
    request = ResolvedRequest(
        operation=Operation.GENERATION,
        graph="demo",
        model="demo",
        prompt="a red circle",
        width=given.side,
        height=given.side,
        num_images_per_prompt=1,
        num_inference_steps=_STEPS,
        guidance_scale=facts.family.guidance_scale[Operation.GENERATION],
        rng_seed=7,
        max_sequence_length=facts.family.max_sequence_length,
    )
    seconds: list[float] = []
    pixels = set()
    for _ in range(given.pictures):
        began = time.monotonic()
        image = engine.generate(request, None, lambda _step: False).images[0]
        seconds.append(time.monotonic() - began)
        pixels.add(hashlib.sha256(image.tobytes()).hexdigest()[:8])
    print(machine())
    print(cpus.sentence())
    print(
        f"{given.way}, {given.precision}, {given.side}x{given.side}, {_STEPS} steps, {given.pictures} pictures: "
        f"median {statistics.median(seconds):.3f} s, quickest {min(seconds):.3f} s; pixels {' '.join(sorted(pixels))}"
    )


if __name__ == "__main__":
    main()
