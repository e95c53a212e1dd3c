"""Keys that are known before a call are in KEYS, and a script that finds others says so in its first line."""

import asyncio
from typing import Any

import pytest

from config.settings import RedisSettings
from graphs.errors import ServiceUnavailable
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    GRAPH,
    JOBS,
    Upkeep,
    a_request,
    claimed,
    claims_of,
    client,
    look,
    on_queue,
    on_store,
    owner_events,
    put_in,
)
from workers.jobs.claims import Preview
from workers.jobs.deliveries import Deliveries
from workers.jobs.job_options import JobOptions, Webhook
from workers.jobs.models.listing import ModelListing
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.redis import scripts
from workers.jobs.redis.connection import redis_errors
from workers.jobs.redis.layout import check_layout_at_start
from workers.jobs.redis.script import Script
from workers.jobs.status import ClaimState, Status
from workers.jobs.store import Submission

_FLAG = "--!df flags=allow-undeclared-keys"
# Refuses what Dragonfly refuses: a key that is not in KEYS.
_REFUSES = """
local KEYLESS = {TIME = true, INFO = true, SCAN = true}
local DECLARED = {}
for _, key in ipairs(KEYS) do DECLARED[key] = true end
local function checked(call)
  return function(name, ...)
    local count = KEYLESS[name] and 0 or (name == 'DEL' or name == 'EXISTS') and select('#', ...) or 1
    for place = 1, count do
      local key = select(place, ...)
      if not DECLARED[key] then error('script tried accessing undeclared key, key: ' .. key) end
    end
    return call(name, ...)
  end
end
local redis = setmetatable({call = checked(redis.call), pcall = checked(redis.pcall)}, {__index = redis})
"""


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of scripts that were made; those without the flag are refused keys that are not declared."""
    names: set[str] = set()
    source = Script.source

    def strict(script: Script, of: Any) -> str:
        text = source(script, of)
        names.add(script.name)
        return text if text.startswith(_FLAG) else _REFUSES + text

    monkeypatch.setattr(Script, "source", strict)
    return names


def test_scripts_without_the_flag_use_declared_keys_only(redis_settings: RedisSettings, ran: set[str]) -> None:
    """A job that two clients wait for, with a preview and a webhook that is tried twice."""
    check_layout_at_start(redis_settings)
    webhook = Webhook.model_validate({"url": "https://a.example/", "events": ["in_progress", "completed"]})
    job = put_in(redis_settings, Submission(a_request(), JobOptions(webhook=webhook)))[0]
    on_store(redis_settings, lambda store: store.add_waiter(job, 1))
    upkeep, claims = Upkeep(redis_settings), claims_of(redis_settings)
    claim = claimed(redis_settings, job)
    owner_events(redis_settings, job.options.owner)
    upkeep.heartbeat(WorkerPresence("one", GRAPH, "CPU", ready=True, operations=(), seen_at=0.0))
    upkeep.leave("another")
    on_queue(redis_settings, lambda view: view.estimates([job], {}))
    assert upkeep.renew_lease(job.id) is ClaimState.GO_ON
    claims.progress(claim, 1, 2, Preview(0, 0, b"half"))
    assert claims.complete(claim, [b"image"], {})
    deliveries = Deliveries(redis_settings)
    for (event_id, token), end in zip(deliveries.claim_due(10), (True, False), strict=True):
        delivery = deliveries.begin(event_id, token)
        assert delivery is not None
        if end:
            deliveries.end(delivery)
        else:
            deliveries.try_again(delivery, 60)
    asyncio.run(_list_models(redis_settings))
    assert look(redis_settings, job).status is Status.COMPLETED
    strict = {script.name for script in vars(scripts).values() if isinstance(script, Script) and not script.finds_keys}
    assert strict - ran == set()
    assert len(strict) >= 8


async def _list_models(redis: RedisSettings) -> None:
    listing = ModelListing(redis, JOBS)
    await listing.say({GRAPH: "1" * 16}, ["removed"])
    await listing.close()


def test_a_server_that_refuses_undeclared_keys_is_named_with_its_option(redis_settings: RedisSettings) -> None:
    with client(redis_settings) as raw, pytest.raises(ServiceUnavailable, match="--default_lua_flags"), redis_errors():
        raw.eval(_REFUSES + "return redis.call('GET', 'a')", 0)


def test_what_arguments_name_is_declared() -> None:
    given = {"job_id": "j", "owner": "o"}
    declared = scripts.CANCEL.of(keys, GRAPH, JOBS, **given)["keys"]
    of_job = {keys.job("j"), keys.image("j"), keys.mask("j"), keys.job_events("j")}
    of_owner = {keys.owner_jobs("o"), keys.owner_jobs("o", Status.CANCELLED), keys.owner_ended("o")}
    assert of_job | of_owner <= set(declared)
    assert len(declared) == len(set(declared))
    assert keys.delivery("e") in scripts.SETTLE.call(keys, event_id="e", token="t", delay_ms=None)["keys"]
