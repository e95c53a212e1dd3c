"""Fixtures of the worker tests."""

import pytest

from config.settings import RedisSettings
from tests.support.polling import wait_until
from tests.support.redis_server import RunningRedis
from tests.workers.jobs.jobs_support import SHORT


@pytest.fixture
def settled_redis(redis_server: RunningRedis, redis_settings: RedisSettings) -> RedisSettings:
    """The emptied server, after the time following its start in which no lease of ``jobs_support.SHORT`` is reaped."""

    def is_settled() -> bool:
        with redis_server.client() as client:
            return int(client.info("server")["uptime_in_seconds"]) > SHORT.lease_s + 2

    wait_until(is_settled)
    return redis_settings
