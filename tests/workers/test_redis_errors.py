import inspect
import socket
import time

import pytest
import redis.exceptions

from config.settings import RedisSettings
from graphs.errors import ConfigurationError, ServiceUnavailable
from tests.workers.jobs_support import claims_of, on_store
from workers.jobs.connection import redis_errors, redis_url

ALL = [kind for _, kind in inspect.getmembers(redis.exceptions, inspect.isclass) if issubclass(kind, Exception)]
NOBODY = RedisSettings(url="redis://127.0.0.1:1/0")


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: str(kind.__name__))
def test_every_error_of_redis_is_unavailability(kind: type[Exception]) -> None:
    with pytest.raises(ServiceUnavailable, match="job store") as refusal, redis_errors():
        raise kind("1 127.0.0.1:6379")
    assert isinstance(refusal.value.__cause__, kind)


def test_there_are_errors_to_try() -> None:
    assert {redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, redis.exceptions.ReadOnlyError} <= set(ALL)


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), redis_errors():
        raise KeyError("x")


def test_a_missing_url_is_the_operators_fault() -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        redis_url(RedisSettings())


def test_an_absent_redis_is_told_soon() -> None:
    began = time.monotonic()
    with pytest.raises(ServiceUnavailable):
        on_store(NOBODY, lambda store: store.get("imgjob_1", None))
    assert time.monotonic() - began < 1
    claims_of(NOBODY)  # connects to nobody before it is asked


def test_a_redis_that_never_answers_is_asked_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = RedisSettings(url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0", api_timeout_s=0.3)
        with pytest.raises(ServiceUnavailable, match="Timeout"):
            on_store(settings, lambda store: store.get("imgjob_1", None))
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
