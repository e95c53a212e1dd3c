from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import openai
import pytest
from openai.pagination import SyncCursorPage
from PIL import Image

from api.answer.schemas import JobBody
from config.settings import RedisSettings
from tests.api.api_support import DATA_URL, PNG, Api, error_of, serving, settings_for
from tests.support.images import image_bytes, pixels, red_image
from tests.support.polling import wait_until
from tests.workers.jobs.jobs_support import with_step_times

JOBS = "/v3/images/jobs"
BODY: dict[str, Any] = {"prompt": "a red circle"}
FILES = {"image": ("a.png", PNG, "image/png")}


class Job(openai.BaseModel):
    id: str
    status: str


@pytest.fixture
def openai_client(api: Api) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{api.http.base_url}/v3".replace("//v3", "/v3"), api_key="x", max_retries=0) as made:
        yield made


@pytest.mark.parametrize(
    ("path", "request_body", "operation"),
    [
        ("/jobs", {"json": BODY}, "generation"),
        ("/jobs", {"json": {**BODY, "images": [{"image_url": DATA_URL}]}}, "edit"),
        ("/jobs", {"data": BODY, "files": FILES}, "edit"),
        ("/jobs", {"data": BODY, "files": {**FILES, "mask": FILES["image"]}}, "inpainting"),
        ("/jobs", {"json": {**BODY, "metadata": {"images": "no"}}}, "generation"),
        ("/generations", {"json": BODY}, "generation"),
        ("/edits", {"data": BODY, "files": FILES}, "edit"),
        ("/variations", {"files": FILES}, "edit"),
    ],
)
def test_every_body_can_be_a_job(api: Api, path: str, request_body: dict[str, Any], operation: str) -> None:
    answer = api.http.post(f"/v3/images{path}", **request_body, headers={"Prefer": "respond-async"})
    job = answer.json()
    assert (answer.status_code, job["operation"], set(job)) == (202, operation, set(JobBody.model_fields))
    assert answer.headers["location"] == job["urls"]["self"]
    assert api.http.get(answer.headers["location"]).json()["id"] == job["id"]


def test_a_jobs_route_never_waits(api: Api) -> None:
    """No worker completes the jobs, and a client that had to wait would give up long before the API does."""
    assert api.http.post(JOBS, json=BODY).status_code == 202
    assert api.http.post(JOBS, json=BODY, headers={"Prefer": "wait=600"}).status_code == 202


def _submitted(api: Api, count: int) -> list[str]:
    return [api.submitted()["id"] for _ in range(count)]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_openais_own_pager_walks_the_list(api: Api, openai_client: openai.OpenAI, order: str) -> None:
    ids = _submitted(api, 5)
    listed = openai_client.get_api_list(
        "/images/jobs", model=Job, page=SyncCursorPage[Job], options={"params": {"limit": 2, "order": order}}
    )
    assert [job.id for job in listed] == (ids if order == "asc" else ids[::-1])


def test_a_page_says_where_it_begins_and_ends(api: Api) -> None:
    ids = _submitted(api, 3)
    page = api.http.get(JOBS, params={"limit": 2}).json()
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", ids[2], ids[1], True)
    rest = api.http.get(JOBS, params={"limit": 2, "after": page["last_id"]}).json()
    assert ([job["id"] for job in rest["data"]], rest["has_more"]) == ([ids[0]], False)


def test_without_jobs_the_list_is_empty(api: Api) -> None:
    page = api.http.get(JOBS).json()
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_a_list_can_be_of_one_status(api: Api) -> None:
    ids = _submitted(api, 3)
    api.complete(ids[0])
    found = {
        status: [job["id"] for job in api.http.get(JOBS, params={"status": status}).json()["data"]]
        for status in ("queued", "completed", "failed")
    }
    assert found == {"queued": [ids[2], ids[1]], "completed": [ids[0]], "failed": []}


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("", "limit", "0"),
        ("", "limit", "101"),
        ("", "order", "up"),
        ("", "status", "done"),
        ("/x/content", "index", "-1"),
        ("/x/events", "starting_after", "x"),
        ("/x/events", "starting_after", "9" * 30),
    ],
)
def test_a_wrong_parameter_is_named(api: Api, path: str, name: str, value: str) -> None:
    assert error_of(api.http.get(f"{JOBS}{path}", params={name: value}))["param"] == name


def test_an_unknown_cursor_is_not_found(api: Api) -> None:
    error_of(api.http.get(JOBS, params={"after": "imgjob_0"}), 404)


def test_an_artifact_is_served_as_it_is_stored(api: Api) -> None:
    job = api.submitted(json={**BODY, "n": 2, "output_format": "webp"})
    api.complete(job["id"], b"one", b"two")
    contents = api.job(job["id"])["urls"]["content"]
    answers = [api.http.get(url) for url in contents]
    assert [answer.content for answer in answers] == [b"one", b"two"]
    assert {answer.headers["content-type"] for answer in answers} == {"image/webp"}
    assert api.http.get(f"{JOBS}/{job['id']}/content").content == b"one"
    error_of(api.http.get(f"{JOBS}/{job['id']}/content?index=2"), 404)


def test_a_job_tells_what_decided_its_image_and_how_long_each_stage_took(api: Api) -> None:
    job = api.submitted(json={**BODY, "seed": 7, "num_inference_steps": 4, "negative_prompt": "blue"})
    behind = api.submitted()
    assert [(one["waiting_for"], one["stage"], one["timings"]) for one in (job, behind)] == [
        ("worker", "waiting", None),
        ("worker", "waiting", None),
    ]
    claims, claim = api.claim(job["id"])
    assert [api.job(one["id"])["waiting_for"] for one in (job, behind)] == [None, "worker"]
    assert api.job(job["id"])["stage"] == "preparing"
    stages = []
    for step in (1, 4):
        claims.progress(claim, step, 4)
        stages.append(api.job(job["id"])["stage"])
    assert stages == ["drawing", "finishing"]
    assert claims.complete(claim, [PNG], {"denoise": 0.5, "encode": 0.25})
    done = api.job(job["id"])
    assert (done["stage"], done["waiting_for"]) == (None, None)
    assert done["timings"] == {"denoise": 0.5, "encode": 0.25, "queue": done["timings"]["queue"]}
    assert done["created_at_ms"] <= done["started_at_ms"] <= done["completed_at_ms"]
    assert [done[f"{name}_ms"] // 1000 for name in ("created_at", "started_at", "completed_at")] == [
        done[name] for name in ("created_at", "started_at", "completed_at")
    ]
    decided = done["parameters"]
    assert {name: decided[name] for name in ("rng_seed", "num_inference_steps", "negative_prompt", "width")} == {
        "rng_seed": 7,
        "num_inference_steps": 4,
        "negative_prompt": "blue",
        "width": int(done["size"].partition("x")[0]),
    }
    assert "graph" not in decided and "warnings" not in decided


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_an_image_is_scaled_down_for_a_page(api: Api, output_format: str) -> None:
    job = api.submitted(json={**BODY, "output_format": output_format})
    api.complete(job["id"], image_bytes(red_image(size=(200, 100)), output_format))
    url = f"{JOBS}/{job['id']}/content"
    whole = api.http.get(url).content
    small = api.http.get(url, params={"width": 50})
    assert np.abs(pixels(small.content).astype(int) - [255, 0, 0]).max() < 8
    with Image.open(BytesIO(small.content)) as image:
        assert (image.size, image.format) == ((50, 25), output_format.upper())
    assert small.headers["content-type"] == f"image/{output_format}"
    assert api.http.get(url, params={"width": 500}).content == whole
    assert error_of(api.http.get(url, params={"width": 8}), 400)["param"] == "width"


def test_deleting_takes_everything_away(api: Api) -> None:
    job = api.submitted()
    api.complete(job["id"])
    answer = api.http.delete(f"{JOBS}/{job['id']}")
    assert answer.json() == {"id": job["id"], "object": "image.job.deleted", "deleted": True}
    for path in ("", "/result", "/content", "/events"):
        error_of(api.http.get(f"{JOBS}/{job['id']}{path}"), 404)
    error_of(api.http.delete(f"{JOBS}/{job['id']}"), 404)
    assert api.http.get(JOBS).json()["data"] == []


def test_deleting_a_running_job_stops_it(api: Api) -> None:
    job = api.submitted()
    claims, claim = api.claim(job["id"])
    assert api.http.delete(f"{JOBS}/{job['id']}").status_code == 200
    assert claims.progress(claim, 1, 4) == "lost"


def test_a_client_chooses_the_id_once(api: Api) -> None:
    first = api.http.put(f"{JOBS}/my-job_1", json=BODY)
    again = api.http.put(f"{JOBS}/my-job_1", json=BODY)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"] == "my-job_1"
    assert first.headers["location"] == again.headers["location"]
    other = api.http.put(f"{JOBS}/my-job_1", json={"prompt": "another"})
    assert error_of(other, 422)["code"] == "idempotency_key_reused"


@pytest.mark.parametrize("job_id", ["a:b", "x" * 65, "a b", "%D0%B6", "a*", "a.b"])
def test_an_id_is_of_plain_characters(api: Api, job_id: str) -> None:
    assert error_of(api.http.put(f"{JOBS}/{job_id}", json=BODY))["param"] == "job_id"


def test_cancelling_twice_is_cancelling_once(api: Api) -> None:
    job = api.submitted()
    answers = [api.http.post(job["urls"]["cancel"]) for _ in range(2)]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "cancelled")] * 2


def test_an_expired_job_says_so(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings, result_ttl_s=1)) as own:
        job = own.submitted()
        own.complete(job["id"])
        assert own.job(job["id"])["status"] == "completed"
        wait_until(lambda: own.job(job["id"])["status"] == "expired")
        found = own.job(job["id"])
        assert (found["progress"], found["urls"]["content"]) == (100, [])
        listed = {
            status: [one["id"] for one in own.http.get(JOBS, params={"status": status}).json()["data"]]
            for status in ("completed", "expired")
        }
        assert listed == {"completed": [], "expired": [job["id"]]}
        for path in ("/result", "/content"):
            error = error_of(own.http.get(f"{JOBS}/{job['id']}{path}"), 410)
            assert error["code"] == "artifact_expired"


def test_a_poll_says_when_to_come_back(api: Api) -> None:
    job = api.submitted()
    first = api.http.get(f"{JOBS}/{job['id']}").headers
    assert (first["openai-poll-after-ms"], first["retry-after"]) == ("200", "1")
    with_step_times(api.redis, 1e6)
    slow = api.http.get(f"{JOBS}/{job['id']}").headers
    assert (slow["openai-poll-after-ms"], slow["retry-after"]) == ("10000", "10")
    api.complete(job["id"])
    assert "openai-poll-after-ms" not in api.http.get(f"{JOBS}/{job['id']}").headers


def test_a_stock_client_polls(api: Api, openai_client: openai.OpenAI) -> None:
    job = openai_client.post("/images/jobs", cast_to=Job, body=BODY)
    api.complete(job.id)
    assert openai_client.get(f"/images/jobs/{job.id}", cast_to=Job).status == "completed"


@pytest.mark.parametrize("metadata", [{}, {"a": ""}, {"k" * 64: "v" * 512}, {str(number): "x" for number in range(16)}])
def test_metadata_come_back(api: Api, metadata: dict[str, str]) -> None:
    job = api.submitted(json={**BODY, "metadata": metadata})
    assert api.job(job["id"])["metadata"] == metadata


@pytest.mark.parametrize(
    "metadata",
    [{"k" * 65: "v"}, {"k": "v" * 513}, {"": "v"}, {str(number): "x" for number in range(17)}, {"k": 1}, "x"],
)
def test_metadata_beyond_openais_limits_are_refused(api: Api, metadata: Any) -> None:
    error = error_of(api.http.post(JOBS, json={**BODY, "metadata": metadata}))
    assert str(error["param"]).startswith("metadata")


def test_a_priority_goes_first(api: Api) -> None:
    positions = [
        api.submitted(json={**BODY, "priority": priority})["queue_position"]
        for priority in ("low", "normal", None, "high", "low")
    ]
    assert positions == [0, 0, 1, 0, 4]
    assert error_of(api.http.post(JOBS, json={**BODY, "priority": "urgent"}))["param"] == "priority"


def test_an_idempotency_key_makes_one_job(api: Api) -> None:
    headers = {"Idempotency-Key": "k"}
    first, again = (api.http.post(JOBS, json=BODY, headers=headers).json()["id"] for _ in range(2))
    assert first == again
    other = api.http.post(JOBS, json={"prompt": "another"}, headers=headers)
    assert error_of(other, 422)["code"] == "idempotency_key_reused"
