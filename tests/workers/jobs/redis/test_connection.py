import asyncio
import inspect
import socket
import time

import pytest
import redis.asyncio
import redis.exceptions
import uvloop

from config.settings import RedisSettings
from graphs.errors import ConfigurationError, ServiceUnavailable
from tests.workers.jobs.jobs_support import claims_of, on_store
from workers.jobs.redis.connection import connect_async, redis_errors, redis_url

ALL = [kind for _, kind in inspect.getmembers(redis.exceptions, inspect.isclass) if issubclass(kind, Exception)]
ABSENT = RedisSettings(url="redis://127.0.0.1:1/0")


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: str(kind.__name__))
def test_every_error_of_redis_becomes_service_unavailable(kind: type[Exception]) -> None:
    with pytest.raises(ServiceUnavailable, match="job store") as refusal, redis_errors():
        raise kind("1 127.0.0.1:6379")
    assert isinstance(refusal.value.__cause__, kind)


def test_the_errors_of_redis_are_found() -> None:
    assert {redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, redis.exceptions.ReadOnlyError} <= set(ALL)


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), redis_errors():
        raise KeyError("x")


def test_a_missing_url_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        redis_url(RedisSettings())


def test_an_absent_redis_is_reported_soon() -> None:
    began = time.monotonic()
    with pytest.raises(ServiceUnavailable):
        on_store(ABSENT, lambda store: store.get("imgjob_1", None))
    assert time.monotonic() - began < 10  # one connection refused after another would take longer
    claims_of(ABSENT)  # it opens no connection before the first call


def test_a_call_to_a_silent_redis_is_not_repeated() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = RedisSettings(url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0", api_timeout_s=0.3)
        with pytest.raises(ServiceUnavailable, match="Timeout"):
            on_store(settings, lambda store: store.get("imgjob_1", None))
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


async def _ask_at_once(settings: RedisSettings, times: int) -> list[bytes | BaseException | None]:
    client = connect_async(settings)
    answers = await asyncio.gather(*(client.get("key") for _ in range(times)), return_exceptions=True)
    await client.aclose()
    return answers


def test_calls_that_wait_for_a_connection_to_a_silent_redis_fail_with_it() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        settings = RedisSettings(url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0", api_timeout_s=1)
        answers = asyncio.run(_ask_at_once(settings, 100))
        assert {type(answer) for answer in answers} == {redis.exceptions.TimeoutError}
        silent.setblocking(False)
        connections = 0
        with pytest.raises(BlockingIOError):
            while True:
                silent.accept()[0].close()
                connections += 1
        assert 0 < connections <= 32, "no call opens a connection after one that was not answered"


def test_calls_that_wait_for_a_connection_to_an_unreachable_redis_fail_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers an attempt to connect: the server's queue of connections is full."""
    attempts: list[object] = []
    connect = redis.asyncio.Connection._connect

    async def counted(connection: redis.asyncio.Connection) -> None:
        attempts.append(connection)
        await connect(connection)  # type: ignore[no-untyped-call]  # redis-py has none

    monkeypatch.setattr(redis.asyncio.Connection, "_connect", counted)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        settings = RedisSettings(url=f"redis://127.0.0.1:{full.getsockname()[1]}/0", connect_timeout_s=0.5)
        answers = asyncio.run(_ask_at_once(settings, 100))
    assert {type(answer) for answer in answers} == {redis.exceptions.TimeoutError}
    assert 0 < len(attempts) <= 32


def test_a_connection_closed_under_uvloop_is_opened_again(redis_settings: RedisSettings) -> None:
    async def ask_over_a_closed_connection() -> bytes | None:
        client = connect_async(redis_settings)
        await client.set("before", "1")
        connection = await client.connection_pool.get_connection()
        connection._writer.transport.abort()
        await client.connection_pool.release(connection)
        await asyncio.sleep(0)  # the event loop closes the connection now
        found = await client.get("before")
        await client.aclose()
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(ask_over_a_closed_connection()) == b"1"
