import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from fastapi import FastAPI

from config.settings import RedisSettings
from graphs.errors import ServiceUnavailable
from tests.api.api_support import DATA_URL, PNG, Api, error_of, serving, settings_for
from workers.jobs.claims import Preview
from workers.jobs.job import Job

JOBS, GENERATIONS, EDITS = "/v3/images/jobs", "/v3/images/generations", "/v3/images/edits"
BODY: dict[str, Any] = {"prompt": "a red circle"}
EDIT = {**BODY, "images": [{"image_url": DATA_URL}]}


@dataclass(frozen=True)
class Sent:
    """A server-sent event."""

    kind: str
    data: dict[str, Any]


def _events(text: str) -> list[Sent]:
    blocks = [block.splitlines() for block in text.split("\n\n") if block and not block.startswith(":")]
    found = [dict(line.split(": ", 1) for line in block) for block in blocks]
    numbers = [str(json.loads(fields["data"])["sequence_number"]) for fields in found if "id" in fields]
    assert [fields.pop("id") for fields in found if "id" in fields] == numbers
    assert all(set(fields) == {"event", "data"} for fields in found)
    return [Sent(fields["event"], json.loads(fields["data"])) for fields in found]


def _completed_job(api: Api) -> str:
    """Run a job with a preview to its end, and return its id."""
    job_id: str = api.submitted(json={**BODY, "partial_images": 1})["id"]
    claims, claim = api.claim(job_id)
    claims.progress(claim, 1, 2, Preview(0, 0, PNG))
    claims.progress(claim, 2, 2)
    assert claims.complete(claim, [PNG], {})
    return job_id


def _without_tokens(job: dict[str, Any]) -> dict[str, Any]:
    """Return the job without what changes from one second to the next: the tokens of addresses and their ends."""
    files = [{name: file[name] for name in ("media_type", "size_bytes", "width", "height")} for file in job["files"]]
    return {**job, "files": files}


def _drawing(api: Api, act: Callable[[str], object]) -> threading.Thread:
    """Act as a worker as soon as a job is queued."""
    thread = threading.Thread(target=lambda: act(api.next_job()))
    thread.start()
    return thread


def _streamed(api: Api, act: Callable[[str], object], path: str = GENERATIONS, **body: Any) -> str:
    thread = _drawing(api, act)
    answer = api.http.post(path, json={**(EDIT if path == EDITS else BODY), "stream": True, **body})
    thread.join(10)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return answer.text


def test_the_events_of_a_job_are_those_of_its_life(api: Api) -> None:
    job_id = _completed_job(api)
    events = _events(api.http.get(f"{JOBS}/{job_id}/events").text)
    kinds = ["queued", "in_progress", "progress", "preview", "progress", "completed"]
    assert [event.kind for event in events] == [event.data["type"] for event in events] == kinds
    assert [event.data["sequence_number"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert {event.data["job_id"] for event in events} == {job_id}
    assert events[0].data["queue_position"] == 0
    times = [event.data["at_ms"] for event in events]
    job = events[5].data["job"]
    in_order = [job["created_at_ms"], *times[:-1], job["completed_at_ms"], times[-1]]
    assert in_order == sorted(in_order)
    assert [event.data["progress"] for event in events if event.kind == "progress"] == [50, 99]
    assert base64.b64decode(events[3].data["b64_json"]) == PNG
    assert _without_tokens(events[5].data["job"]) == _without_tokens(api.job(job_id))


@pytest.mark.parametrize("seen", [0, 3, 5, 6])
def test_a_stream_resumes_after_a_number(api: Api, seen: int) -> None:
    job_id = _completed_job(api)
    events = _events(api.http.get(f"{JOBS}/{job_id}/events", params={"starting_after": seen}).text)
    assert [event.data["sequence_number"] for event in events] == list(range(seen + 1, 7))


@pytest.mark.parametrize("heard", ["", "3", "5", "x"])
def test_an_event_source_goes_on_where_it_broke_off(api: Api, heard: str) -> None:
    job_id = _completed_job(api)
    text = api.http.get(f"{JOBS}/{job_id}/events", headers={"Last-Event-ID": heard}).text
    ids = [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id:")]
    first = int(heard) + 1 if heard.isdigit() else 1
    assert ids == [str(number) for number in range(first, 7)]


def test_an_event_source_that_has_heard_the_end_gets_nothing_more(api: Api) -> None:
    job_id = _completed_job(api)
    assert api.http.get(f"{JOBS}/{job_id}/events", headers={"Last-Event-ID": "6"}).status_code == 204


def test_events_come_while_the_job_runs(api: Api) -> None:
    job_id = api.submitted()["id"]
    with api.http.stream("GET", f"{JOBS}/{job_id}/events") as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("event:"))
        assert next(lines) == "event: queued"
        claims, claim = api.claim(job_id)
        assert next(lines) == "event: in_progress"
        claims.progress(claim, 1, 4)
        assert next(lines) == "event: progress"
        api.http.post(f"{JOBS}/{job_id}/cancel")
        claims.cancelled(claim)
        assert list(lines) == ["event: cancelled"]


def test_a_failed_job_ends_with_its_reason(api: Api) -> None:
    job_id = api.submitted()["id"]
    api.fail(job_id, "worker_crashed", "It died.")
    last = _events(api.http.get(f"{JOBS}/{job_id}/events").text)[-1]
    assert (last.kind, last.data["job"]["error"]) == ("failed", {"code": "worker_crashed", "message": "It died."})


@pytest.fixture(scope="module")
def lively(redis_server: Any) -> Iterator[Api]:
    with serving(settings_for(redis_server.settings, {"heartbeat_s": 0.05})) as running:
        yield running


@pytest.mark.parametrize("of_a_job", [True, False])
def test_heartbeats_are_comments(lively: Api, redis_settings: RedisSettings, of_a_job: bool) -> None:
    path = f"{JOBS}/{lively.submitted()['id']}/events"
    asked = ("GET", path, None) if of_a_job else ("POST", GENERATIONS, {**BODY, "stream": True})
    with lively.http.stream(asked[0], asked[1], json=asked[2]) as answer:
        lines = answer.iter_lines()
        while next(lines) != ": still here":
            pass
        assert next(lines) == ""
    assert redis_settings == lively.redis


@pytest.mark.parametrize("path", [GENERATIONS, EDITS, "/v1/images/generations"])
def test_openais_stream_has_partial_images_and_an_image(api: Api, path: str) -> None:
    def draw(job_id: str) -> None:
        claims, claim = api.claim(job_id)
        assert claim.job.options.previews == 2
        for step in (1, 2):
            claims.progress(claim, step, 3, Preview(0, step - 1, b"half"))
        claims.complete(claim, [PNG], {})

    text = _streamed(api, draw, path, partial_images=2)
    events, family = _events(text), "image_edit" if path == EDITS else "image_generation"
    partial = f"{family}.partial_image"
    assert [event.kind for event in events] == [partial, partial, f"{family}.completed"]
    assert [event.data["partial_image_index"] for event in events[:2]] == [0, 1]
    required = {"type", "b64_json", "created_at", "size", "quality", "background", "output_format"}
    assert all(required <= set(event.data) and event.data["type"] == event.kind for event in events)
    assert events[2].data["usage"]["total_tokens"] == 0
    assert base64.b64decode(events[2].data["b64_json"]) == PNG


def test_openais_stream_has_nothing_that_breaks_its_parsers(api: Api) -> None:
    text = _streamed(api, lambda job_id: api.complete(job_id))
    assert {line.partition(":")[0] for line in text.splitlines()} <= {"", "event", "data"}


def test_every_image_has_its_completed_event(api: Api) -> None:
    text = _streamed(api, lambda job_id: api.complete(job_id, b"one", b"two", b"three"), n=3)
    events = _events(text)
    assert [event.kind for event in events] == ["image_generation.completed"] * 3
    assert [event.data["image_index"] for event in events] == [0, 1, 2]
    assert [base64.b64decode(event.data["b64_json"]) for event in events] == [b"one", b"two", b"three"]
    assert ["seed" in event.data for event in events] == [True, False, False]


def test_each_completed_event_tells_its_own_seed(api: Api) -> None:
    text = _streamed(api, lambda job_id: api.complete(job_id, b"one", b"two", b"three"), n=3, seed=5, seeds="each")
    events = _events(text)
    assert [event.data["seed"] for event in events] == [5, 6, 7]


def test_a_failure_is_an_error_event(api: Api) -> None:
    (event,) = _events(_streamed(api, lambda job_id: api.fail(job_id, "worker_crashed", "It died.")))
    error = {"message": "It died.", "type": "server_error", "param": None, "code": "worker_crashed"}
    assert (event.kind, event.data) == ("error", {"type": "error", "error": error})


def test_a_stream_waits_for_a_redis_that_is_away_when_it_ends(redis_settings: RedisSettings) -> None:
    def away_at_the_end(app: FastAPI) -> None:
        look, failures = app.state.service.artifacts, [ServiceUnavailable(), ServiceUnavailable()]

        async def artifacts(job: Job) -> list[bytes]:
            if failures:
                raise failures.pop()
            found: list[bytes] = await look(job)
            return found

        app.state.service.artifacts = artifacts

    with serving(settings_for(redis_settings), away_at_the_end) as own:
        (event,) = _events(_streamed(own, lambda job_id: own.complete(job_id)))
    assert event.kind == "image_generation.completed"


def test_a_cancel_ends_the_stream_with_an_error(api: Api) -> None:
    (event,) = _events(_streamed(api, lambda job_id: api.http.post(f"{JOBS}/{job_id}/cancel")))
    assert (event.kind, event.data["error"]["code"]) == ("error", "job_cancelled")


@pytest.mark.parametrize(
    ("body", "status"),
    [({"prompt": None}, 400), ({**BODY, "partial_images": 4}, 400), ({**BODY, "model": "nothing"}, 404)],
)
def test_a_refused_request_is_not_a_stream(api: Api, body: dict[str, Any], status: int) -> None:
    error_of(api.http.post(GENERATIONS, json={**body, "stream": True}), status)


def test_the_stock_client_reads_the_stream(api: Api) -> None:
    def draw(job_id: str) -> None:
        claims, claim = api.claim(job_id)
        claims.progress(claim, 1, 2, Preview(0, 0, b"half"))
        claims.complete(claim, [PNG], {})

    thread = _drawing(api, draw)
    with openai.OpenAI(base_url=f"{api.http.base_url.join('/v3')}", api_key="x", max_retries=0) as made:
        events = list(made.images.generate(prompt="x", model="demo", stream=True, partial_images=1))
    thread.join(10)
    assert [event.type for event in events] == ["image_generation.partial_image", "image_generation.completed"]


def test_the_stock_client_raises_the_error_event(api: Api) -> None:
    thread = _drawing(api, lambda job_id: api.fail(job_id, "worker_crashed", "It died."))
    made = openai.OpenAI(base_url=f"{api.http.base_url.join('/v3')}", api_key="x", max_retries=0)
    with made, pytest.raises(openai.APIError) as refusal:
        list(made.images.generate(prompt="x", model="demo", stream=True))
    thread.join(10)
    assert (refusal.value.code, refusal.value.message) == ("worker_crashed", "It died.")
