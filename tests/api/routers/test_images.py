import base64
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from api.answer.schemas import JobBody
from config.settings import RedisSettings
from tests.api.api_support import AT_ONCE, DATA_URL, PNG, Api, error_of, picture, serving, settings_for
from tests.redis_support import pause, running_redis, wait_until
from tests.workers.jobs.jobs_support import GRAPH, Upkeep, client
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.redis import keys

GENERATIONS, EDITS, JOBS = "/v3/images/generations", "/v3/images/edits", "/v3/images/jobs"
BODY = {"prompt": "a red circle"}
WORKER = WorkerPresence("w", GRAPH, "CPU", ready=True, operations=("generation", "edit", "inpainting"), seen_at=0.0)


@pytest.mark.parametrize(
    ("prefix", "prefer"),
    [("/v1", "respond-async"), ("/v3", "respond-async"), ("/v3", "wait=0"), ("/v1", "wait=1")],
)
def test_a_client_that_does_not_wait_gets_the_job(api: Api, prefix: str, prefer: str) -> None:
    began = time.monotonic()
    answer = api.http.post(f"{prefix}/images/generations", json=BODY, headers={"Prefer": prefer})
    job = answer.json()
    assert (answer.status_code, job["status"], job["object"]) == (202, "queued", "image.job")
    assert answer.headers["location"] == f"{api.http.base_url}{prefix}/images/jobs/{job['id']}".replace("//v", "/v")
    assert answer.headers["location"] == job["urls"]["self"]
    assert api.http.get(answer.headers["location"]).json()["id"] == job["id"]
    waited = time.monotonic() - began
    assert (waited >= 1) if "wait=1" in prefer else (waited < 1)


def test_of_several_prefer_headers_all_count(api: Api) -> None:
    headers = [("Prefer", "return=minimal"), ("Prefer", "respond-async")]
    assert api.http.post(GENERATIONS, json=BODY, headers=headers).status_code == 202


def test_a_job_has_every_key_always(api: Api) -> None:
    waiting = api.submitted()
    assert set(waiting) == set(JobBody.model_fields)
    api.complete(waiting["id"])
    completed = api.http.get(f"{JOBS}/{waiting['id']}").json()
    assert set(completed) == set(JobBody.model_fields)
    times = ("created_at", "started_at", "completed_at", "expires_at")
    assert all(type(completed[name]) is int for name in times)
    nulls = {name for name, value in waiting.items() if value is None}
    assert nulls == {"step", "total_steps", "eta_seconds", *times[1:], "error", "usage", "metadata"}


def test_a_job_tells_what_was_asked(api: Api) -> None:
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


def test_a_job_tells_how_far_it_is(api: Api) -> None:
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


def test_a_waiting_client_gets_its_picture_at_once(api: Api) -> None:
    with api.asking() as answer:
        api.complete(api.next_job())
        ended = time.monotonic()
        got = answer()
    assert time.monotonic() - ended < 2
    body = got.json()
    assert (got.status_code, type(body["created"])) == (200, int)
    assert base64.b64decode(body["data"][0]["b64_json"]) == PNG
    assert set(body) == {"created", "data", "background", "output_format", "size", "seed", "usage"}
    assert list(body["data"][0]) == ["b64_json"]
    assert "generate;dur=250.0" in got.headers["server-timing"]
    assert got.headers["x-imagegen-job-id"].startswith("imgjob_")


def test_a_picture_that_comes_in_time_is_the_answer(api: Api) -> None:
    with api.asking(headers={"Prefer": "wait=10"}) as answer:
        api.complete(api.next_job())
        assert answer().status_code == 200


@pytest.mark.parametrize(
    ("kind", "content_type"), [("png", "image/png"), ("jpeg", "image/jpeg"), ("webp", "image/webp")]
)
@pytest.mark.parametrize("prefix", ["/v1", "/v3"])
def test_a_picture_by_address_is_served(api: Api, kind: str, content_type: str, prefix: str) -> None:
    body = {**BODY, "response_format": "url", "output_format": kind, "n": 2}
    drawn = [picture(kind=kind.upper()), b"second"]
    with api.asking(url=f"{prefix}/images/generations", json=body) as answer:
        api.complete(api.next_job(), *drawn)
        data = answer().json()["data"]
    assert [list(entry) for entry in data] == [["url"], ["url"]]
    for entry, content in zip(data, drawn, strict=True):
        assert entry["url"].startswith(f"{str(api.http.base_url).rstrip('/')}{prefix}/images/files/")
        served = api.http.get(entry["url"])
        assert (served.status_code, served.content, served.headers["content-type"]) == (200, content, content_type)
        assert served.headers["x-content-type-options"] == "nosniff"


def _address(api: Api) -> str:
    with api.asking(json={**BODY, "response_format": "url"}) as answer:
        api.complete(api.next_job())
        address: str = answer().json()["data"][0]["url"]
    return address


def test_a_forged_address_leads_nowhere(api: Api) -> None:
    address = _address(api)
    root, _, token = address.rpartition("/")
    forged = [
        f"{root}/x{token}",
        f"{root}/a.png",
        f"{root}/a.b.c.png",
        address.replace(".png", ".jpeg"),
        f"{address}.png",
    ]
    for url in forged:
        assert error_of(api.http.get(url), 404)["code"] == "job_not_found"


def test_an_address_expires(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings, {"url_ttl_s": 1, "public_url": "http://nobody/base/"})) as own:
        address = _address(own)
        assert address.startswith("http://nobody/base/v3/images/files/")
        path = address.removeprefix("http://nobody/base")
        assert own.http.get(path).status_code == 200
        wait_until(lambda: own.http.get(path).status_code != 200)
        assert error_of(own.http.get(path), 410)["code"] == "artifact_expired"


def test_pictures_expire(api: Api) -> None:
    address = _address(api)
    job = api.submitted()
    api.complete(job["id"])
    with client(api.redis) as behind:
        behind.delete(*behind.keys(f"{keys.job('*')}:artifact:0"))
    assert error_of(api.http.get(address), 410)["code"] == "artifact_expired"
    assert error_of(api.http.get(job["urls"]["result"]), 410)["code"] == "artifact_expired"


@pytest.mark.parametrize("code", ["generation_failed", "worker_crashed", "internal_error"])
def test_a_failed_job_is_a_servers_error_with_its_reason(api: Api, code: str) -> None:
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


def test_a_cancelled_job_ends_the_waiting(api: Api) -> None:
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


def test_a_result_before_its_time_is_an_error_that_is_not_tried_again(api: Api) -> None:
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


def _every_route(api: Api) -> list[httpx.Response]:
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
def test_a_client_that_waits_is_not_thrown_out_when_redis_goes(tmp_path: Path) -> None:
    with running_redis(tmp_path) as own, serving(settings_for(own.settings)) as api:
        with api.asking(headers={"Prefer": "wait=3"}) as answer:
            api.next_job()
            own.kill()
            pause(0.5)
            got = answer()
        assert error_of(got, 503)["code"] == "service_unavailable"
        assert got.elapsed.total_seconds() >= 2.5


def test_v1_and_v3_are_the_same(api: Api) -> None:
    paths = api.app.openapi()["paths"]
    routes: dict[str, dict[str, Any]] = {prefix: {} for prefix in ("/v1", "/v3")}
    for path, operations in paths.items():
        if path[:3] in routes:
            routes[path[:3]][path[3:]] = {method: found["summary"] for method, found in operations.items()}
    assert routes["/v1"] == routes["/v3"]
    assert {"/images/generations", "/images/edits", "/models", "/models/{name}"} <= set(routes["/v1"])
    assert all(path[:3] in ("/v1", "/v2", "/v3") for path in paths if path != "/metrics")
    assert not [route for route in api.app.routes if isinstance(route, APIRoute) and route.path.startswith("/v3/v")]


def test_the_process_is_alive(api: Api) -> None:
    answer = api.http.get("/v2/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


def test_ready_means_a_worker_has_loaded(api: Api) -> None:
    upkeep = Upkeep(api.redis)
    for presence in (None, WORKER.__class__(**{**WORKER.__dict__, "ready": False})):
        if presence:
            upkeep.heartbeat(presence)
        error = error_of(api.http.get("/v2/health/ready"), 503)
        assert (error["code"], "demo" in error["message"]) == ("not_ready", True)
    upkeep.heartbeat(WORKER)
    assert api.http.get("/v2/health/ready").json() == {"status": "ready"}
    upkeep.leave("w")
    assert api.http.get("/v2/health/ready").status_code == 503


def test_an_operation_that_no_worker_can_do_is_refused(redis_settings: RedisSettings) -> None:
    Upkeep(redis_settings).heartbeat(WORKER.__class__(**{**WORKER.__dict__, "operations": ("generation",)}))
    edit = {"json": {**BODY, "images": [{"image_url": DATA_URL}]}}
    with serving(settings_for(redis_settings)) as own:
        error = error_of(own.http.post(EDITS, **edit))  # type: ignore[arg-type]
        assert (error["param"], error["code"]) == ("model", "operation_not_available")
        assert error["message"] == "Edit is not available for this model (demo)."
        assert own.submitted()["status"] == "queued"


@pytest.mark.parametrize("prefix", ["/v1", "/v3"])
def test_the_models_are_listed(api: Api, prefix: str) -> None:
    listed = api.http.get(f"{prefix}/models").json()
    found = {model["id"]: model for model in listed["data"]}
    assert (listed["object"], set(found)) == ("list", {"demo", "outline", "stripes", "mix"})
    assert found["mix"]["adapters"] == {"outline": 0.5, "stripes": 0.5}
    model = found["demo"]
    assert (model["id"], model["object"], model["kind"], model["base"]) == ("demo", "model", "base", "demo")
    assert type(model["created"]) is int
    assert api.http.get(f"{prefix}/models/demo").json() == model


@pytest.mark.parametrize("name", ["nothing", "a/b", "%D0%B6", "x" * 5000])
def test_an_unknown_model_is_not_found(api: Api, name: str) -> None:
    error = error_of(api.http.get(f"/v3/models/{name}"), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")


def test_an_edits_pictures_reach_the_worker(api: Api) -> None:
    files = {"image": ("a.png", picture("RGBA", (40, 24)), "image/png"), "mask": ("m.png", picture("L"), "image/png")}
    job = api.submitted(EDITS, data=BODY, files=files)
    _, claim = api.claim(job["id"])
    assert claim.image is not None
    assert claim.mask is not None
    assert claim.image.startswith(b"\x89PNG")
    assert claim.mask.startswith(b"\x89PNG")
    assert (job["operation"], claim.job.request.strength) == ("inpainting", 1.0)
