"""What a user must be allowed: the list, the docs, and what a process says where something is missing."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.checks.finding import Verdict
from cli.checks.redis_check import check_redis
from cli.errors import UserError
from cli.local.redis_url_check import check_url
from config.settings import RedisSettings, Settings
from graphs.errors import ConfigurationError, ServiceUnavailable
from tests.support.limited_user import PATTERNS, documented_line, limited, make_user
from tests.support.redis_keys import keys
from tests.support.redis_server import RunningRedis, running_redis
from workers.jobs.broker import make_celery
from workers.jobs.redis import clients
from workers.jobs.redis.connection import connect, redis_errors
from workers.jobs.redis.layout import check_layout_at_start
from workers.jobs.redis.rights import COMMANDS, missing_rights, needed_commands

_LUA = Path(clients.__file__).parent / "lua"
# What redis-py sends for its own methods.
_SENT = {
    "register_script": {"evalsha", "script|load"},
    "pipeline": {"multi", "exec"},
    "execute": {"script|exists"},
    "config_get": set(),  # not needed
    "wait": set(),  # with wait_replicas only
    "close": set(),
    "aclose": set(),
    "connection_pool": set(),
}
# kombu/transport/redis.py: messages, their acknowledgement and return, bindings, and the lock of restore_visible.
_OF_KOMBU = {"brpop", "lpush", "rpush", "llen", "hset", "hget", "hdel", "zadd", "zrem", "zrange", "sadd", "smembers"}
_OF_KOMBU |= {"watch", "unwatch", "multi", "exec", "ping", "set", "get", "del", "evalsha", "script|load"}
# limits/resources/redis/lua_scripts: the sliding window.
_OF_LIMITS = {"get", "pttl", "rename", "set", "exists", "incrby"}


def test_the_list_has_what_is_called_and_nothing_else() -> None:
    of_scripts = {
        name.lower()
        for path in _LUA.glob("*.lua")
        for name in re.findall(r"redis\.p?call\(\s*'(\w+)'", path.read_text())
    }
    protocols = (value for name, value in vars(clients).items() if name.endswith(("Client", "Pipeline")))
    methods = {name for protocol in protocols for name in vars(protocol) if not name.startswith("_")}
    of_clients = {command for method in methods for command in _SENT.get(method, {method})}
    called = of_scripts | of_clients | _OF_KOMBU | _OF_LIMITS
    assert set(COMMANDS) == called, "change COMMANDS (rights.py) and the line of docs/add-workers.md"


def test_the_line_of_the_docs_has_the_list() -> None:
    rules = documented_line().split()
    assert [rule[1:] for rule in rules if rule.startswith("+")] == sorted(COMMANDS)
    assert [rule for rule in rules if rule.startswith(("~", "&", "-"))] == [*PATTERNS, "-@all"]


@pytest.fixture(scope="module")
def own_redis(redis_processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def user(own_redis: RunningRedis) -> RedisSettings:
    """The user of the docs."""
    make_user(own_redis)
    return limited(own_redis)


def _change(own_redis: RunningRedis, *rules: str) -> None:
    with own_redis.client() as behind:
        behind.execute_command("ACL", "SETUSER", "imagegen", *rules)


def _said_at_start(settings: RedisSettings) -> str:
    with pytest.raises(ConfigurationError) as refused:
        check_layout_at_start(settings)
    return str(refused.value)


def test_the_user_of_the_docs_lacks_nothing(own_redis: RunningRedis, user: RedisSettings) -> None:
    check_url(user)
    check_layout_at_start(user)
    with own_redis.client() as behind:
        refused = {entry["object"] for entry in behind.acl_log()}
        assert refused <= {"client|setinfo"}
        assert behind.keys() == [keys.layout.encode()], "the question changes nothing"


def test_kombu_may_put_messages_back(own_redis: RunningRedis, user: RedisSettings) -> None:
    """One that a worker gives back, and one whose worker is gone for longer than a task may take."""
    with make_celery(Settings(redis=user)).connection_for_write() as connection:
        queue = connection.SimpleQueue("demo")
        queue.put("work")
        queue.get(timeout=10).requeue()
        queue.get(timeout=10)
        of_messages: Any = connection.default_channel.qos  # type: ignore[attr-defined]  # of Kombu's virtual channels
        of_messages.visibility_timeout = -1
        of_messages.restore_visible()
        queue.get(timeout=10).ack()
        queue.close()
    with own_redis.client() as behind:
        assert {entry["object"] for entry in behind.acl_log()} <= {"client|setinfo"}


def test_each_command_that_is_missing_is_named(own_redis: RunningRedis, user: RedisSettings) -> None:
    client = connect(user)
    for name in COMMANDS:
        _change(own_redis, f"-{name}")
        missing = missing_rights(client, user)
        _change(own_redis, f"+{name}")
        assert (missing.commands, missing.patterns, missing.unknown) == ([name], [], []), name
    client.close()


@pytest.mark.parametrize(
    ("taken", "given", "sentence"),
    [
        (
            ["-xread", "-script|load"],
            ["+xread", "+script|load"],
            "The user 'imagegen' of REDIS_URL may not use the commands SCRIPT LOAD and XREAD; allow it with "
            "`ACL SETUSER imagegen +script|load +xread`.",
        ),
        (
            ["-info"],
            ["+info"],
            "The user 'imagegen' of REDIS_URL may not use the command INFO; allow it with "
            "`ACL SETUSER imagegen +info`.",
        ),
        (
            ["resetkeys", PATTERNS[0]],
            [PATTERNS[1]],
            "The user 'imagegen' of REDIS_URL may not use the keys imagegen.*; allow it with "
            "`ACL SETUSER imagegen ~imagegen.*`.",
        ),
        (
            ["resetkeys", "%R~imagegen:*", "-time"],
            [*PATTERNS, "+time"],
            "The user 'imagegen' of REDIS_URL may not use the command TIME and the keys imagegen:* and imagegen.*; "
            "allow it with `ACL SETUSER imagegen ~imagegen:* ~imagegen.* +time`.",
        ),
    ],
    ids=["commands", "info", "keys-of-celery", "keys-to-write-and-command"],
)
def test_what_is_missing_is_said_in_one_sentence(
    own_redis: RunningRedis, user: RedisSettings, tmp_path: Path, taken: list[str], given: list[str], sentence: str
) -> None:
    _change(own_redis, *taken)
    assert _said_at_start(user) == sentence
    with pytest.raises(UserError) as refused:
        check_url(user)
    assert str(refused.value) == sentence.replace("The", "the", 1)
    (finding,) = check_redis(Settings(redis=user, data_dir=tmp_path), []).findings
    said, _, remedy = sentence.partition("; allow")
    assert (finding.verdict, finding.message, finding.remedy) == (Verdict.WRONG, f"{said}.", f"Allow{remedy}")
    _change(own_redis, *given)
    check_layout_at_start(user)


def test_another_database_needs_select(own_redis: RunningRedis, user: RedisSettings) -> None:
    other = user.model_copy(update={"url": (user.url or "").replace("db=0", "db=1")})
    assert other != user
    assert "may not use the command SELECT; allow it with `ACL SETUSER imagegen +select`" in _said_at_start(other)
    _change(own_redis, "+select")
    check_layout_at_start(other)


def test_only_what_is_used_is_asked_for(own_redis: RunningRedis, user: RedisSettings) -> None:
    """CONFIG tells doctor a detail; a service that waits for replicas needs WAIT."""
    waits = user.model_copy(update={"wait_replicas": 1})
    assert "may not use the command WAIT;" in _said_at_start(waits)
    behind_sentinel = RedisSettings(url="redis+sentinel://127.0.0.1/name")
    assert set(needed_commands(behind_sentinel)) - set(COMMANDS) == {"role"}


def test_a_right_that_is_taken_from_a_running_process_is_said(own_redis: RunningRedis, user: RedisSettings) -> None:
    client = connect(user)
    script = client.register_script("return redis.call('GET', KEYS[1])")
    _change(own_redis, "-get")
    for call in (lambda: client.get(keys.layout), lambda: script(keys=[keys.layout], args=[])):
        with (
            pytest.raises(ServiceUnavailable, match=r"refuses a command .* `imagegen doctor` names it"),
            redis_errors(),
        ):
            call()
    client.close()


def test_a_command_that_the_server_does_not_have_is_named(redis_processes: None, tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis", options=("--rename-command", "XREAD", "")) as running:
        assert _said_at_start(running.settings) == (
            "The Redis of REDIS_URL has no command XREAD; this service needs each of them, so give them back "
            "(`rename-command` in its redis.conf), or use another Redis."
        )
