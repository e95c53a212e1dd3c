"""The keys of a service with the default prefix."""

from config.settings import RedisSettings
from workers.jobs.redis.keys import Keys

keys = Keys.of(RedisSettings())
