"""Arguments of a script by name: what Python passes is what Lua reads, and a wrong name fails at once."""

import re
from typing import Any

import pytest
import redis

from config.settings import RedisSettings
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import GRAPH, JOBS
from workers.jobs.redis import scripts
from workers.jobs.redis.script import ArgumentKind, Script
from workers.jobs.status import ClaimState, Status

SCRIPTS = [script for script in vars(scripts).values() if isinstance(script, Script)]
ALL_KINDS = Script(
    "echo",
    keys=["one_key", "other_key"],
    arguments={
        "first": ArgumentKind.LIST,
        "text": ArgumentKind.TEXT,
        "number": ArgumentKind.NUMBER,
        "nothing": ArgumentKind.NUMBER,
        "last": ArgumentKind.LIST,
    },
)
VALUES: dict[str, Any] = {
    "one_key": "a",
    "other_key": "b",
    "first": [b"\x00", "ж"],
    "text": b"\xff\x00",
    "number": 2.5,
    "nothing": None,
    "last": ["x"],
}
ECHO = """
assert(number == 2.5 and nothing == nil)
return {one_key, other_key, #first, first[1], first[2], text, #last, last[1]}
"""


def _run(settings: RedisSettings, script: Script, lua: str, **values: Any) -> list[Any]:
    call = script.call(keys, **values)
    with redis.Redis.from_url(settings.url or "") as client:
        found: list[Any] = client.eval(script.header(keys) + lua, len(call["keys"]), *call["keys"], *call["args"])
    return found


def test_lua_reads_what_python_passes(redis_settings: RedisSettings) -> None:
    found = _run(redis_settings, ALL_KINDS, ECHO, **VALUES)
    assert found == [b"a", b"b", 2, b"\x00", "ж".encode(), b"\xff\x00", 1, b"x"]
    found = _run(redis_settings, ALL_KINDS, "return {#first, #last, text}", **{**VALUES, "first": [], "last": ()})
    assert found == [0, 0, b"\xff\x00"]


@pytest.mark.parametrize("missing", list(VALUES))
def test_a_missing_name_fails_loudly(missing: str) -> None:
    with pytest.raises(TypeError, match=rf"echo: missing \['{missing}'\], not declared \[\]"):
        ALL_KINDS.call(keys, **{name: value for name, value in VALUES.items() if name != missing})


def test_a_surplus_name_fails_loudly() -> None:
    with pytest.raises(TypeError, match=r"echo: missing \[\], not declared \['txt'\]"):
        ALL_KINDS.call(keys, **VALUES, txt="x")


@pytest.mark.parametrize(
    ("name", "value"),
    [("text", None), ("text", 1), ("number", "1"), ("number", True), ("first", "ab"), ("first", None), ("first", b"")],
)
def test_a_value_of_another_kind_fails_loudly(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=rf"echo: {name} is no "):
        ALL_KINDS.call(keys, **{**VALUES, name: value})


def test_a_name_that_lua_does_not_know_fails_loudly(redis_settings: RedisSettings) -> None:
    with pytest.raises(redis.ResponseError, match="STATUS_QUEUD"):
        _run(redis_settings, Script("echo", arguments={}), "return STATUS_QUEUD")


def test_a_graphs_script_has_the_keys_of_the_graph() -> None:
    call = scripts.CANCEL.of(keys, GRAPH, JOBS, job_id="imgjob_1", owner="anyone")
    assert keys.queued(GRAPH) in call["keys"]
    assert call["args"] == [JOBS.record_ttl_s, JOBS.result_ttl_s, "imgjob_1", "anyone"]
    with pytest.raises(TypeError, match="cancel: missing"):
        scripts.CANCEL.of(keys, GRAPH, JOBS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.name))
def test_no_script_reads_an_argument_by_number(redis_settings: RedisSettings, script: Script) -> None:
    assert not re.search(r"\b(ARGV|KEYS)\b", script.source(keys).replace(script.header(keys), ""))
    with redis.Redis.from_url(redis_settings.url or "") as client:
        client.script_load(script.source(keys))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.name))
def test_lua_has_no_copies_of_the_statuses(script: Script) -> None:
    names = "|".join([*Status, *ClaimState])
    lua = script.source(keys).replace(script.header(keys), "")
    compared = re.findall(rf"(?:[=~]=|return|finish\(job,|announce\(job,) '({names})'", lua)
    assert compared == []
