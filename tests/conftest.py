"""Fixtures for all tests: the real Redis. Generated examples are the same in every run, and may take their time."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from config.settings import RedisSettings
from tests.redis_support import RunningRedis, running_redis

settings.register_profile("reproducible", derandomize=True, database=None, deadline=None)
settings.load_profile("reproducible")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    """One server for the whole run; its content is whatever earlier tests left."""
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def redis_settings(redis_server: RunningRedis) -> RedisSettings:
    """The server, emptied for this test."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server.settings
