"""The version of the layout in Redis: written once, compared at each start and by each script."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from cli.local.child_environment import PROJECT_ROOT
from config.settings import RedisSettings
from graphs.errors import ConfigurationError, ServiceUnavailable
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.support.redis_server import running_redis
from tests.workers.jobs.jobs_support import (
    a_request,
    claimed,
    claims_of,
    client,
    ended,
    look,
    on_store,
    put_in,
    submit,
    write_layout_version,
)
from workers.jobs.redis import scripts
from workers.jobs.redis.layout import check_layout_at_start
from workers.jobs.redis.script import Script
from workers.jobs.store import Submission

SCRIPTS = [script for script in vars(scripts).values() if isinstance(script, Script) and script is not scripts.LAYOUT]
OTHERS = ["5", "0", "", "one", "1.0", "ж"]


def version(settings: RedisSettings) -> str | None:
    with client(settings) as raw:
        found = raw.get(keys.layout)
    return None if found is None else str(found)


def everything(settings: RedisSettings) -> dict[bytes, bytes | None]:
    """All keys with their contents."""
    with redis.Redis.from_url(settings.url or "") as raw:
        return {key: raw.dump(key) for key in raw.scan_iter()}


def test_an_empty_redis_gets_the_version(redis_settings: RedisSettings, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        check_layout_at_start(redis_settings)
        check_layout_at_start(redis_settings)
    assert version(redis_settings) == "4"
    assert "carried over" not in caplog.text


def test_data_without_a_version_is_carried_over(
    redis_settings: RedisSettings, caplog: pytest.LogCaptureFixture
) -> None:
    waiting, running = submit(redis_settings), submit(redis_settings)
    drawn = ended(redis_settings, waiting)
    claim = claimed(redis_settings, running)
    before = everything(redis_settings)
    assert keys.layout.encode() not in before
    with caplog.at_level(logging.INFO):
        check_layout_at_start(redis_settings)
        check_layout_at_start(redis_settings)
    assert caplog.text.count("carried over") == 1
    assert version(redis_settings) == "4"
    assert {key: value for key, value in everything(redis_settings).items() if key != keys.layout.encode()} == before
    assert on_store(redis_settings, lambda store: store.artifacts(drawn)) == [b"image"]
    assert claims_of(redis_settings).complete(claim, [b"x"], {})


@pytest.mark.parametrize("found", OTHERS)
def test_another_version_is_refused_and_not_touched(redis_settings: RedisSettings, found: str) -> None:
    submit(redis_settings)
    write_layout_version(redis_settings, found)
    before = everything(redis_settings)
    with pytest.raises(ConfigurationError) as refusal:
        check_layout_at_start(redis_settings)
    assert f"layout version {found}, and this release" in refusal.value.message
    assert "version 4 only" in refusal.value.message
    assert "another Redis database" in refusal.value.message
    assert everything(redis_settings) == before


@pytest.mark.parametrize("key", [keys.sequence, keys.events, keys.workers])
def test_data_of_another_program_is_refused(redis_settings: RedisSettings, key: str) -> None:
    with client(redis_settings) as raw:
        raw.lpush(key, "x")
    before = everything(redis_settings)
    with pytest.raises(ConfigurationError, match=f"{key}.*another Redis database"):
        check_layout_at_start(redis_settings)
    assert everything(redis_settings) == before


def test_an_absent_redis_is_compared_later() -> None:
    check_layout_at_start(RedisSettings(url="redis://127.0.0.1:1/0"))


@pytest.mark.usefixtures("redis_processes")
def test_a_full_redis_gets_the_version(tmp_path: Path) -> None:
    with running_redis(tmp_path, 32 * 2**20) as full, full.client() as raw:
        raw.set("ballast", b"x" * 2**20)
        raw.config_set("maxmemory", 1)
        check_layout_at_start(full.settings)
        assert raw.get(keys.layout) == b"4"


# Waits until the test says go, so that all processes compare the version at the same moment.
_STARTER = """
import logging
import sys
import redis
from config.settings import RedisSettings
from workers.jobs.redis.layout import check_layout_at_start
logging.basicConfig(level=logging.INFO)
client = redis.Redis.from_url(sys.argv[1])
client.incr("started")
assert client.blpop("go", 60)
check_layout_at_start(RedisSettings(url=sys.argv[1]))
"""


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("has_jobs", [False, True], ids=["empty", "version-0"])
def test_of_processes_that_start_at_once_one_writes(redis_settings: RedisSettings, has_jobs: bool) -> None:
    if has_jobs:
        submit(redis_settings)
    command = [sys.executable, "-c", _STARTER, redis_settings.url or ""]
    starters = [subprocess.Popen(command, cwd=PROJECT_ROOT, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    with client(redis_settings) as raw:
        wait_until(lambda: raw.get("started") == "3", deadline_s=60)
        raw.rpush("go", *"abc")
    logs = [starter.communicate(timeout=60)[1] for starter in starters]
    assert [starter.returncode for starter in starters] == [0, 0, 0]
    assert "".join(logs).count("carried over") == int(has_jobs)
    assert version(redis_settings) == "4"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.name))
def test_every_script_refuses_another_version(redis_settings: RedisSettings, script: Script) -> None:
    write_layout_version(redis_settings, "5")
    with client(redis_settings) as raw, pytest.raises(redis.ResponseError, match="IMAGEGEN_LAYOUT 5"):
        raw.eval(script.source(keys), 1, keys.layout)


def test_a_version_that_is_raised_meanwhile_refuses_every_change(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    claim, claims = claimed(redis_settings, job), claims_of(redis_settings)
    write_layout_version(redis_settings, "5")
    before = everything(redis_settings)
    changes: list[Callable[[], object]] = [
        lambda: put_in(redis_settings, Submission(a_request())),
        lambda: on_store(redis_settings, lambda store: store.cancel(job)),
        lambda: on_store(redis_settings, lambda store: store.check_layout()),
        lambda: claims.progress(claim, 1, 4),
        lambda: claims.complete(claim, [b"x"], {}),
    ]
    for change in changes:
        with pytest.raises(ServiceUnavailable, match="layout version 5, and this release"):
            change()
    assert everything(redis_settings) == before
    write_layout_version(redis_settings, "4")
    assert claims.complete(claim, [b"x"], {})
    assert look(redis_settings, job).artifacts == 1
