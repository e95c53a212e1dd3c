"""The settings of the job store: of Redis, and of the jobs in it."""

from pydantic import Field, model_validator

from config.settings_group import SettingsGroup

_LAST_RESORT_MARGIN_S = 900


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


class JobSettings(SettingsGroup):
    """The life of a job."""

    result_ttl_s: int = Field(3600, gt=0, description="How long the images and events of a job are kept after its end.")
    record_ttl_s: int = Field(86_400, gt=0, description="How long the record of a job is kept after its end.")
    lease_s: float = Field(
        6.0,
        gt=1,  # _CYCLE_S of workers/process/supervision.py
        description="How long a worker's claim on a job is valid without being renewed; then another worker takes the "
        "job. Workers renew their claims once a second, so it must be more than 1.",
    )
    max_attempts: int = Field(
        3, ge=1, description="How often a job is tried when its workers die; after that it fails as `worker_crashed`."
    )
    # Together with maxmemory of Redis, these four bound its memory (workers/jobs/queue_bounds.py).
    max_queued: int = Field(1000, ge=1, description="Jobs that may wait for a graph.")
    max_queued_bytes: int = Field(
        512 * 2**20, gt=0, description="Size of the jobs that may wait for a graph: requests with their images as PNG."
    )
    max_queued_per_key: int = Field(500, ge=1, description="Jobs of one API key that may wait for a graph.")
    max_queued_bytes_per_key: int = Field(
        256 * 2**20, gt=0, description="Size of the jobs of one API key that may wait for a graph."
    )
    max_kept_per_key: int = Field(
        10_000,
        ge=1,
        description="Jobs of one API key that are kept, ended ones too; then its oldest ended ones go first.",
    )
    max_kept_bytes_per_key: int | None = Field(
        None,
        gt=0,
        description="Size of all that Redis keeps of one API key: its jobs, images and webhooks; then its oldest ended "
        "jobs go first. If not set, it is three eighths of Redis's maxmemory.",
    )
    digest_grace_s: float = Field(
        300.0,
        gt=0,
        description="How long a job waits while its model's workers all have another model under this name, as after a "
        "change of the model; then it fails as `model_changed`. Time without any worker of this name does not count.",
    )
    removed_grace_s: float = Field(
        60.0,
        ge=0,
        description="How long the jobs of a model that is no longer served, because the models were changed while the "
        "service runs, still wait to be drawn; then they fail as `model_removed`.",
    )
    time_limit_s: int = Field(3600, gt=0, description="How long a job may run; then it fails at its next step.")
    step_grace_s: float = Field(
        30.0,
        ge=0,
        description="How long a job that was cancelled, or is past its time limit, may stay inside one step; then its "
        "process is ended and another one loads the model. It should be longer than the longest step.",
    )

    @property
    def last_resort_s(self) -> float:
        """How long any task of a worker may take, in seconds; after that its process hangs.

        It leaves room for all that may take long: a claim, drawing, and storing while Redis is away or full.
        """
        return self.time_limit_s + self.step_grace_s + self.result_ttl_s + _LAST_RESORT_MARGIN_S

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, values: object) -> object:
        if isinstance(values, dict) and "time_limit_grace_s" in values:  # of 0.1.0
            return {"step_grace_s" if name == "time_limit_grace_s" else name: value for name, value in values.items()}
        return values
