"""The version of the layout (keys and fields) that this release reads and writes in Redis.

The first process that starts on a Redis writes the version, and every process compares it when it starts. While it
runs, each script compares it again (scripts.py), so that a process never changes what a newer release has taken over.

Version 0 is that of releases that recorded none. Version 2 has ids of clients as names inside an owner; before, they
are the ids of the jobs themselves, as which store.py finds them still. Version 3 counts what each owner keeps
(lua/keeping.lua) and lists jobs by status; lua/adopt.lua counts those of older versions. Version 4 has sums of the work
that waits (lua/work.lua); lua/reap.lua counts the jobs of older versions.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from config.settings import RedisSettings
from graphs.errors import ConfigurationError, ServiceUnavailable
from workers.jobs.redis.clients import AsyncRedisClient, RedisClient
from workers.jobs.redis.connection import connect, other_layout, redis_errors, sentinels_of
from workers.jobs.redis.keys import LAYOUT_VERSION, OLDER_VERSIONS, Keys
from workers.jobs.redis.rights import missing_rights
from workers.jobs.redis.script import ScriptCall
from workers.jobs.redis.scripts import ADOPT, LAYOUT
from workers.jobs.redis.sentinel import NoSentinelAnswers, PrimaryUnknown
from workers.jobs.redis.sentinel_view import read_sentinel_view
from workers.jobs.redis.server_kind import read_server_kind

log = logging.getLogger(__name__)

# The cursor with which SCAN begins, and ends.
_START = b"0"


def check_layout_at_start(settings: RedisSettings) -> None:
    """Compare the layout's version before a process does anything else, and write it where there is none.

    Returns without a result when Redis cannot be reached: a process waits for Redis and compares the version later.
    Raises ConfigurationError for another version, for a server that can keep no jobs, for a user who may not do what
    this service does, and for a primary that no sentinel knows; nothing is changed then.
    """
    client = connect(settings)
    try:
        _check_sentinels(settings)
        _check_kind(client)
        _check_rights(client, settings)
        check_layout(client, Keys.of(settings))
    except ServiceUnavailable as error:
        log.debug("the layout's version is not compared yet: %s", error)
    finally:
        client.close()


def _check_sentinels(settings: RedisSettings) -> None:
    """Warn of sentinels that would not replace a primary that fails."""
    sentinels = sentinels_of(settings)
    if sentinels is None:
        return
    try:
        with redis_errors():
            trouble = read_sentinel_view(sentinels).trouble()
    except ServiceUnavailable as error:
        if isinstance(error.__cause__, PrimaryUnknown):
            raise ConfigurationError(f"{_sentence(error.__cause__)} Correct the name in REDIS_URL.") from error
        if isinstance(error.__cause__, NoSentinelAnswers):
            log.warning("%s This process waits for one.", _sentence(error.__cause__))
        return
    if trouble:
        log.warning("%s.", trouble)


def _sentence(error: Exception) -> str:
    return f"{str(error)[:1].upper()}{str(error)[1:]}."


def _check_kind(client: RedisClient) -> None:
    with redis_errors(), _redis_answers():
        kind = read_server_kind(client)
    if kind is None:
        return  # INFO is one of the rights that are looked at next
    if reason := kind.unusable():
        raise ConfigurationError(f"The Redis of REDIS_URL {reason}")
    if risk := kind.risk():
        log.warning("the Redis of REDIS_URL %s", risk)


def _check_rights(client: RedisClient, settings: RedisSettings) -> None:
    with redis_errors(), _redis_answers():
        missing = missing_rights(client, settings)
    if missing:
        raise ConfigurationError(f"{str(missing)[:1].upper()}{str(missing)[1:]}.")


def check_layout(client: RedisClient, keys: Keys) -> None:
    """Compare the layout's version, and write it where there is none.

    Raises ConfigurationError when this process may not go on, ServiceUnavailable when Redis cannot be reached.
    """
    with redis_errors():
        with _redis_answers():
            outcome, found, is_to_adopt = client.register_script(LAYOUT.source(keys))(**_call(keys))
        _judge(outcome.decode(), found.decode(errors="replace"))
        adopt = client.register_script(ADOPT.source(keys))
        cursor = _START
        while is_to_adopt:
            cursor = adopt(**ADOPT.call(keys, cursor=cursor))
            is_to_adopt = cursor != _START


async def check_layout_async(client: AsyncRedisClient, keys: Keys) -> None:
    """Do as ``check_layout``."""
    with redis_errors():
        await client.ping()  # refused where Redis cannot write to its disk, unlike a script that only reads
        with _redis_answers():
            outcome, found, is_to_adopt = await client.register_script(LAYOUT.source(keys))(**_call(keys))
        _judge(outcome.decode(), found.decode(errors="replace"))
        adopt = client.register_script(ADOPT.source(keys))
        cursor = _START
        while is_to_adopt:
            cursor = await adopt(**ADOPT.call(keys, cursor=cursor))
            is_to_adopt = cursor != _START


@contextmanager
def _redis_answers() -> Iterator[None]:
    """Raise ConfigurationError for answers that no Redis gives: redis-py and the unpacking expect their own forms."""
    try:
        yield
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError("What answers at REDIS_URL is no Redis: its answers have other forms.") from error


def _call(keys: Keys) -> ScriptCall:
    return LAYOUT.call(keys, version=str(LAYOUT_VERSION), older_versions=list(OLDER_VERSIONS))


def _judge(outcome: str, found: str) -> None:
    if outcome == "other":
        raise ConfigurationError(other_layout(found))
    if outcome == "foreign":
        raise ConfigurationError(
            f"Redis holds a key {found!r} that imagegen-server did not write; use another Redis database (REDIS_URL) "
            "or another prefix (IMAGEGEN_REDIS__PREFIX)."
        )
    if outcome == "carried over":
        log.info("Redis holds jobs of a release with an older layout; they are carried over")
