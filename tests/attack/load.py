"""The honest clients: three keys with the stock OpenAI client, each drawing, editing and running named jobs in turn."""

import base64
import io
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai
from PIL import Image

from tests.attack.owners import job_name
from tests.attack.target import HONEST
from tests.support.images import image_bytes, red_image
from tests.support.polling import wait_until
from tests.support.service import Service

HEALTH_S = 1.0
SIDE = 64
_PAUSE_S = 0.2
_JOB_S = 60.0


@dataclass
class Seen:
    """What the honest clients saw. ``statuses`` counts every answer, those that the client repeated too."""

    done: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    health_s: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class HonestLoad:
    """Threads that ask until they are stopped."""

    def __init__(self, service: Service) -> None:
        self.seen = Seen()
        self._service = service
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(key,)) for key in HONEST]
        self._threads.append(threading.Thread(target=self._probe))

    def __enter__(self) -> "HonestLoad":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, key: str) -> None:
        transport = openai.DefaultHttpxClient(event_hooks={"response": [self._count]})
        with openai.OpenAI(base_url=f"{self._service.url}/v3", api_key=key, http_client=transport) as client:
            number = 0
            while not self._over.is_set():
                for what in (_generate, _edit, _job):
                    began = time.monotonic()
                    try:
                        what(client, key, number)
                        self.seen.done[what.__name__.strip("_")] += 1
                    except Exception as error:  # noqa: BLE001 - each of them is reported, and ends the run with 1
                        self.seen.failures.append(f"{key} {what.__name__}: {type(error).__name__}: {error}"[:300])
                    self.seen.seconds.append(time.monotonic() - began)
                    self._over.wait(_PAUSE_S)
                number += 1

    def _count(self, response: httpx2.Response) -> None:
        self.seen.statuses[response.status_code] += 1

    def _probe(self) -> None:
        with httpx2.Client(base_url=self._service.url, timeout=HEALTH_S) as client:
            while not self._over.is_set():
                began = time.monotonic()
                try:
                    client.get("/v2/health/live").raise_for_status()
                except httpx2.HTTPError as error:
                    self.seen.failures.append(f"health: {error!r}")
                self.seen.health_s.append(time.monotonic() - began)
                self._over.wait(_PAUSE_S)


def _generate(client: openai.OpenAI, _key: str, number: int) -> None:
    answer = client.images.generate(prompt="a red circle", n=1 + number % 2, size="64x64", extra_body={"seed": number})
    assert answer.data
    assert len(answer.data) == 1 + number % 2
    for item in answer.data:
        _check(item.b64_json)


def _edit(client: openai.OpenAI, _key: str, number: int) -> None:
    image = ("image.png", image_bytes(red_image(size=(SIDE + number % 8, SIDE)), "PNG"))
    answer = client.images.edit(image=image, prompt="a blue heart", extra_body={"strength": "0.6"})
    assert answer.data
    _check(answer.data[0].b64_json)


def _job(client: openai.OpenAI, key: str, number: int) -> None:
    """Submit a job under a name that the attacker knows, wait for it, take its image, and delete it."""
    path = f"/images/jobs/{job_name(key, number)}"
    prompt = f"a green star of {key}, number {number}"
    submitted: Any = client.put(path, cast_to=object, body={"prompt": prompt})
    assert submitted["prompt"] == prompt
    found: list[Any] = []

    def has_ended() -> bool:
        found.append(client.get(path, cast_to=object))
        return found[-1]["completed_at"] is not None

    wait_until(has_ended, f"the job {path} has ended", deadline_s=_JOB_S)
    assert (found[-1]["status"], found[-1]["prompt"]) == ("completed", prompt)
    result: Any = client.get(f"{path}/result", cast_to=object)
    _check(result["data"][0]["b64_json"])
    client.delete(path, cast_to=object)


def _check(encoded: str | None) -> None:
    assert encoded
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    image.load()
    assert image.size == (SIDE, SIDE)
