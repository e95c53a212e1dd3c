"""Equal requests through the whole service, with the real openai client, draw what a new engine draws."""

import base64
from pathlib import Path

import numpy as np
import pytest
from openai import OpenAI

from tests.stack.adapter_service import adapter_entry, composite_entry
from tests.support.images import pixels
from tests.support.service import serving, write_graph
from tests.workers.engine.engine_support import MODELS
from tests.workers.engine.equality_support import CALLS, Asked, Bench
from workers.engine.protocol import Pixels

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("family", ["sd", "sdxl", "flux"])
def test_equal_and_mixed_requests(family: str, openvino_runtime: None, tmp_path: Path) -> None:
    bench = Bench(family, "DYNAMIC", "f32", tmp_path)
    entries = [adapter_entry(alias, path) for alias, path in bench.paths.items()]
    model = write_graph(tmp_path / "served", MODELS / family, more="".join(entries) + composite_entry("mix", a=1, b=1))
    requests = bench.requests(1) + bench.requests(2)
    order = np.random.default_rng(5).integers(len(requests), size=CALLS)

    with serving(tmp_path / "run", "--model_path", str(model)) as service, service.client() as client:
        differing = [
            asked
            for asked in [requests[4]] * CALLS + [requests[number] for number in order]
            if not np.array_equal(_served(client, asked), bench.expected(asked))
        ]

    assert differing == []


def _served(client: OpenAI, asked: Asked) -> Pixels:
    """Return the images, ``uint8 [count, height, width, 3]``, that the service draws with the blend."""
    names = [alias for alias, _ in asked.blend]
    model = {0: "served", 1: "".join(names), 2: "mix"}[len(names)]
    fields = {"rng_seed": asked.seed, "num_inference_steps": asked.steps, "lora_alphas": dict(asked.blend)}
    answer = client.images.generate(
        model=model,
        prompt=asked.prompt,
        n=asked.count,
        size="64x64",
        extra_body={name: value for name, value in fields.items() if value != {}},
    )
    assert answer.data is not None
    return np.stack([pixels(base64.b64decode(image.b64_json or "")) for image in answer.data])
