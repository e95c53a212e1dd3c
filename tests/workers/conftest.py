"""Fixtures of the worker tests."""

from pathlib import Path

import pytest

from config.settings import RedisSettings
from tests.redis_support import RunningRedis, wait_until
from tests.workers.jobs.jobs_support import SHORT


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of compiled models for the whole run: the same tiny model is not compiled twice."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def settled_redis(redis_server: RunningRedis, redis_settings: RedisSettings) -> RedisSettings:
    """The emptied server, up for so long that leases of ``jobs_support.SHORT`` are reaped."""

    def is_settled() -> bool:
        with redis_server.client() as client:
            return int(client.info("server")["uptime_in_seconds"]) > SHORT.lease_s + 2

    wait_until(is_settled)
    return redis_settings
