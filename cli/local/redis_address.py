"""The Redis that a command uses: that of the settings, else that of an `imagegen serve` on this machine."""

from cli.errors import UserError
from cli.local.data_folder import is_in_use
from cli.local.embedded_redis import prepared_url
from config.settings import RedisSettings, Settings


def find_redis(settings: Settings) -> RedisSettings | None:
    """Return how to reach the Redis of these settings, else that of a running `imagegen serve` with their data folder.

    None if there is neither.
    """
    if settings.redis.url:
        return settings.redis
    url = prepared_url(settings.data_dir)
    if not url or not is_in_use(settings.data_dir):
        return None
    return settings.redis.model_copy(update={"url": url})


def with_redis(settings: Settings, command: str) -> Settings:
    """Return the settings with the Redis that ``find_redis`` finds. Raises UserError, which names the command."""
    found = find_redis(settings)
    if found is None:
        raise UserError(
            f"imagegen {command} needs a Redis, and no `imagegen serve` runs on {settings.data_dir}: set REDIS_URL or "
            "give --redis_url, or start everything with `imagegen serve` (with another data folder, give --data_dir)."
        )
    return settings.model_copy(update={"redis": found})
