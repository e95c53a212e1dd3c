"""What the fuzzing tests share: the service they attack, how long they go on, and what must hold of every answer."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from tests.support.polling import wait_until
from tests.support.service import Service, serving, write_graph

ADMINISTRATOR = {"Authorization": "Bearer administrator-key"}
# Steps take no time, so that what is accepted is drawn at once; small images, since what is asked for is the point.
OPTIONS = 'max_resolution: "64x64" default_resolution: "32x32" max_num_images_per_prompt: 2'
ENVIRONMENT = {
    "IMAGEGEN_WORKER__ENGINE": "simulated",
    "IMAGEGEN_WORKER__SIMULATED_STEP_S": "0",
    "IMAGEGEN_DOWNLOADS__OFFLINE": "true",
    "IMAGEGEN_WEBHOOKS__SECRET": "a-secret-of-these-tests-only",
}
_ASKED = os.environ.get("FUZZ_EXAMPLES")
_SEED = os.environ.get("FUZZ_SEED") or None  # make passes an empty one


def examples(few: int, many: int) -> pytest.MarkDecorator:
    """Run a test with few examples, and, marked thorough, with many (FUZZ_EXAMPLES says another number)."""
    many = int(_ASKED) if _ASKED else many
    return pytest.mark.parametrize(
        "count", [pytest.param(few, id="few"), pytest.param(many, id="many", marks=pytest.mark.thorough)]
    )


def explore(check: Callable[..., None], count: int, **strategies: SearchStrategy[Any]) -> None:
    """Call ``check`` with ``count`` examples, the same in every run unless FUZZ_SEED chooses others."""
    calls = 0

    def counted(**drawn: Any) -> None:
        nonlocal calls
        calls += 1
        check(**drawn)

    found = given(**strategies)(counted)
    wide = settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=_SEED is None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        print_blob=True,
    )(found)
    began = time.monotonic()
    (seed(int(_SEED))(wide) if _SEED else wide)()
    print(f"{calls} examples in {time.monotonic() - began:.1f} s")


@contextmanager
def attacked(folder: Path) -> Iterator[Service]:
    """Run the whole service with the simulated engine; at its end it must still serve, with nothing unforeseen."""
    model = write_graph(folder / "shapes", steps=2, more=OPTIONS)
    keys = folder / "keys"
    keys.write_text("administrator-key\nuser-key\n")
    keys.chmod(0o600)
    with serving(folder, "--model_path", str(model), "--api_key_file", str(keys), environment=ENVIRONMENT) as service:
        service.http.headers.update(ADMINISTRATOR)
        yield service
        check_served(service)
        log = service.log.read_text()
        assert "Traceback" not in log, log[log.index("Traceback") :][:3000]


def check_served(service: Service) -> None:
    """See that a normal request is answered with an image, once the queue is empty."""
    wait_until(lambda: not _waiting(service), "the queue is empty")
    answer = service.http.post("/v3/images/generations", json={"prompt": "a red circle", "size": "32x32"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["b64_json"]


def _waiting(service: Service) -> list[Any]:
    found: list[Any] = service.http.get("/v3/images/jobs?status=queued").json()["data"]
    return found


def check_answer(status: int, kind: str, request_id: str | None, content: bytes) -> None:
    """See that an answer is a success, or a refusal in OpenAI's form; never a failure of the server."""
    text = content[:500]
    assert status < 500, f"{status}: {text!r}"
    assert request_id, text
    if status < 400:
        return
    assert kind == "application/json", text
    body = json.loads(content)
    assert list(body) == ["error"], text
    assert list(body["error"]) == ["message", "type", "param", "code"], text
    assert 0 < len(body["error"]["message"]) < 1000, text
