"""``imagegen keys``: replaces the key that signs the addresses of images, and makes secrets."""

import asyncio
import base64
import secrets

import typer

from cli.errors import UserError
from cli.local.redis_address import with_redis
from cli.options import with_setting_options
from cli.terminal import say
from config.settings import Settings
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
        asyncio.run(_rotate(with_redis(settings, "keys rotate-signing")))
    except ServiceUnavailable as error:
        raise UserError(str(error)) from error
    say("addresses of images are signed with a new key; those given out before have ended")


async def _rotate(settings: Settings) -> None:
    from workers.jobs.store import JobStore  # imports the client of Redis, which other commands do not need

    store = JobStore(settings.redis, settings.jobs)
    try:
        await store.check_layout()
        await store.rotate_signing_key()
    finally:
        await store.close()
