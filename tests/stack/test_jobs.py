"""Jobs on the real pipelines: streamed, followed, cancelled, and the same images whichever way one asks."""

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest

from benchmarks.wire import ask
from tests.stack.conftest import Draw
from tests.support.images import pixels
from tests.support.polling import wait_until
from tests.support.service import Service

PROMPT = "a red circle on a blue background"
ASYNC = {"Prefer": "respond-async"}
EVERY = {"type", "b64_json", "created_at", "size", "quality", "background", "output_format"}
OURS = {"image_index", "seed"}
STEPS = 12
Event = tuple[str, dict[str, Any]]


def _events(text: str, *, with_ids: bool = False) -> list[Event]:
    """Read server-sent events as strictly as the pickiest client: nothing but event, data and comment lines.

    ``with_ids``: each event has its number in an ``id`` line, too.
    """
    found = []
    for block in filter(None, text.split("\n\n")):
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        if not lines:
            continue
        (name, value), (second, data), *more = (line.split(": ", 1) for line in lines)
        assert (name, second) == ("event", "data"), block
        event = json.loads(data)
        assert event["type"] == value
        assert more == ([["id", str(event["sequence_number"])]] if with_ids else []), block
        found.append((value, event))
    return found


def _streamed(service: Service, path: str, **request: Any) -> list[Event]:
    with service.http.stream("POST", f"/v3/images/{path}", **request) as answer:
        text = answer.read().decode()
    assert answer.status_code == 200, text
    assert answer.headers["content-type"].startswith("text/event-stream") and answer.headers["x-request-id"]
    return _events(text)


def _image(event: dict[str, Any]) -> "np.ndarray[Any, Any]":
    return pixels(base64.b64decode(event["b64_json"])).astype(float)


def _submitted(service: Service, **fields: Any) -> dict[str, Any]:
    answer = service.http.post("/v3/images/jobs", json={"prompt": PROMPT, "num_inference_steps": STEPS, **fields})
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def _job(service: Service, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = service.http.get(job["urls"]["self"]).json()
    return found


def _ended(service: Service, job: dict[str, Any]) -> dict[str, Any]:
    wait_until(lambda: _job(service, job)["completed_at"] is not None, "the job has ended")
    return _job(service, job)


def _followed(service: Service, job: dict[str, Any], after: int = 0) -> list[dict[str, Any]]:
    """Return a job's events. A signed address, which is another one in each second, is opened and left out."""
    with service.http.stream("GET", job["urls"]["events"], params={"starting_after": after}) as answer:
        events = [event for _, event in _events(answer.read().decode(), with_ids=True)]
    for file in [file for event in events[-1:] for file in event["job"]["files"]]:
        assert service.http.get(file.pop("url")).headers["content-type"] == file["media_type"]
    return events


def _stored(service: Service, job: dict[str, Any]) -> list[bytes]:
    assert _ended(service, job)["status"] == "completed"
    data = service.http.get(job["urls"]["result"]).json()["data"]
    return [base64.b64decode(item["b64_json"]) for item in data]


def test_a_stream_brings_partial_images_that_become_the_image(service: Service, draw: Draw) -> None:
    body = {"prompt": PROMPT, "stream": True, "partial_images": 2, "num_inference_steps": STEPS, "seed": 5}
    events = _streamed(service, "generations", json=body)
    assert [name for name, _ in events] == [
        f"image_generation.{kind}" for kind in ("partial_image",) * 2 + ("completed",)
    ]
    *partials, completed = (event for _, event in events)
    assert [set(event) - OURS for event in partials] == [EVERY | {"partial_image_index"}] * 2
    assert set(completed) - OURS == EVERY | {"usage"}
    assert [event["partial_image_index"] for event in partials] == [0, 1]
    assert {(e["size"], e["quality"], e["background"], e["output_format"]) for _, e in events} == {
        ("128x128", "auto", "opaque", "png")
    }
    assert base64.b64decode(completed["b64_json"]) == draw(seed=5, num_inference_steps=STEPS), "as without a stream"
    far, near = (float(np.abs(_image(event) - _image(completed)).mean()) for event in partials)
    assert far > near > 0, "each partial image is nearer to the end than the one before"


def test_a_stream_of_two_images_completes_each(service: Service) -> None:
    body = {"prompt": PROMPT, "stream": True, "partial_images": 1, "n": 2, "num_inference_steps": STEPS, "seed": 5}
    events = _streamed(service, "generations", json=body)
    kinds = [(name.partition(".")[2], event["image_index"]) for name, event in events]
    assert kinds == [("partial_image", 0), ("partial_image", 1), ("completed", 0), ("completed", 1)]
    partials, ends = events[:2], events[2:]
    apart = [[float(np.abs(_image(p) - _image(e)).mean()) for _, e in ends] for _, p in partials]
    assert apart[0][0] < apart[0][1] and apart[1][1] < apart[1][0], "each previews its own image"


@pytest.mark.parametrize("partial_images", [0, 2])
def test_an_edit_is_streamed(service: Service, draw: Draw, partial_images: int) -> None:
    fields = {"prompt": PROMPT, "stream": "true", "partial_images": str(partial_images), "strength": "0.6"}
    image = draw(seed=5)
    more = {"num_inference_steps": str(STEPS), "seed": "1"}
    events = _streamed(service, "edits", data={**fields, **more}, files={"image": image})
    assert [name for name, _ in events] == ["image_edit.partial_image"] * partial_images + ["image_edit.completed"]
    assert set(events[-1][1]) - OURS == EVERY | {"usage"}
    assert 0 < np.abs(_image(events[-1][1]) - pixels(image)).mean() < 40, "it is an edit of that image"


def test_a_stream_that_cannot_begin_is_an_ordinary_error(service: Service) -> None:
    answer = service.http.post("/v3/images/generations", json={"prompt": PROMPT, "stream": True, "n": 0})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "n")


def test_a_follower_gets_all_events_of_a_job_at_any_time(service: Service) -> None:
    job = _submitted(service)
    live = _followed(service, job)
    assert [event["sequence_number"] for event in live] == list(range(1, len(live) + 1))
    kinds = [event["type"] for event in live]
    steps = [(event["step"], event["total_steps"]) for event in live if event["type"] == "progress"]
    assert kinds == ["queued", "in_progress", *["progress"] * len(steps), "completed"]
    assert 0 < len(steps) <= STEPS and sorted(set(steps)) == steps  # steps that follow one another at once are one
    assert {total for _, total in steps} == {STEPS}
    assert live[-1]["job"]["status"] == "completed" and live[-1]["job"]["progress"] == 100
    assert _followed(service, job) == live, "afterwards as well"
    for after in (1, 7, len(live) - 1):
        assert _followed(service, job, after) == live[after:], "without loss or repetition"


@pytest.mark.parametrize("n", [1, 2])
def test_a_job_draws_what_a_blocking_request_draws(service: Service, n: int) -> None:
    fields = {"prompt": PROMPT, "seed": 7, "n": n, "num_inference_steps": STEPS}
    blocking = service.http.post("/v3/images/generations", json=fields).json()["data"]
    job = _submitted(service, seed=7, n=n)
    assert _stored(service, job) == [base64.b64decode(item["b64_json"]) for item in blocking]
    preferring = service.http.post("/v3/images/generations", json=fields, headers=ASYNC)
    assert preferring.status_code == 202 and preferring.headers["location"] == preferring.json()["urls"]["self"]
    assert _stored(service, preferring.json()) == _stored(service, job)
    contents = [service.http.get(url).content for url in _ended(service, job)["urls"]["content"]]
    assert contents == _stored(service, job)


def test_an_edit_as_a_job_draws_what_a_blocking_one_draws(service: Service, draw: Draw) -> None:
    request: dict[str, Any] = {
        "data": {"prompt": "a star", "strength": "0.5", "seed": "7"},
        "files": {"image": draw(seed=5)},
    }
    blocking = service.http.post("/v3/images/edits", **request).json()["data"][0]["b64_json"]
    job = service.http.post("/v3/images/jobs", **request).json()
    assert job["operation"] == "edit" and _stored(service, job) == [base64.b64decode(blocking)]


def test_a_running_job_is_cancelled_within_one_step(service: Service) -> None:
    job = _submitted(service, size="512x512", num_inference_steps=100)
    wait_until(lambda: (_job(service, job)["step"] or 0) >= 2, "it runs")
    answered = service.http.post(job["urls"]["cancel"]).json()
    ended = _ended(service, job)
    assert ended["status"] == "cancelled" and ended["step"] <= (answered["step"] or 0) + 1
    kinds = [event["type"] for event in _followed(service, job)]
    assert kinds[-1] == "cancelled" and kinds.count("progress") == ended["step"] < 100
    assert service.http.post(job["urls"]["cancel"]).json() == ended, "again: no effect"
    assert service.http.get(job["urls"]["result"]).json()["error"]["code"] == "job_cancelled"


def test_clients_may_wait_in_greater_number_than_redis_connections(service: Service) -> None:
    body = {"prompt": PROMPT, "size": "64x64", "num_inference_steps": 1}

    async def all_at_once() -> list[tuple[int, bytes]]:
        url = f"{service.url}/v3/images/generations"
        return await asyncio.gather(*(ask(url, {**body, "seed": number}) for number in range(150)))

    refused = {content for status, content in asyncio.run(all_at_once()) if status != 200}
    assert not refused


def test_a_waiting_job_is_cancelled_at_once(service: Service) -> None:
    running = _submitted(service, size="512x512", num_inference_steps=100)
    waiting = _submitted(service)
    assert _job(service, waiting)["queue_position"] is not None
    assert service.http.post(waiting["urls"]["cancel"]).json()["status"] == "cancelled"
    assert [event["type"] for event in _followed(service, waiting)] == ["queued", "cancelled"]
    service.http.post(running["urls"]["cancel"])
    assert _ended(service, running)["status"] == "cancelled"
