"""The version of the layout (keys and fields) that this release reads and writes in Redis.

The first process that starts on a Redis writes the version, and every process compares it when it starts. While it
runs, each script compares it again (scripts.py), so that a process never changes what a newer release has taken over.
"""

import logging
from pathlib import Path
from typing import Any

from config.settings import RedisSettings
from graphs.errors import ConfigurationError, ServiceUnavailable
from workers.jobs.redis import keys
from workers.jobs.redis.connection import connect, other_layout, redis_errors

log = logging.getLogger(__name__)

LAYOUT_SCRIPT = (Path(__file__).parent / "lua" / "layout.lua").read_text(encoding="utf-8")
# Keys that every version has had, with their Redis types: they prove that the data is this service's.
KNOWN_KEYS = {keys.SEQUENCE: "string", keys.EVENTS: "stream", keys.WORKERS: "hash"}


def check_layout_at_start(settings: RedisSettings) -> None:
    """Compare the layout's version before a process does anything else, and write it where there is none.

    Returns without a result when Redis cannot be reached: a process waits for Redis and compares the version later.
    Raises ConfigurationError for another version; nothing is changed then.
    """
    client = connect(settings)
    try:
        with redis_errors():
            answer = client.register_script(LAYOUT_SCRIPT)(keys=layout_keys(), args=layout_arguments())
    except ServiceUnavailable as error:
        log.debug("the layout's version is not compared yet: %s", error)
    else:
        accept_layout(answer)
    finally:
        client.close()


def layout_keys() -> list[str]:
    """Return the keys of a call of the script."""
    return [keys.LAYOUT, *KNOWN_KEYS]


def layout_arguments() -> list[Any]:
    """Return the arguments of a call of the script."""
    return [keys.LAYOUT_VERSION, *KNOWN_KEYS.values()]


def accept_layout(answer: list[bytes]) -> None:
    """Judge what the script returned. Raises ConfigurationError unless this process may go on."""
    outcome, found = (part.decode() for part in answer)
    if outcome == "other":
        raise ConfigurationError(other_layout(found))
    if outcome == "foreign":
        raise ConfigurationError(
            f"Redis holds a key {found!r} that imagegen-server did not write; use another Redis database (REDIS_URL)."
        )
    if outcome == "carried over":
        log.info("Redis holds jobs of a release that recorded no layout version; they are carried over")
