"""Requests for images: with and without waiting, their jobs, and their errors."""

import base64
import time
from pathlib import Path

import httpx2
import pytest

from api.answer.schemas import JobBody
from config.settings import RedisSettings
from tests.api.api_support import AT_ONCE, DATA_URL, PNG, Api, error_of, serving, settings_for
from tests.support.images import image_bytes, red_image
from tests.support.polling import pause
from tests.support.redis_server import running_redis
from tests.workers.jobs.jobs_support import GRAPH, Upkeep
from workers.jobs.observe.presence import WorkerPresence

GENERATIONS, EDITS, JOBS = "/v3/images/generations", "/v3/images/edits", "/v3/images/jobs"
BODY = {"prompt": "a red circle"}
WORKER = WorkerPresence("w", GRAPH, "CPU", ready=True, operations=("generation", "edit", "inpainting"), seen_at=0.0)


@pytest.mark.parametrize(
    ("prefix", "prefer"),
    [("/v1", "respond-async"), ("/v3", "respond-async"), ("/v3", "wait=0"), ("/v1", "wait=1")],
)
def test_a_client_that_does_not_wait_gets_the_job(api: Api, prefix: str, prefer: str) -> None:
    """No worker completes the job: an answer is here because the API did not wait for that, or not for longer."""
    answer = api.http.post(f"{prefix}/images/generations", json=BODY, headers={"Prefer": prefer})
    job = answer.json()
    assert (answer.status_code, job["status"], job["object"]) == (202, "queued", "image.job")
    assert answer.headers["location"] == f"{api.http.base_url}{prefix}/images/jobs/{job['id']}".replace("//v", "/v")
    assert answer.headers["location"] == job["urls"]["self"]
    assert api.job(job["id"])["status"] == "queued"
    assert api.http.get(answer.headers["location"]).json()["id"] == job["id"]


def test_several_prefer_headers_are_read_as_one(api: Api) -> None:
    headers = [("Prefer", "return=minimal"), ("Prefer", "respond-async")]
    assert api.http.post(GENERATIONS, json=BODY, headers=headers).status_code == 202


def test_a_job_has_every_key_always(api: Api) -> None:
    waiting = api.submitted()
    assert set(waiting) == set(JobBody.model_fields)
    api.complete(waiting["id"])
    completed = api.http.get(f"{JOBS}/{waiting['id']}").json()
    assert set(completed) == set(JobBody.model_fields)
    assert waiting["queue"] == {"depth": 1, "limit": 1000} and completed["queue"] is None
    times = ("created_at", "started_at", "completed_at", "expires_at")
    assert all(type(completed[name]) is int for name in times)
    nulls = {name for name, value in waiting.items() if value is None}
    later = {*times[1:], "started_at_ms", "completed_at_ms", "timings"}
    assert nulls == {"step", "total_steps", "eta_seconds", *later, "error", "usage", "metadata", "seeds"}


def test_a_job_reports_its_parameters(api: Api) -> None:
    job = api.submitted(json={**BODY, "n": 2, "size": "64x72", "seed": 5})
    expected = {
        "prompt": "a red circle",
        "n": 2,
        "size": "64x72",
        "seed": 5,
        "model": "demo",
        "operation": "generation",
    }
    assert {key: job[key] for key in expected} == expected


def test_a_job_reports_its_progress(api: Api) -> None:
    job = api.submitted()
    claims, claim = api.claim(job["id"])
    claims.progress(claim, 5, 20)
    running = api.http.get(f"{JOBS}/{job['id']}").json()
    expected = {"status": "in_progress", "progress": 25, "step": 5, "total_steps": 20, "queue_position": None}
    assert {key: running[key] for key in expected} == expected
    assert running["attempts"] == 1


def test_a_completed_job_has_a_result(api: Api) -> None:
    job = api.submitted(json={**BODY, "n": 2, "seed": 9})
    api.complete(job["id"], PNG, b"two")
    assert api.http.get(job["urls"]["self"]).json()["progress"] == 100
    result = api.http.get(job["urls"]["result"]).json()
    assert [base64.b64decode(entry["b64_json"]) for entry in result["data"]] == [PNG, b"two"]
    assert (result["seed"], result["size"], result["output_format"]) == (9, "128x128", "png")
    assert [entry.get("seed") for entry in result["data"]] == [9, None], "no seed draws the second image alone"


@pytest.mark.parametrize("response_format", ["b64_json", "url"])
def test_each_image_tells_its_own_seed(api: Api, response_format: str) -> None:
    asked = {"n": 3, "seed": 2**32 - 2, "seeds": "each", "response_format": response_format}
    job = api.submitted(json={**BODY, **asked})
    assert (job["seed"], job["seeds"]) == (2**32 - 2, "each")
    api.complete(job["id"], PNG, b"two", b"three")
    result = api.http.get(job["urls"]["result"]).json()
    assert [(response_format in entry, entry["seed"]) for entry in result["data"]] == [
        (True, 2**32 - 2),
        (True, 2**32 - 1),
        (True, 0),
    ]


def test_another_word_than_each_is_refused(api: Api) -> None:
    answer = api.http.post(GENERATIONS, json={**BODY, "seeds": "all"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "seeds")


def test_a_waiting_client_gets_its_image_at_once(api: Api) -> None:
    with api.asking() as answer:
        api.complete(api.next_job())
        ended = time.monotonic()
        got = answer()
    assert time.monotonic() - ended < 2
    body = got.json()
    assert (got.status_code, type(body["created"])) == (200, int)
    assert base64.b64decode(body["data"][0]["b64_json"]) == PNG
    assert set(body) == {"created", "data", "background", "output_format", "size", "seed", "usage"}
    assert list(body["data"][0]) == ["b64_json", "seed"]
    assert "generate;dur=250.0" in got.headers["server-timing"]
    later = api.http.get(f"{JOBS}/{got.headers['x-imagegen-job-id']}/result")
    assert later.headers["server-timing"] == got.headers["server-timing"]
    assert got.headers["x-imagegen-job-id"].startswith("imgjob_")


def test_an_image_completed_within_the_wait_is_the_answer(api: Api) -> None:
    with api.asking(headers={"Prefer": "wait=10"}) as answer:
        api.complete(api.next_job())
        assert answer().status_code == 200


@pytest.mark.parametrize("code", ["generation_failed", "worker_crashed", "internal_error"])
def test_a_failed_job_is_a_server_error_with_its_reason(api: Api, code: str) -> None:
    with api.asking() as answer:
        job_id = api.next_job()
        api.fail(job_id, code, "The device is gone.")
        got = answer()
    error = error_of(got, 500)
    assert (error["code"], error["message"]) == (code, "The device is gone.")
    assert got.headers["x-should-retry"] == "false"
    job = api.http.get(f"{JOBS}/{job_id}").json()
    assert (job["status"], job["error"]) == ("failed", {"code": code, "message": "The device is gone."})
    assert error_of(api.http.get(f"{JOBS}/{job_id}/result"), 500)["code"] == code


def test_the_cancellation_of_a_job_ends_the_wait(api: Api) -> None:
    with api.asking() as answer:
        job_id = api.next_job()
        assert api.http.post(f"{JOBS}/{job_id}/cancel").json()["status"] == "cancelled"
        got = answer()
    assert error_of(got, 400)["code"] == "job_cancelled"  # not one that SDKs try again
    assert api.http.post(f"{JOBS}/{job_id}/cancel").json()["status"] == "cancelled"


def test_a_running_job_is_cancelled_at_its_next_step(api: Api) -> None:
    job = api.submitted()
    claims, claim = api.claim(job["id"])
    assert api.http.post(job["urls"]["cancel"]).json()["status"] == "in_progress"
    assert claims.progress(claim, 1, 4) == "cancel"
    assert claims.cancelled(claim)
    assert api.http.get(job["urls"]["self"]).json()["status"] == "cancelled"


def test_a_completed_job_stays_completed(api: Api) -> None:
    job = api.submitted()
    api.complete(job["id"])
    assert api.http.post(job["urls"]["cancel"]).json()["status"] == "completed"
    assert api.http.get(job["urls"]["result"]).status_code == 200


def test_a_result_before_the_end_is_an_error_without_a_retry(api: Api) -> None:
    answer = api.http.get(api.submitted()["urls"]["result"])
    assert error_of(answer, 400)["code"] == "job_not_completed"


@pytest.mark.parametrize("path", ["", "/result"])
@pytest.mark.parametrize("job_id", ["imgjob_0", "x", "%00", "%D0%B6", "*", "a:image"])
def test_an_unknown_job_is_not_found(api: Api, job_id: str, path: str) -> None:
    answer = api.http.get(f"{JOBS}/{job_id}{path}")
    assert error_of(answer, 404)["code"] in ("job_not_found", "not_found")


def test_a_full_queue_is_refused_early(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings, max_queued=1)) as own:
        first = own.submitted()
        answer = own.http.post(GENERATIONS, json=BODY)
        error = error_of(answer, 429)
        assert (error["code"], error["type"]) == ("queue_full", "rate_limit_error")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        own.complete(first["id"])
        assert own.submitted()["queue_position"] == 0


def test_the_queue_position_counts_those_before(api: Api) -> None:
    jobs = [api.submitted() for _ in range(3)]
    assert [job["queue_position"] for job in jobs] == [0, 1, 2]
    api.claim(jobs[0]["id"])
    now = [api.http.get(job["urls"]["self"]).json()["queue_position"] for job in jobs]
    assert now == [None, 0, 1]


def _every_route(api: Api) -> list[httpx2.Response]:
    files = {"image": ("a.png", PNG, "image/png")}
    return [
        api.http.post(GENERATIONS, json=BODY),
        api.http.post(GENERATIONS, json=BODY, headers=AT_ONCE),
        api.http.post(EDITS, data=BODY, files=files),
        api.http.get(f"{JOBS}/imgjob_0"),
        api.http.get(f"{JOBS}/imgjob_0/result"),
        api.http.post(f"{JOBS}/imgjob_0/cancel"),
        api.http.get("/v2/health/ready"),
    ]


@pytest.mark.usefixtures("redis_processes")
def test_without_redis_everything_is_unavailable_soon(tmp_path: Path) -> None:
    with running_redis(tmp_path) as own, serving(settings_for(own.settings)) as api:
        assert api.submitted()["status"] == "queued"
        own.kill()
        for _ in range(2):
            began = time.monotonic()
            answers = _every_route(api)
            assert time.monotonic() - began < 3 * len(answers)
            assert all(answer.elapsed.total_seconds() < 3 for answer in answers)
            for answer in answers:
                assert error_of(answer, 503)["code"] == "service_unavailable"
                assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert api.http.get("/v2/health/live").status_code == 200
        assert api.http.get("/v3/models").status_code == 200


@pytest.mark.usefixtures("redis_processes")
def test_a_client_keeps_waiting_while_redis_is_away(tmp_path: Path) -> None:
    with running_redis(tmp_path) as own, serving(settings_for(own.settings)) as api:
        with api.asking(headers={"Prefer": "wait=3"}) as answer:
            api.next_job()
            own.kill()
            pause(0.5)
            got = answer()
        assert error_of(got, 503)["code"] == "service_unavailable"
        assert got.elapsed.total_seconds() >= 2.5


def test_an_operation_that_no_worker_can_do_is_refused(redis_settings: RedisSettings) -> None:
    Upkeep(redis_settings).heartbeat(WORKER.__class__(**{**WORKER.__dict__, "operations": ("generation",)}))
    edit = {"json": {**BODY, "images": [{"image_url": DATA_URL}]}}
    with serving(settings_for(redis_settings)) as own:
        error = error_of(own.http.post(EDITS, **edit))  # type: ignore[arg-type]
        assert (error["param"], error["code"]) == ("model", "operation_not_available")
        assert error["message"] == "Edit is not available for this model (demo)."
        assert own.submitted()["status"] == "queued"


def test_the_images_of_an_edit_reach_the_worker(api: Api) -> None:
    files = {
        "image": ("a.png", image_bytes(red_image("RGBA", (40, 24))), "image/png"),
        "mask": ("m.png", image_bytes(red_image("L")), "image/png"),
    }
    job = api.submitted(EDITS, data=BODY, files=files)
    _, claim = api.claim(job["id"])
    assert claim.image is not None
    assert claim.mask is not None
    assert claim.image.startswith(b"\x89PNG")
    assert claim.mask.startswith(b"\x89PNG")
    assert (job["operation"], claim.job.request.strength) == ("inpainting", 1.0)


@pytest.mark.parametrize(
    ("operations", "alpha", "drawn_as"),
    [
        (("generation", "edit", "inpainting"), 0, "inpainting"),
        (("generation", "edit", "inpainting"), 128, "edit"),
        (("generation", "edit"), 0, "edit"),
        (("generation", "inpainting"), 0, "inpainting"),
    ],
)
def test_transparent_pixels_are_a_mask_where_a_worker_inpaints(
    redis_settings: RedisSettings, operations: tuple[str, ...], alpha: int, drawn_as: str
) -> None:
    Upkeep(redis_settings).heartbeat(WORKER.__class__(**{**WORKER.__dict__, "operations": operations}))
    image = red_image("RGBA", (64, 64))
    image.paste((0, 0, 0, alpha), (0, 0, 64, 32))
    with serving(settings_for(redis_settings)) as own:
        job = own.submitted(EDITS, data=BODY, files={"image": ("a.png", image_bytes(image), "image/png")})
        _, claim = own.claim(job["id"])
    assert job["operation"] == drawn_as
    assert (claim.mask is not None) == (drawn_as == "inpainting")
    warnings = [] if drawn_as == "inpainting" else ["Transparent pixels of image were laid over white."]
    assert job["warnings"] == warnings


def test_an_opaque_image_needs_a_mask_where_workers_only_inpaint(redis_settings: RedisSettings) -> None:
    Upkeep(redis_settings).heartbeat(WORKER.__class__(**{**WORKER.__dict__, "operations": ("inpainting",)}))
    edit = {"json": {**BODY, "images": [{"image_url": DATA_URL}]}}
    with serving(settings_for(redis_settings)) as own:
        error = error_of(own.http.post(EDITS, **edit))  # type: ignore[arg-type]
    assert error["message"] == "Edit is not available for this model (demo)."


@pytest.mark.parametrize(
    ("mask", "warnings"),
    [
        ((64, 64), []),
        ((32, 32), []),
        ((64, 32), ["The mask of 64x32 is stretched to the shape of its image, 64x64; send a mask of the same shape."]),
    ],
)
def test_a_mask_that_is_stretched_is_reported(api: Api, mask: tuple[int, int], warnings: list[str]) -> None:
    files = {name: (f"{name}.png", image_bytes(red_image(size=size)), "image/png") for name, size in _sizes(mask)}
    assert api.submitted(EDITS, data={**BODY, "size": "64x64"}, files=files)["warnings"] == warnings


def _sizes(mask: tuple[int, int]) -> list[tuple[str, tuple[int, int]]]:
    return [("image", (64, 64)), ("mask", mask)]
