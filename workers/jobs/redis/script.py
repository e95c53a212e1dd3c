"""How Python calls a Lua script: keys and arguments by name, and a header that gives Lua the same names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypedDict

from config.settings import JobSettings
from workers.jobs.observe.metrics import DURATION_BOUNDS_S, bound_text
from workers.jobs.observe.presence import ALIVE_S
from workers.jobs.queue_bounds import (
    ALLOCATED,
    DELIVERY_OVERHEAD_BYTES,
    JOB_OVERHEAD_BYTES,
    ROOM_SHARE,
    STEP_BYTES,
)
from workers.jobs.redis.clients import Value
from workers.jobs.redis.connection import OTHER_LAYOUT
from workers.jobs.redis.keys import LAYOUT_VERSION, NO_DIGEST, Keys
from workers.jobs.status import EXPIRED, FINAL_STATUSES, ClaimState, Status

_FOLDER = Path(__file__).parent / "lua"
# Dragonfly refuses keys that are not in KEYS, but to a script that begins so; it runs nothing else meanwhile. To other
# servers this is a comment.
_FINDS_KEYS = "--!df flags=allow-undeclared-keys"
# The scripts of which every key is in KEYS. The others find jobs in lists, owners and names in a job's record, or make
# the id of a delivery from the record.
_KNOWS_KEYS = frozenset(
    {
        "begin",
        "follow",
        "heartbeat",
        "layout",
        "leave",
        "listing",
        "outlook",
        "presences",
        "progress",
        "renew",
        "settle",
        "waiters",
    }
)
# What each script begins with, in this order.
_SHARED = ("basics", "counting", "keeping", "digests", "work", "shared")
# Deliveries are kept as long as OpenAI and Standard Webhooks say that one is tried: three days.
_DELIVERY_TTL_S = 72 * 3600
# How much longer than a record its owner's lists last: no job waits or runs for a week.
_LONGEST_LIFE_S = 7 * 86400
# How many events of an owner are kept for clients that connect again, and for how long at most after the last client
# left; for half of that at least, because a life is lengthened only where less is left (lua/follow.lua).
# They take 400 KiB at most (tests/workers/jobs/test_owner_events.py).
OWNER_EVENTS_KEPT = 2000
_OWNER_EVENTS_LIFE_S = 7200


class ArgumentKind(StrEnum):
    """The kind of an argument. Its value is the Lua expression that reads the argument from ``{argument}``."""

    TEXT = "{argument}"
    # None is nil in Lua.
    NUMBER = "tonumber({argument})"
    # Texts and bytes, as a table. Its length comes first, so that several lists can follow one another.
    LIST = "next_list()"


class ScriptCall(TypedDict):
    """The arguments of redis-py's call of a registered script."""

    keys: list[str]
    args: list[Value]


class Script:
    """A Lua file with the names of its keys and arguments."""

    def __init__(
        self, name: str, *, keys: Sequence[str] = (), arguments: Mapping[str, ArgumentKind], checks_layout: bool = True
    ) -> None:
        self.name = name
        self._checks_layout = checks_layout
        self._keys = keys
        self._arguments = arguments
        self._names = {*keys, *arguments}

    def source(self, keys: Keys) -> str:
        """Return the Lua source: the header, what the scripts share, and the file itself."""
        flags = [_FINDS_KEYS] if self.finds_keys else []
        return "\n".join([*flags, self.header(keys), *map(_lua, (*_SHARED, self.name))])

    @property
    def finds_keys(self) -> bool:
        """Whether the script also uses keys that are not known before the call."""
        return self.name not in _KNOWS_KEYS

    def call(self, keys: Keys, **named: Any) -> ScriptCall:
        """Return the call with these keys and arguments. Raises TypeError unless they are exactly the declared ones."""
        if named.keys() != self._names:
            missing = self._names - named.keys()
            surplus = named.keys() - self._names
            raise TypeError(f"script {self.name}: missing {sorted(missing)}, not declared {sorted(surplus)}")
        arguments: list[Value] = []
        for name, kind in self._arguments.items():
            arguments += self._encoded(name, kind, named[name])
        known = [*_job_keys(keys, named), *(_owner_keys(keys, named) if self.finds_keys else ())]
        return {"keys": [*_service_keys(keys), *(named[name] for name in self._keys), *known], "args": arguments}

    def header(self, keys: Keys) -> str:
        """Return the Lua code that reads the keys and arguments, checks the layout, and defines the constants."""
        names = (*_SERVICE_KEYS, *self._keys)
        lines = [f"local {name} = KEYS[{place}]" for place, name in enumerate(names, 1)]
        check = [_LAYOUT_CHECK] if self._checks_layout else []
        return "\n".join([*lines, *check, _constants(keys), *self._argument_lines(), ""])

    def _argument_lines(self) -> Iterator[str]:
        """Yield the Lua code that reads the arguments; before the first list, their numbers are known."""
        has_list = False
        for place, (name, kind) in enumerate(self._arguments.items(), 1):
            if kind is ArgumentKind.LIST and not has_list:
                has_list = True
                yield f"local argument_number = {place - 1}{_ARGUMENT_READERS}"
            yield f"local {name} = " + kind.format(argument="next_argument()" if has_list else f"ARGV[{place}]")

    def _encoded(self, name: str, kind: ArgumentKind, value: object) -> list[Value]:
        if kind is ArgumentKind.LIST and isinstance(value, list | tuple):
            return [len(value), *value]
        if kind is ArgumentKind.TEXT and isinstance(value, str | bytes):
            return [value]
        if kind is ArgumentKind.NUMBER and value is None:
            return [""]
        if kind is ArgumentKind.NUMBER and isinstance(value, int | float) and not isinstance(value, bool):
            return [value]
        raise TypeError(f"script {self.name}: {name} is no {kind.name}: {value!r:.100}")


class GraphScript(Script):
    """A script for a job of a graph: it also has the keys of the graph and the times that records are kept."""

    def __init__(self, name: str, *, keys: Sequence[str] = (), arguments: Mapping[str, ArgumentKind]) -> None:
        times = {"record_ttl_s": ArgumentKind.NUMBER, "result_ttl_s": ArgumentKind.NUMBER}
        super().__init__(name, keys=[*_GRAPH_KEYS, *keys], arguments={**times, **arguments})

    def of(self, keys: Keys, graph: str, jobs: JobSettings, **named: Any) -> ScriptCall:
        """Return the call for this graph. Raises TypeError as ``call`` does."""
        return self.call(
            keys, **_graph_keys(keys, graph), record_ttl_s=jobs.record_ttl_s, result_ttl_s=jobs.result_ttl_s, **named
        )


# The keys of the service, which every script declares: what the scripts share may touch any of them.
_SERVICE_KEYS: Mapping[str, Callable[[Keys], str]] = {
    "LAYOUT_KEY": lambda keys: keys.layout,
    "ADOPTION_KEY": lambda keys: keys.adoption,
    "EVENTS_KEY": lambda keys: keys.events,
    "STEPS_KEY": lambda keys: keys.steps,
    "SEQUENCE_KEY": lambda keys: keys.sequence,
    "WORKERS_KEY": lambda keys: keys.workers,
    "WORKERS_SEEN_KEY": lambda keys: keys.workers_seen,
    "WORKERS_CHANGED_KEY": lambda keys: keys.workers_changed,
    "DELIVERIES_KEY": lambda keys: keys.deliveries,
    "HELD_DELIVERIES_KEY": lambda keys: keys.held_deliveries,
    "DELIVERY_SIZES_KEY": lambda keys: keys.delivery_sizes,
    "KEPT_KEY": lambda keys: keys.kept,
    "KEPT_ENDED_KEY": lambda keys: keys.kept_ended,
    "ENDED_SIZES_KEY": lambda keys: keys.ended_sizes,
    "RECORD_ENDS_KEY": lambda keys: keys.record_ends,
    "RESULT_ENDS_KEY": lambda keys: keys.result_ends,
}
_GRAPH_KEYS: Mapping[str, Callable[[Keys, str], str]] = {
    "queued_key": Keys.queued,
    "running_key": Keys.running,
    "waiting_key": Keys.waiting,
    "backlog_key": Keys.backlog,
    "by_digest_key": Keys.by_digest,
    "digests_key": Keys.digests,
    "work_key": Keys.work,
    "running_work_key": Keys.running_work,
    "metrics_key": Keys.metrics,
    "failures_key": Keys.failures,
}


@lru_cache(16)
def _service_keys(keys: Keys) -> tuple[str, ...]:
    return tuple(key(keys) for key in _SERVICE_KEYS.values())


@lru_cache(256)
def _graph_keys(keys: Keys, graph: str) -> Mapping[str, str]:
    return {name: key(keys, graph) for name, key in _GRAPH_KEYS.items()}


# A newer release may take the data over while this process runs: then no script changes anything.
_LAYOUT_CHECK = f"""
local layout = redis.call('GET', LAYOUT_KEY)
if layout and layout ~= '{LAYOUT_VERSION}' then return redis.error_reply('{OTHER_LAYOUT} ' .. layout) end
"""

_ARGUMENT_READERS = """
local function next_argument()
  argument_number = argument_number + 1
  return ARGV[argument_number]
end
local function next_list()
  local list = {}
  for i = 1, tonumber(next_argument()) do list[i] = next_argument() end
  return list
end
"""


@cache
def _lua(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")


def _constants(keys: Keys) -> str:
    """Return the Lua constants. Redis raises an error where a script uses a name that does not exist."""
    texts: Mapping[str, str] = {
        "JOB_PREFIX": keys.job(""),
        "NAME_PREFIX": keys.name_prefix,
        "DELIVERY_PREFIX": keys.delivery(""),
        "OWNER_PREFIX": keys.owner_prefix,
        "SHOWN_EXPIRED": EXPIRED,
        "NO_DIGEST": NO_DIGEST,
        **{f"STATUS_{status.name}": status.value for status in Status},
        **{f"CLAIM_{state.name}": state.value for state in ClaimState},
    }
    numbers: Mapping[str, float] = {
        "DELIVERY_TTL_S": _DELIVERY_TTL_S,
        "LONGEST_LIFE_S": _LONGEST_LIFE_S,
        "JOB_OVERHEAD_BYTES": JOB_OVERHEAD_BYTES,
        "DELIVERY_OVERHEAD_BYTES": DELIVERY_OVERHEAD_BYTES,
        "STEP_BYTES": STEP_BYTES,
        "OWNER_EVENTS_KEPT": OWNER_EVENTS_KEPT,
        "OWNER_EVENTS_LIFE_S": _OWNER_EVENTS_LIFE_S,
        "ALLOCATED": ALLOCATED,
        "ROOM_SHARE": ROOM_SHARE,
        "ALIVE_MS": ALIVE_S * 1000,
        "CHANGES_KEPT_MS": 8 * ALIVE_S * 1000,
    }
    final = ", ".join(f"['{status}'] = true" for status in FINAL_STATUSES)
    ended = ", ".join(f"'{status}'" for status in (*FINAL_STATUSES, EXPIRED))
    return "\n".join(
        [
            *(f"local {name} = '{text}'" for name, text in texts.items()),
            f"local IS_FINAL = {{{final}}}",
            f"local ENDED_LISTS = {{{ended}}}",
            *(f"local {name} = {number}" for name, number in numbers.items()),
            f"local DURATION_BOUNDS_S = {{{', '.join(map(bound_text, DURATION_BOUNDS_S))}}}",
        ]
    )


def _job_keys(keys: Keys, named: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of the job and of the delivery that arguments name. The scripts spell them anew (basics.lua)."""
    if (job_id := named.get("job_id")) is not None:
        yield from (keys.job(job_id), keys.image(job_id), keys.mask(job_id), keys.job_events(job_id))
        yield from (keys.artifact(job_id, index) for index in range(len(named.get("artifacts", ()))))
    if (event_id := named.get("event_id")) is not None:
        yield keys.delivery(event_id)


def _owner_keys(keys: Keys, named: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of the owner that an argument names."""
    if (owner := named.get("owner")) is not None:
        yield from (keys.owner_jobs(owner, status) for status in (None, *Status, EXPIRED))
        yield keys.owner_ended(owner)
        if name := named.get("name"):
            yield keys.job_name(owner, name)


def flat(fields: Mapping[str, str]) -> list[str]:
    """Return the fields of a hash as an argument of kind LIST: field, value, field, value, ..."""
    return [text for pair in fields.items() for text in pair]
