"""The rate limit of API keys: requests a minute, counted in Redis over all API processes.

The library ``limits`` counts them: a sliding window made of two counters, each with a time to live.
"""

import math
import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from config.settings import RedisSettings
from graphs.errors import RateLimited
from workers.jobs.redis.connection import connect_async, redis_errors
from workers.jobs.redis.keys import Keys

_LONGEST_WAIT_S = 60


class RequestRates:
    """The request counts of all owners."""

    def __init__(self, redis_settings: RedisSettings) -> None:
        self._keys = Keys.of(redis_settings)
        self._redis = connect_async(redis_settings)
        # The storage uses our connections, which give up soon, and ignores the address.
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=self._keys.request_rates,
            connection_pool=self._redis.connection_pool,
        )
        self._windows = SlidingWindowCounterRateLimiter(storage)

    async def count(self, owner: str, per_minute: int) -> None:
        """Count a request. Raises RateLimited above the limit, ServiceUnavailable when Redis cannot be reached."""
        rate = RateLimitItemPerMinute(per_minute)
        with redis_errors():
            if await self._windows.hit(rate, owner):
                return
            free_at = (await self._windows.get_window_stats(rate, owner)).reset_time
        raise RateLimited(
            f"This API key may send {per_minute} requests a minute, and has; try again later.",
            retry_after_s=min(_LONGEST_WAIT_S, max(1, math.ceil(free_at - time.time()))),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
