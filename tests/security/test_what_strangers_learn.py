"""Without a key, a server with keys says neither where Redis or its workers are, nor the names of its models."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import RedisSettings
from tests.api.api_support import Api, error_of, serving, settings_for
from tests.security.owners import KEYS, ONE, write_keys
from tests.support.redis_server import RunningRedis

READY = "/v2/health/ready"
AWAY = RedisSettings(url="redis://:hidden@127.0.0.1:1/0")
INTERNALS = ("127.0.0.1", "redis", ":1", "hidden", "demo", "CPU", "Error 111", socket.gethostname())


@pytest.fixture(scope="module")
def without_redis(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    key_file = write_keys(tmp_path_factory.mktemp("keys") / "keys", *KEYS)
    with serving(settings_for(AWAY, {"api_key_file": key_file})) as running:
        yield running


def internals_in(text: str) -> list[str]:
    """Return the internals that a text names."""
    return [name for name in INTERNALS if name.lower() in text.lower()]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, ONE], ids=["no key", "wrong", "right"])
def test_readiness_names_nothing_while_redis_is_away(
    without_redis: Api, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        answer = without_redis.http.get(READY, headers=headers)
    assert error_of(answer, 503)["message"] == "The job store cannot be used now."
    assert (answer.headers["retry-after"], internals_in(answer.text)) == ("2", [])
    assert "connecting to 127.0.0.1:1" in caplog.text  # the operator's log says where


def test_readiness_names_no_model_without_a_worker(
    redis_server: RunningRedis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(redis_server.settings, {"api_key_file": write_keys(tmp_path / "keys", *KEYS)})
    with serving(settings) as api:
        with caplog.at_level(logging.INFO):
            errors = [error_of(api.http.get(READY), 503) for _ in range(3)]
        expected = ("not_ready", "A model has no worker that has loaded it yet.")
        assert {(error["code"], error["message"]) for error in errors} == {expected}
        # The operator's log says which, once.
        assert caplog.text.count("graphs without a worker that has loaded them: demo") == 1
        api.app.state.drain.begin()
        error = error_of(api.http.get(READY), 503)
        assert (error["code"], error["message"]) == ("shutting_down", "The server is shutting down.")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v3/images/files/abc.def.png"), ("GET", "/v3/images/jobs"), ("POST", "/v3/images/generations")],
)
def test_no_answer_says_where_redis_is(without_redis: Api, method: str, path: str) -> None:
    body = {"prompt": "a red circle"} if method == "POST" else None
    answer = without_redis.http.request(method, path, headers=ONE, json=body)
    assert error_of(answer, 503)["message"] == "The job store (Redis) cannot be reached."
    assert "127.0.0.1" not in answer.text
