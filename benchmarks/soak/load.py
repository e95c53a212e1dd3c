"""The load of the soak: three keys that ask in every way there is, at times of their own."""

import base64
import io
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx2
import numpy as np
from PIL import Image

_TIMEOUT_S = 120.0
_POLL_S = 0.2
_BODY = {"prompt": "a red circle on a blue background", "size": "128x128", "steps": 8}
_ENDED = ("completed", "failed", "cancelled")


@dataclass
class Seen:
    """What came of the requests: how many of each kind, how long they took in seconds, and what was unexpected."""

    kinds: Counter[str] = field(default_factory=Counter)
    seconds: list[tuple[float, str, float]] = field(default_factory=list)  # how long, the kind, when it ended
    unexpected: list[str] = field(default_factory=list)


class KeyLoad(threading.Thread):
    """One API key's requests, at random times of a given mean rate, with as many threads as it takes."""

    def __init__(self, url: str, key: str, rate_per_s: float, seed: int, seen: Seen) -> None:
        super().__init__(name=f"load {seed}", daemon=True)
        self._http = httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=_TIMEOUT_S)
        self._rate_per_s = rate_per_s
        self._random = random.Random(seed)
        self._seen = seen
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._asking: list[threading.Thread] = []

    def run(self) -> None:
        """Ask until ``end``: the times do not depend on the answers."""
        due = time.monotonic()
        while not self._ends.wait(max(0.0, due - time.monotonic())):
            kind = self._random.choice(KINDS)
            thread = threading.Thread(target=self._ask, args=(kind, self._random.randrange(2**31)), daemon=True)
            thread.start()
            self._asking = [*filter(threading.Thread.is_alive, self._asking), thread]
            due += self._random.expovariate(self._rate_per_s)
        for asking in self._asking:
            asking.join(_TIMEOUT_S)

    def end(self) -> None:
        """Ask no more, and wait for what is under way."""
        self._ends.set()
        self.join()
        self._http.close()

    def ask(self, kind: str, seed: int) -> float:
        """Ask once and return how long it took. Raises AssertionError or httpx2.HTTPError for a wrong answer."""
        began = time.monotonic()
        _WAYS[kind](self._http, seed)
        return time.monotonic() - began

    def _ask(self, kind: str, seed: int) -> None:
        try:
            seconds = self.ask(kind, seed)
        except (AssertionError, httpx2.HTTPError, KeyError, ValueError) as error:
            with self._lock:
                self._seen.unexpected.append(f"{kind}: {type(error).__name__} {error}"[:300])
            return
        with self._lock:
            self._seen.kinds[kind] += 1
            self._seen.seconds.append((seconds, kind, time.monotonic()))


def _generate(http: httpx2.Client, seed: int, **more: object) -> None:
    answer = http.post("/v3/images/generations", json={**_BODY, "seed": seed, **more})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == more.get("n", 1)


def _job(http: httpx2.Client, seed: int) -> None:
    job = http.post("/v3/images/jobs", json={**_BODY, "seed": seed, "metadata": {"of": "the soak"}}).json()["id"]
    _wait(http, job, "completed")
    assert http.get(f"/v3/images/jobs/{job}/content").content.startswith(b"\x89PNG")


def _events(http: httpx2.Client, seed: int) -> None:
    job = http.post("/v3/images/jobs", json={**_BODY, "seed": seed}).json()["id"]
    assert "event: completed" in http.get(f"/v3/images/jobs/{job}/events").text


def _stream(http: httpx2.Client, seed: int) -> None:
    answer = http.post("/v3/images/generations", json={**_BODY, "seed": seed, "stream": True, "partial_images": 2})
    assert "image_generation.completed" in answer.text, answer.text[:300]


def _cancelled(http: httpx2.Client, seed: int) -> None:
    job = http.post("/v3/images/jobs", json={**_BODY, "seed": seed, "steps": 50}).json()["id"]
    http.post(f"/v3/images/jobs/{job}/cancel")
    _wait(http, job, "cancelled", "completed")


def _left(http: httpx2.Client, seed: int) -> None:
    try:
        http.post("/v3/images/generations", json={**_BODY, "seed": seed}, timeout=0.05)
    except httpx2.TimeoutException:
        return  # the client is gone, and its job is cancelled


def _refused(http: httpx2.Client, seed: int) -> None:
    answer = http.post("/v3/images/generations", json={**_BODY, "size": f"{seed % 1000}x7"})
    assert answer.status_code == 400, answer.text


def _edit(http: httpx2.Client, seed: int, *, mask: bool = False) -> None:
    files = {"image": ("in.jpg", _jpeg(seed % 40))}
    if mask:
        files["mask"] = ("mask.png", _MASK)
    fields = {"prompt": "a red circle", "size": "128x128", "steps": "8", "strength": "0.7", "seed": str(seed)}
    answer = http.post("/v3/images/edits", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    assert base64.b64decode(answer.json()["data"][0]["b64_json"])


def _wait(http: httpx2.Client, job: str, *expected: str) -> None:
    end = time.monotonic() + _TIMEOUT_S
    while (status := http.get(f"/v3/images/jobs/{job}").json()["status"]) not in _ENDED:
        assert time.monotonic() < end, f"{job} is {status}"
        threading.Event().wait(_POLL_S)
    assert status in expected, f"{job} is {status}"


def _jpeg(number: int) -> bytes:
    """Return a photograph of one of so many sizes."""
    height = 300 + 7 * number
    width = 400 + 13 * number
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def _mask_png() -> bytes:
    pixels = np.zeros((128, 128), np.uint8)
    pixels[32:96, 32:96] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


_MASK = _mask_png()
_WAYS: dict[str, Callable[[httpx2.Client, int], None]] = {
    "generation": _generate,
    "two images": lambda http, seed: _generate(http, seed, n=2),
    "as JPEG": lambda http, seed: _generate(http, seed, output_format="jpeg"),
    "by URL": lambda http, seed: _generate(http, seed, response_format="url"),
    "larger": lambda http, seed: _generate(http, seed, size=("192x128", "256x256")[seed % 2]),
    "adapter": lambda http, seed: _generate(http, seed, adapters={"outline": 0.6, "stripes": (seed % 10) / 10}),
    "edit": _edit,
    "inpainting": lambda http, seed: _edit(http, seed, mask=True),
    "job": _job,
    "events": _events,
    "stream": _stream,
    "cancelled": _cancelled,
    "left": _left,
    "refused": _refused,
}
KINDS = tuple(_WAYS)
