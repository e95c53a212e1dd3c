"""Fixtures of the API tests."""

from collections.abc import Iterator

import pytest

from config.settings import RedisSettings
from tests.api.api_support import Api, serving, settings_for
from tests.support.redis_server import RunningRedis


@pytest.fixture(scope="session")
def shared_api(redis_server: RunningRedis) -> Iterator[Api]:
    """One API for all tests that need no settings of their own."""
    with serving(settings_for(redis_server.settings)) as running:
        yield running


@pytest.fixture
def api(shared_api: Api, redis_settings: RedisSettings) -> Api:
    """The shared API, its Redis emptied."""
    assert shared_api.redis == redis_settings
    shared_api.http.get("/v1/config")  # it reads the workers of this Redis now: it may have seen those of another test
    return shared_api
