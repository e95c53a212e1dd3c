"""Clients that switch adapters of several kinds on one shared set of pipelines: each gets the image of its solo run."""

import base64
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from graphs.families.family import Operation
from tests.stack.adapter_service import adapter_entry, ask, composite_entry
from tests.support.images import pixels
from tests.support.service import Service, serving, write_graph
from tests.workers.engine.adapter_support import write_native
from tests.workers.engine.engine_support import MODELS
from tests.workers.engine.lycoris_support import KINDS, write_kind

# 200 requests at once: a stress test, beside the single requests of test_adapters.py.
pytestmark = pytest.mark.thorough

REQUESTS, CLIENTS = 200, 4
MODELS_AND_ALPHAS: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = (
    ("fox", ()),
    ("lora", ()),
    ("types", ()),
    ("loha", ()),
    ("lokr", (("lokr", 0.4),)),
    ("mix", ()),
    ("mix", (("lora", 0.2), ("loha", 0.9))),
)


@dataclass(frozen=True)
class Choice:
    """A request."""

    model: str
    operation: Operation
    alphas: tuple[tuple[str, float], ...]
    count: int


CHOICES = [
    Choice(model, operation, alphas, count)
    for model, alphas in MODELS_AND_ALPHAS
    for operation, count in ((Operation.GENERATION, 1), (Operation.GENERATION, 2), (Operation.EDIT, 1))
] + [Choice("mix", Operation.INPAINTING, (), 1)]


@pytest.fixture(scope="module", params=[("sd", "f32"), ("sd", "bf16"), ("sdxl", "f32")], ids="-".join)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A model with a LoCon merged into it, and adapters of four kinds that are switched."""
    family, precision = request.param
    folder = tmp_path_factory.mktemp("mixed")
    entries = adapter_entry("lora", write_native(folder / "lora.safetensors", family, 1))
    for alias, kind in (("types", "LoRA, mixed types"), ("loha", "LoHa"), ("lokr", "LoKr"), ("locon", "LoCon, 3x3")):
        write_kind(folder / f"{alias}.safetensors", family, KINDS[kind])
        mode = "FUSE" if KINDS[kind].fused else "DYNAMIC"
        entries += adapter_entry(alias, folder / f"{alias}.safetensors", mode)
    model = write_graph(
        folder / "fox", MODELS / family, steps=2, more=entries + composite_entry("mix", lora=0.7, loha=0.5)
    )
    graph = model / "graph.pbtxt"
    graph.write_text(graph.read_text().replace('"f32"', f'"{precision}"'))
    with serving(folder / "run", "--model_path", str(model)) as running:
        yield running


def drawn(service: Service, choice: Choice) -> tuple[bytes, ...]:
    alphas = {"lora_alphas": dict(choice.alphas)} if choice.alphas else {}
    answer = ask(service, choice.model, choice.operation, n=choice.count, **alphas)
    assert answer.status_code == 200, answer.text
    return tuple(base64.b64decode(one["b64_json"]) for one in answer.json()["data"])


def test_each_of_200_mixed_requests_draws_what_its_solo_run_drew(service: Service) -> None:
    solo = {choice: drawn(service, choice) for choice in CHOICES}
    assert all(pixels(image).std() > 1 for images in solo.values() for image in images)  # none is black
    assert len({images[0] for images in solo.values()}) == len({(c.model, c.operation, c.alphas) for c in CHOICES})
    order = random.Random(4).choices(CHOICES, k=REQUESTS)

    with ThreadPoolExecutor(CLIENTS) as clients:
        images = list(clients.map(lambda choice: drawn(service, choice), order))

    wrong = [choice for choice, image in zip(order, images, strict=True) if image != solo[choice]]
    assert not wrong
    assert len(Counter(order)) == len(CHOICES)
