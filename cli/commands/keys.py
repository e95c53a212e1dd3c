"""``imagegen keys``: replaces the key that signs the addresses of images, and makes secrets."""

import asyncio
import base64
import secrets

import typer

from cli.errors import UserError
from cli.local.data_folder import is_in_use
from cli.local.embedded_redis import prepared_url
from cli.options import with_setting_options
from cli.terminal import say
from config.settings import RedisSettings, Settings
from graphs.errors import ServiceUnavailable

_SECRET_BYTES = 32

keys = typer.Typer(name="keys", help="Replace the key that signs addresses; make secrets.", no_args_is_help=True)


@keys.command("webhook-secret")
def webhook_secret() -> None:
    """Print a new secret for webhooks, as IMAGEGEN_WEBHOOKS__SECRET takes it."""
    say(f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}")


@keys.command("rotate-signing")
@with_setting_options
def rotate_signing(settings: Settings) -> None:
    """Sign addresses of images with a new key from now on; all addresses given out before end at once.

    Nothing is restarted. Jobs and their images stay, and are fetched with the API key as before.
    """
    try:
        asyncio.run(_rotate(settings, _redis(settings)))
    except ServiceUnavailable as error:
        raise UserError(str(error)) from error
    say("addresses of images are signed with a new key; those given out before have ended")


def _redis(settings: Settings) -> RedisSettings:
    """Return how to reach the Redis of these settings, else that of an `imagegen serve` with their data folder."""
    url = settings.redis.url or (prepared_url(settings.data_dir) if is_in_use(settings.data_dir) else None)
    if url is None:
        raise UserError(
            f"no Redis is set, and no imagegen serve runs on {settings.data_dir}; give --redis_url or --data_dir."
        )
    return settings.redis.model_copy(update={"url": url})


async def _rotate(settings: Settings, redis: RedisSettings) -> None:
    from workers.jobs.store import JobStore  # imports the client of Redis, which other commands do not need

    store = JobStore(redis, settings.jobs)
    try:
        await store.check_layout()
        await store.rotate_signing_key()
    finally:
        await store.close()
