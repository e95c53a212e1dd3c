"""Every error answer is counted exactly once in ``imagegen_http_errors_total``, wherever it is made."""

import contextlib
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from tests.api.api_support import Api, error_of, serving, settings_for
from tests.support.redis_server import RunningRedis

GENERATIONS, EDITS = "/v3/images/generations", "/v3/images/edits"


def _fails_unexpectedly(app: FastAPI) -> None:
    async def fail() -> None:
        raise RuntimeError("a defect")

    app.add_api_route("/defect", fail)


@pytest.fixture(scope="module")
def api(redis_server: RunningRedis) -> Iterator[Api]:
    settings = settings_for(redis_server.settings, {"max_body_bytes": 10_000, "body_timeout_s": 0.5})
    with serving(settings, _fails_unexpectedly) as running:
        yield running


def _counts(api: Api) -> dict[str, float]:
    families = text_string_to_metric_families(api.http.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return {sample.labels["code"]: sample.value for sample in samples if sample.name == "imagegen_http_errors_total"}


def _stated_length(api: Api, length: int, body: bytes = b"") -> httpx2.Response:
    """The answer to a body that is announced with this length and not sent beyond ``body``."""
    with contextlib.closing(HTTPConnection(api.http.base_url.host, api.http.base_url.port, timeout=20)) as connection:
        connection.putrequest("POST", GENERATIONS)
        connection.putheader("Content-Length", str(length))
        connection.endheaders(body)
        answered = connection.getresponse()
        return httpx2.Response(answered.status, headers=answered.getheaders(), content=answered.read())


def _chunked(api: Api, length: int) -> httpx2.Response:
    with contextlib.closing(httpx2.Client(base_url=api.http.base_url)) as http:
        return http.post(GENERATIONS, content=iter([b"x" * 1000] * (length // 1000)))


@pytest.mark.parametrize(
    ("refused", "status", "code"),
    [
        (lambda api: api.http.get("/nowhere"), 404, "not_found"),
        (lambda api: api.http.put("/v3/models"), 405, "method_not_allowed"),
        (lambda api: _stated_length(api, 10_001), 413, "request_too_large"),
        (lambda api: _chunked(api, 20_000), 413, "request_too_large"),
        (lambda api: _stated_length(api, 100, b"{"), 408, "request_timeout"),
        (lambda api: api.http.get("/defect"), 500, "internal_error"),
        (lambda api: api.http.post(GENERATIONS, json={"prompt": "x", "n": 0}), 400, "invalid_value"),
        (lambda api: api.http.get("/v3/images/jobs?limit=0"), 400, "invalid_value"),
        (lambda api: api.http.get("/v3/images/jobs/none"), 404, "job_not_found"),
    ],
    ids=["route", "method", "stated-length", "received-length", "slow-body", "defect", "value", "query", "job"],
)
def test_an_error_is_counted_once_by_its_code(
    api: Api, refused: Callable[[Api], httpx2.Response], status: int, code: str
) -> None:
    before = _counts(api)
    assert error_of(refused(api), status)["code"] == code
    after = _counts(api)
    more = {name: count - before.get(name, 0.0) for name, count in after.items()}
    assert {name: count for name, count in more.items() if count} == {code: 1}


def test_a_form_that_cannot_be_parsed_is_counted_without_a_code(api: Api) -> None:
    before = _counts(api)
    headers: dict[str, Any] = {"Content-Type": "multipart/form-data"}
    assert error_of(api.http.post(EDITS, content=b"x", headers=headers), 400)["code"] is None
    after = _counts(api)
    assert after["none"] == before.get("none", 0.0) + 1


def test_an_answer_without_an_error_is_not_counted(api: Api) -> None:
    before = _counts(api)
    assert api.http.get("/v3/models").status_code == 200
    assert _counts(api) == before
