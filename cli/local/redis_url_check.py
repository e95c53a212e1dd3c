"""Checks that the Redis at a URL answers and is one that can keep jobs."""

from urllib.parse import urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.errors import UserError
from config.settings import RedisSettings
from workers.jobs.redis.connection import DISK_FAILS, connect, redis_url
from workers.jobs.redis.rights import missing_rights
from workers.jobs.redis.sentinel import NoSentinelAnswers, PrimaryUnknown
from workers.jobs.redis.server_kind import read_server_kind

_PING_S = 1.0


def check_url(settings: RedisSettings) -> None:
    """Check that the Redis at ``settings.url`` answers, can keep jobs, and lets its user do all that this service does.

    Raises UserError or ConfigurationError, without the password.
    """
    shown = _without_password(redis_url(settings))
    client = connect(settings.model_copy(update={"timeout_s": settings.connect_timeout_s}), retries=0)
    try:
        kind = read_server_kind(client)
        # A server that can keep no jobs may lack a command too.
        missing = None if kind and kind.unusable() else missing_rights(client, settings)
        if not missing:
            client.ping()
    except PrimaryUnknown as error:
        raise UserError(f"{error}; correct the name in REDIS_URL.") from error
    except NoSentinelAnswers as error:
        raise UserError(f"{error}; start them, or correct REDIS_URL.") from error
    except redis.AuthenticationError as error:
        raise UserError(f"the Redis at {shown} refuses the user or password: {error}") from error
    except (redis.RedisError, OSError) as error:
        if DISK_FAILS in str(error):
            raise UserError(f"the Redis at {shown} cannot write to its disk ({error}); make room there.") from error
        raise UserError(
            f"the Redis at {shown} does not answer ({error}); start it, or unset REDIS_URL to have one started for you."
        ) from error
    except (AttributeError, TypeError) as error:  # redis-py expects the forms of Redis's own answers
        raise UserError(f"what answers at {shown} is no Redis: its answers have other forms.") from error
    finally:
        client.close()
    if kind is not None and (reason := kind.unusable()):
        raise UserError(f"the Redis at {shown} {reason}")
    if missing:
        raise UserError(f"{missing}.")


def answers(url: str) -> bool:
    """Return whether the Redis at this URL answers PING now; one that is still loading its data does not."""
    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=_PING_S, socket_timeout=_PING_S, retry=Retry(NoBackoff(), 0)
        ) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "REDIS_URL"
    user, at, host = parts.netloc.rpartition("@")
    hidden = f"{user.partition(':')[0]}:***{at}{host}" if at else host
    return urlunsplit(parts._replace(netloc=hidden, query=""))
