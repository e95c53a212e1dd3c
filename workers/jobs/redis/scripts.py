"""The job store's Lua scripts: each is one atomic transition.

Every script gets a graph's queued and running, the common events and the graph's backlog as its first keys, and the
beginning of a job's key and the two times to live as its first arguments; ``prelude.lua`` names them. The keys of a job
follow from its id (workers/jobs/redis/keys.py spells them; a test holds both spellings together).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config.settings import JobSettings
from workers.jobs.observe.metrics import DURATION_BOUNDS_S, bound_text
from workers.jobs.redis import keys
from workers.jobs.redis.connection import OTHER_LAYOUT

_FOLDER = Path(__file__).parent / "lua"
# Deliveries are kept as long as OpenAI and Standard Webhooks say that one is tried: three days.
_DELIVERY_TTL_S = 72 * 3600
_OUTBOX = (
    f"local DELIVERIES, DELIVERY, DELIVERY_TTL_S = '{keys.DELIVERIES}', '{keys.delivery('')}', {_DELIVERY_TTL_S}\n"
)
_COUNTER = f"local SEQUENCE = '{keys.SEQUENCE}'\n"
# A newer release may carry the data over while this process runs: from then on it changes nothing any more.
_LAYOUT_GUARD = f"""
local layout = redis.call('GET', '{keys.LAYOUT}')
if layout and layout ~= '{keys.LAYOUT_VERSION}' then return redis.error_reply('{OTHER_LAYOUT} ' .. layout) end
"""
_PRELUDE = _LAYOUT_GUARD + _OUTBOX + _COUNTER + (_FOLDER / "prelude.lua").read_text(encoding="utf-8")

_COUNTING = (
    f"local QUEUED, WAITING, METRICS = '{keys.queued('')}', '{keys.waiting('')}', '{keys.metrics('')}'\n"
    f"local DURATION_BOUNDS = {{{', '.join(map(bound_text, DURATION_BOUNDS_S))}}}\n"
) + (_FOLDER / "counting.lua").read_text(encoding="utf-8")


def script(name: str) -> str:
    """Return the source of a script, with what all of them share in front."""
    return _COUNTING + _PRELUDE + (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")


def script_keys(graph: str, more: Sequence[str] = ()) -> list[str]:
    """Return the keys of a call."""
    return [keys.queued(graph), keys.running(graph), keys.EVENTS, keys.backlog(graph), *more]


def script_arguments(jobs: JobSettings, *more: Any) -> list[Any]:
    """Return the arguments of a call."""
    return [keys.job(""), jobs.record_ttl_s, jobs.result_ttl_s, *more]
