"""The settings of Redis."""

from pydantic import Field, model_validator

from config.settings_group import SettingsGroup


class RedisSettings(SettingsGroup):
    """The Redis that holds all jobs and images. Without a URL, ``imagegen serve`` starts a server of its own."""

    # A URL may hold a password; secrets are left out of what repr() shows, as that ends in logs.
    url: str | None = Field(
        None,
        repr=False,
        description="Redis to use, as `redis://HOST:PORT/0`, `rediss://HOST:PORT/0` with TLS, `unix:///PATH?db=0`, "
        "or `redis+sentinel://HOST:PORT,HOST:PORT/NAME` (also `REDIS_URL`; add-workers.md has all forms).",
    )
    prefix: str = Field(
        "imagegen",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        description="What all keys in Redis begin with; services with different prefixes on one Redis never see each "
        "other's jobs. Up to 64 letters, digits, `-` and `_`.",
    )
    connect_timeout_s: float = Field(2.0, gt=0, description="How long connecting to Redis may take.")
    timeout_s: float = Field(
        5.0,
        gt=0,
        description="How long a worker waits for an answer of Redis. Most answers take milliseconds, one with an image "
        "of 30 MB some hundreds of milliseconds.",
    )
    max_memory_bytes: int | None = Field(
        None,
        ge=0,
        description="The maxmemory of the Redis that `imagegen serve` starts; 0 sets no limit. If not set, it is what "
        "full queues need or half of this machine's memory, whichever is more.",
    )
    api_timeout_s: float = Field(
        2.5,
        gt=0,
        description="How long the API waits for an answer of Redis before its client gets status 503.",
    )
    wait_replicas: int = Field(
        0,
        ge=0,
        description="How many replicas must confirm a new job (`WAIT`) before its client learns that it is accepted; "
        "with fewer it gets status 503. 0 waits for none.",
    )
    wait_replicas_timeout_s: float = Field(
        1.0, gt=0, description="How long replicas have to confirm a new job; less than `api_timeout_s`."
    )

    @model_validator(mode="after")
    def _check_wait(self) -> "RedisSettings":
        if self.wait_replicas and self.wait_replicas_timeout_s >= self.api_timeout_s:
            raise ValueError("wait_replicas_timeout_s must be less than api_timeout_s")
        return self
