"""Each route with each kind of client: without a key, with a wrong one, another owner, the owner, an administrator.

The routes are those of the application: one that is added without a row in the table fails the first test.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api.http.access_log import PREFIXES
from config.settings import RedisSettings
from tests.api.api_support import AT_ONCE, Api, serving, settings_for
from tests.security.owners import ADMIN, BODY, JOBS, KEYS, ONE, TWO, put, write_keys
from tests.support.redis_server import RunningRedis


class Who(StrEnum):
    """The kinds of clients."""

    NO_KEY = "no key"
    WRONG_KEY = "wrong key"
    OTHER = "other owner"
    OWNER = "owner"
    ADMINISTRATOR = "administrator"


HEADERS: dict[Who, dict[str, str]] = {
    Who.NO_KEY: {},
    Who.WRONG_KEY: {"Authorization": "Bearer wrong"},
    Who.OTHER: TWO,
    Who.OWNER: ONE,
    Who.ADMINISTRATOR: ADMIN,
}
# The statuses of no key, wrong key, other owner, owner, administrator.
Statuses = tuple[int, int, int, int, int]
OPEN: Statuses = (200, 200, 200, 200, 200)


def keyed(status: int) -> Statuses:
    """Any key."""
    return (401, 401, status, status, status)


def owned(status: int) -> Statuses:
    """The key of the job's owner; administrators have no right to the jobs of others."""
    return (401, 401, 404, status, 404)


def administrators(status: int) -> Statuses:
    return (401, 401, 403, 403, status)


# {job_id} is a completed job of the owner, {token} is that of its image.
TABLE: dict[tuple[str, str], Statuses] = {
    ("POST", "/images/generations"): keyed(202),
    ("POST", "/images/edits"): keyed(400),  # the body has no image
    ("POST", "/images/variations"): keyed(400),
    ("POST", "/images/jobs"): keyed(202),
    # A name of one's own is free for each owner.
    ("PUT", "/images/jobs/{job_id}"): (401, 401, 202, 200, 202),
    ("GET", "/images/queue"): keyed(200),
    ("GET", "/images/queue/owners"): administrators(200),
    ("GET", "/images/queue/workers"): administrators(200),
    ("GET", "/images/queue/jobs"): administrators(200),
    ("GET", "/images/queue/errors"): administrators(200),
    ("POST", "/images/jobs/{job_id}/front"): administrators(409),  # it has ended
    ("POST", "/images/queue/pause"): administrators(200),
    ("POST", "/images/queue/resume"): administrators(200),
    ("POST", "/images/jobs/cancel"): keyed(200),
    ("GET", "/me"): keyed(200),
    ("GET", "/images/jobs"): keyed(200),
    ("GET", "/images/jobs/events"): keyed(200),
    ("GET", "/images/jobs/{job_id}"): owned(200),
    ("GET", "/images/jobs/{job_id}/result"): owned(200),
    ("GET", "/images/jobs/{job_id}/content"): owned(200),
    ("GET", "/images/jobs/{job_id}/events"): owned(200),
    ("POST", "/images/jobs/{job_id}/cancel"): owned(200),
    ("DELETE", "/images/jobs/{job_id}"): owned(200),
    # The signature is the permission.
    ("GET", "/images/files/{token}.{suffix}"): OPEN,
    ("GET", "/models"): keyed(200),
    ("GET", "/models/{name:path}"): keyed(200),
    ("GET", "/config"): keyed(200),
    ("POST", "/config/reload"): administrators(200),
    ("POST", "/lora_adapters"): administrators(400),  # the body names no source
    ("POST", "/lora_adapters/refresh"): administrators(400),  # there is no folder
    ("DELETE", "/lora_adapters/{alias}"): administrators(404),
    ("GET", "/v2/health/live"): OPEN,
    ("GET", "/v2/health/ready"): (503, 503, 503, 503, 503),  # no worker runs; no key changes that
    ("GET", "/metrics"): keyed(200),
    ("GET", "/v2"): OPEN,
    ("GET", "/v2/models/{name:path}"): keyed(200),
    ("GET", "/v2/models/{name:path}/ready"): keyed(503),  # no worker runs
}
# The stream of all jobs would not end.
PARAMETERS = {"/images/jobs/events": {"timeout_s": 0}}
# Pages of the documentation and their scripts, which FastAPI adds; they hold nothing of anyone.
DOCUMENTATION = {"/", "/openapi.json", "/docs", "/swagger-ui"}


def _routes(app: FastAPI) -> set[tuple[str, str]]:
    """Return method and path of each route, those of clients without their prefix."""
    found: set[tuple[str, str]] = set()
    for route in iter_route_contexts(app.routes):
        path = str(route.path)
        if path not in DOCUMENTATION:
            prefix = next((prefix for prefix in PREFIXES if path.startswith(f"{prefix}/")), "")
            methods = set(route.methods or {"any"}) - {"HEAD"}
            found |= {(method, path.removeprefix(prefix)) for method in methods}
    return found


@pytest.fixture(scope="module")
def api(redis_server: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    key_file = write_keys(tmp_path_factory.mktemp("keys") / "keys", *KEYS)
    with serving(settings_for(redis_server.settings, {"api_key_file": key_file})) as running:
        yield running


def test_every_route_of_the_application_stands_in_the_table(api: Api) -> None:
    assert _routes(api.app) == set(TABLE)


@pytest.mark.parametrize(("method", "path"), TABLE, ids=str)
def test_a_route_answers_each_kind_of_client(api: Api, redis_settings: RedisSettings, method: str, path: str) -> None:
    assert redis_settings == api.redis
    found = {who: _ask(api, method, path, HEADERS[who]) for who in Who}
    assert tuple(found.values()) == TABLE[method, path], found


def _ask(api: Api, method: str, path: str, headers: dict[str, str]) -> int:
    """Let a job of the owner be drawn, send one request about it, and return the status."""
    job = {**BODY, "response_format": "url"}
    with api.asking(json=job, headers=ONE) as answer:
        job_id = api.next_job()
        api.complete(job_id)
        token = answer().json()["data"][0]["url"].rpartition("/")[2].removesuffix(".png")
    if (method, path) == ("PUT", "/images/jobs/{job_id}"):
        put(api, job_id, ONE, 200, **job)
    known = {"{token}": token, "{suffix}": "png", "{job_id}": job_id, "{alias}": "none", "{name:path}": "demo"}
    for name, value in known.items():
        path = path.replace(name, value)
    prefix = "" if path.startswith("/v2") or path == "/metrics" else "/v1" if path.startswith("/config") else "/v3"
    body: dict[str, Any] = {"json": job} if method in ("POST", "PUT") else {"params": PARAMETERS.get(path)}
    answered = api.http.request(method, f"{prefix}{path}", headers={**AT_ONCE, **headers}, **body)
    # What the request made is removed: the next one asks for the first job of the queue.
    for owner in (ONE, TWO, ADMIN):
        for made in api.http.get(JOBS, headers=owner).json()["data"]:
            assert api.http.delete(f"{JOBS}/{made['id']}", headers=owner).status_code == 200
    return answered.status_code
