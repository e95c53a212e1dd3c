"""Many clients that switch adapters on one shared set of pipelines: each client gets its own image."""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from graphs.families.family import Operation
from tests.stack.adapter_service import adapter_entry, ask, composite_entry, content, tiny
from tests.support.service import Service, serving
from tests.workers.engine.adapter_support import write_native

# 200 requests at once: a stress test, beside the single requests of test_adapters.py.
pytestmark = pytest.mark.thorough

REQUESTS, CLIENTS = 200, 4
Choice = tuple[str, Operation, tuple[tuple[str, float], ...]]
CHOICES: list[Choice] = [
    (model, operation, alphas)
    for operation in Operation
    for model, alphas in (
        ("fox", ()),
        ("a", ()),
        ("b", ()),
        ("mix", ()),
        ("mix", (("a", 0.2), ("b", 0.9))),
    )
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("mixed")
    a, b = (write_native(folder / f"{seed}.safetensors", "sd", seed) for seed in (1, 2))
    adapters = adapter_entry("a", a) + adapter_entry("b", b) + composite_entry("mix", a=0.7, b=0.5)
    model = tiny(folder / "fox", adapters)
    with serving(folder / "run", "--model_path", str(model)) as running:
        yield running


def drawn(service: Service, choice: Choice) -> bytes:
    model, operation, alphas = choice
    return content(ask(service, model, operation, **({"lora_alphas": dict(alphas)} if alphas else {})))


def test_each_of_200_mixed_images_is_that_of_its_solo_run(service: Service) -> None:
    solo = {choice: drawn(service, choice) for choice in CHOICES}
    assert len(set(solo.values())) == len(CHOICES)
    order = random.Random(4).choices(CHOICES, k=REQUESTS)

    with ThreadPoolExecutor(CLIENTS) as clients:
        images = list(clients.map(lambda choice: drawn(service, choice), order))

    wrong = [choice for choice, image in zip(order, images, strict=True) if image != solo[choice]]
    assert not wrong
    assert len(Counter(order)) == len(CHOICES)


def test_the_solo_runs_are_repeatable(service: Service) -> None:
    assert drawn(service, CHOICES[-1]) == drawn(service, CHOICES[-1])
