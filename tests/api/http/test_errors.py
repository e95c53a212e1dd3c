import contextlib
import re
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from api.http.errors import STATUS, ReloadFailed, status_of
from config.settings import RedisSettings
from graphs import errors
from tests.api.api_support import AT_ONCE, Api, error_of, serving, settings_for
from tests.support.images import image_bytes, red_image

GENERATIONS, EDITS = "/v3/images/generations", "/v3/images/edits"


def _family(cls: type[errors.ImagegenError]) -> list[type[errors.ImagegenError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in _family(sub))]


# An error of the engine's own never leaves the worker, and may be imported here by another test of this process.
FAMILY = [cls for cls in _family(errors.ImagegenError) if not cls.__module__.startswith("workers.engine")]
EXPECTED = {
    "ImagegenError": 500,
    "ConfigurationError": 500,
    "GraphError": 500,
    "RepositoryError": 500,
    "InvalidRequest": 400,
    "InvalidImage": 400,
    "RequestTooLarge": 413,
    "RequestTooSlow": 408,
    "OperationNotAvailable": 400,
    "ModelNotFound": 404,
    "JobNotCompleted": 400,
    "IdempotencyConflict": 422,
    "AuthenticationFailed": 401,
    "NotAllowed": 403,
    "JobNotFound": 404,
    "JobNotWaiting": 409,
    "ArtifactExpired": 410,
    "QueueFull": 429,
    "RateLimited": 429,
    "StoreFull": 503,
    "ServiceUnavailable": 503,
    "ShuttingDown": 503,
    "JobFailed": 500,
    "EngineError": 500,
}


def _made(cls: type[errors.ImagegenError]) -> errors.ImagegenError:
    timed = (errors.QueueFull, errors.RateLimited, errors.ShuttingDown)
    more: dict[str, Any] = {"retry_after_s": 7} if cls in timed else {}
    return cls("It is so.", **more)


@pytest.mark.parametrize("cls", FAMILY, ids=lambda cls: str(cls.__name__))
def test_every_error_has_a_status(cls: type[errors.ImagegenError]) -> None:
    status = status_of(_made(cls))
    assert status == EXPECTED.get(cls.__name__, status)
    assert 400 <= status < 600
    assert cls.__doc__
    assert re.fullmatch(r"[a-z_]+", cls.code)


def test_no_error_is_forgotten() -> None:
    assert set(EXPECTED) <= {cls.__name__ for cls in FAMILY}
    assert set(STATUS) <= set(FAMILY)


class _Typed(BaseModel):
    count: int


def _raising(app: FastAPI) -> None:
    """Add to the real application a route that ends in each error."""
    for cls in FAMILY:

        async def fail(cls: str = cls.__name__) -> None:
            raise next(_made(found) for found in FAMILY if found.__name__ == cls)

        app.add_api_route(f"/raise/{cls.__name__}", fail)

    async def unforeseen() -> None:
        raise RuntimeError("a secret path /home/x")

    async def invalid() -> None:
        _Typed.model_validate({"count": "x"})

    app.add_api_route("/raise/unforeseen", unforeseen, methods=["GET", "POST"])
    app.add_api_route("/raise/validation", invalid)


@pytest.fixture(scope="module")
def failing(redis_server: Any) -> Iterator[Api]:
    settings = settings_for(redis_server.settings, {"max_body_bytes": 200_000, "max_image_pixels": 10_000})
    with serving(settings, _raising) as running:
        yield running


@pytest.mark.parametrize("cls", [one for one in FAMILY if one is not ReloadFailed], ids=lambda cls: str(cls.__name__))
def test_every_error_is_answered_in_openais_form(failing: Api, cls: type[errors.ImagegenError]) -> None:
    made = _made(cls)
    answer = failing.http.get(f"/raise/{cls.__name__}")
    error = error_of(answer, status_of(made))
    assert (error["message"], error["param"], error["code"]) == (made.message, None, cls.code)


def test_a_failed_reload_is_answered_in_model_servers_form(failing: Api) -> None:
    answer = failing.http.get("/raise/ReloadFailed")
    assert (answer.status_code, answer.json()) == (412, {"error": _made(ReloadFailed).message})


@pytest.mark.parametrize(
    ("path", "header", "value"),
    [
        ("QueueFull", "retry-after", "7"),
        ("RateLimited", "retry-after", "7"),
        ("ServiceUnavailable", "retry-after", "2"),
        ("StoreFull", "retry-after", "30"),
        ("JobFailed", "x-should-retry", "false"),
        ("AuthenticationFailed", "www-authenticate", "Bearer"),
        ("InvalidRequest", "retry-after", None),
        ("InvalidRequest", "x-should-retry", None),
    ],
)
def test_an_error_has_the_headers_of_its_retry(failing: Api, path: str, header: str, value: str | None) -> None:
    assert failing.http.get(f"/raise/{path}").headers.get(header) == value


def test_an_unexpected_error_does_not_leak(failing: Api) -> None:
    answer = failing.http.get("/raise/unforeseen", headers={"x-request-id": "mine"})
    error = error_of(answer, 500)
    assert error["code"] == "internal_error"
    assert "secret" not in answer.text
    assert "RuntimeError" not in answer.text
    assert answer.headers["x-request-id"] == "mine"


def test_a_connection_survives_an_unexpected_error(failing: Api) -> None:
    for _ in range(3):
        answer = failing.http.get("/raise/unforeseen")
        error_of(answer, 500)
        assert answer.headers.get("connection") != "close"
    assert failing.http.get("/v2/health/live").status_code == 200


def test_a_validation_error_names_the_parameter(failing: Api) -> None:
    assert error_of(failing.http.get("/raise/validation"))["param"] == "count"


@pytest.mark.parametrize("path", ["/v3", "/v2/images/generations", "/v3/images", "/v3/images/files/x", "/%00", "/%ff"])
def test_an_unknown_route_is_answered_in_openais_form(api: Api, path: str) -> None:
    error = error_of(api.http.get(path), 404)
    assert (error["code"], error["param"]) == ("not_found", None)
    assert "/docs" in error["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", GENERATIONS),
        ("PUT", EDITS),
        ("DELETE", "/v1/models"),
        ("POST", "/v2/health/live"),
        ("GET", "/v3/images/jobs/x/cancel"),
        ("HEAD", GENERATIONS),
    ],
)
def test_a_wrong_method_is_answered_in_openais_form(api: Api, method: str, path: str) -> None:
    answer = api.http.request(method, path)
    assert answer.headers["allow"]
    if method == "HEAD":
        assert (answer.status_code, answer.headers["x-request-id"] != "") == (405, True)
    else:
        assert error_of(answer, 405)["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", [GENERATIONS, EDITS, "/v1/images/generations"])
def test_a_body_over_the_limit_is_refused_by_its_stated_length(failing: Api, path: str) -> None:
    with contextlib.closing(HTTPConnection(failing.http.base_url.host, failing.http.base_url.port)) as connection:
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(10**12))
        connection.endheaders()
        answered = connection.getresponse()
        answer = httpx2.Response(answered.status, headers=answered.getheaders(), content=answered.read())
    error = error_of(answer, 413)
    assert (error["code"], "200000 bytes" in error["message"]) == ("request_too_large", True)


def _trickle(*chunks: bytes) -> Iterator[bytes]:
    yield from chunks


@pytest.mark.parametrize(
    ("path", "kind", "head"),
    [
        (GENERATIONS, "application/json", b'{"prompt": "'),
        (EDITS, "application/json", b'{"prompt": "'),
        (EDITS, "multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'),
        (
            EDITS,
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n',
        ),
    ],
)
def test_a_body_over_the_limit_is_refused_while_it_is_read(failing: Api, path: str, kind: str, head: bytes) -> None:
    body = _trickle(head, *[b"x" * 50_000] * 6)
    with contextlib.closing(httpx2.Client(base_url=failing.http.base_url)) as http:
        answer = http.post(path, content=body, headers={"Content-Type": kind})
    assert error_of(answer, 413)["code"] == "request_too_large"


@pytest.mark.parametrize(
    ("path", "kind"), [(GENERATIONS, "application/json"), (EDITS, "multipart/form-data; boundary=b")]
)
def test_a_body_that_does_not_come_is_not_waited_for(redis_settings: RedisSettings, path: str, kind: str) -> None:
    with (
        serving(settings_for(redis_settings, {"body_timeout_s": 0.5})) as own,
        contextlib.closing(HTTPConnection(own.http.base_url.host, own.http.base_url.port, timeout=30)) as connection,
    ):
        connection.putrequest("POST", path)
        connection.putheader("Content-Type", kind)
        connection.putheader("Content-Length", "100")
        connection.endheaders(b"--b")
        answered = connection.getresponse()
        answer = httpx2.Response(answered.status, headers=answered.getheaders(), content=answered.read())
        assert error_of(answer, 408)["code"] == "request_timeout"
        assert answer.headers["connection"] == "close"
        assert own.http.get("/v2/health/live").status_code == 200


def test_a_request_is_waited_for_longer_than_its_body(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings, {"body_timeout_s": 0.2})) as own:
        answer = own.http.post(GENERATIONS, json={"prompt": "x"}, headers={"Prefer": "wait=1"})
        assert answer.status_code == 202, "no worker runs the job"


def test_a_body_at_the_limit_is_read(failing: Api, redis_settings: RedisSettings) -> None:
    body = b'{"prompt": "x"' + b" " * (200_000 - 15) + b"}"
    headers = {"Content-Type": "application/json", **AT_ONCE}
    assert len(body) == failing.settings.http.max_body_bytes
    assert failing.http.post(GENERATIONS, content=body, headers=headers).status_code == 202
    assert failing.http.post(GENERATIONS, content=_trickle(body), headers=headers).status_code == 202


def test_an_image_with_too_many_pixels_is_refused(failing: Api) -> None:
    files = {"image": ("a.png", image_bytes(red_image(size=(101, 100))), "image/png")}
    error = error_of(failing.http.post(EDITS, data={"prompt": "x"}, files=files), 413)
    assert (error["param"], error["code"]) == ("image", "image_too_large")


@pytest.mark.parametrize("given", ["abc", "req_1.2:3-4", "x" * 128])
def test_the_clients_own_request_id_comes_back(api: Api, given: str) -> None:
    for path, status in (("/v2/health/live", 200), ("/nowhere", 404)):
        answer = api.http.get(path, headers={"x-request-id": given})
        assert (answer.status_code, answer.headers.get_list("x-request-id")) == (status, [given])


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "ж".encode(), "a,b", "<script>"])
def test_a_strange_request_id_is_replaced(api: Api, given: str | bytes) -> None:
    headers: Any = [("x-request-id", given)]
    answer = api.http.get("/v2/health/live", headers=headers)
    assert re.fullmatch(r"req_[0-9a-f]{24}", answer.headers["x-request-id"])


def test_request_ids_differ(api: Api) -> None:
    ids = {api.http.get("/v2/health/live").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize("host", ["[", "a:b:c", "", "x" * 3000, "a b", "[::1", "ж".encode()])
def test_a_strange_host_breaks_nothing(api: Api, host: str | bytes) -> None:
    headers: Any = [("Host", host), ("Prefer", "respond-async")]
    answer = api.http.post(GENERATIONS, json={"prompt": "x"}, headers=headers)
    assert answer.status_code in (202, 400)


def test_a_client_that_disconnects_while_it_sends_is_not_an_error(
    failing: Api, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted() -> Iterator[bytes]:
        yield b'{"prompt": "'
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), httpx2.Client(base_url=failing.http.base_url) as http:
        http.post(GENERATIONS, content=interrupted())
    assert failing.http.get("/v2/health/live").status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
