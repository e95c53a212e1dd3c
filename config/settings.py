"""Every setting, and the only place that reads the environment.

A setting is ``IMAGEGEN_<GROUP>__<NAME>``, for example ``IMAGEGEN_HTTP__REST_PORT=9000``; ``REDIS_URL``, ``HF_TOKEN``,
``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` are read as well, as everyone expects. Names that end in ``_s`` are seconds,
``_bytes`` bytes, ``_pixels`` pixels.
"""

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "IMAGEGEN_"
DELIMITER = "__"
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})", re.ASCII)
# Variables of other tools that set the same thing here; our own names win over them.
_KNOWN_EVERYWHERE = {
    "REDIS_URL": ("redis", "url"),
    "HF_TOKEN": ("downloads", "hf_token"),
    "HF_ENDPOINT": ("downloads", "hf_endpoint"),
    "HF_HUB_OFFLINE": ("downloads", "offline"),
    "API_KEY": ("http", "api_key"),  # Model Server's name for it
}


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class RedisSettings(_Group):
    """Where the truth about jobs is kept. Without a URL, ``imagegen serve`` starts a server of its own."""

    url: str | None = None
    connect_timeout_s: float = 2.0
    # An answer takes milliseconds; a picture of 30 MB some hundreds of them.
    timeout_s: float = 5.0
    # The maxmemory of the server that ``imagegen serve`` starts: 0 for none; not given, what the queues may hold and a
    # half of this machine's memory, whichever is more.
    max_memory_bytes: int | None = Field(None, ge=0)
    # The same for the API, whose clients wait: then they are told 503.
    api_timeout_s: float = 2.5


class HttpSettings(_Group):
    """The HTTP process."""

    rest_bind_address: str = "127.0.0.1"
    rest_port: int = Field(8000, ge=1, le=65535)
    public_url: str | None = None
    max_body_bytes: int = Field(64 * 2**20, gt=0)
    # How long a request's body may take to come, all of it.
    body_timeout_s: float = Field(120.0, gt=0)
    max_image_pixels: int = Field(40_000_000, gt=0)
    url_ttl_s: int = Field(3600, gt=0)
    # How long a stopping API goes on answering those who wait; and after that, about how long until the next one
    # listens: so clients are told when to ask again. 0 where others answer meanwhile (behind a balancer).
    shutdown_timeout_s: int = Field(30, gt=0)
    restart_s: int = Field(5, ge=0, le=60)
    # Let several API processes listen on one port: the new one starts before the old one is stopped.
    reuse_port: bool = False
    heartbeat_s: float = Field(15.0, gt=0)
    # A client that goes away cancels the job it waited for; jobs submitted to be polled live on.
    cancel_on_disconnect: bool = True
    # How many requests for pictures an API key may send in a minute, none for any number; a line of the key file may
    # say its own. Without keys all clients share it.
    requests_per_minute: int | None = Field(None, ge=1)
    # One key a line; the first is an administrator. Without a file, API_KEY from the environment, else open.
    api_key_file: Path | None = None
    api_key: str | None = None


class RepositorySettings(_Group):
    """Which graphs are served; without any of the paths, the bundled demo model."""

    model_repository_path: Path | None = None
    config_path: Path | None = None
    model_path: Path | None = None
    model_name: str | None = None
    target_device: str = "CPU"


class WorkerSettings(_Group):
    """One worker process: one graph on one device."""

    graph: str | None = None
    device: str | None = None
    engine: Literal["openvino", "simulated"] = "openvino"
    cache_dir: Path | None = None
    simulated_step_s: float = Field(0.02, ge=0)
    # A prompt with these words in it ends the simulated engine's process, as a crash in native code would.
    simulated_fatal_words: str | None = Field(None, min_length=1)
    # How long a stopping worker may go on with the job it runs; then it hands it back.
    shutdown_timeout_s: int = Field(30, gt=0)


class JobSettings(_Group):
    """A job's life."""

    result_ttl_s: int = Field(3600, gt=0)
    record_ttl_s: int = Field(86_400, gt=0)
    lease_s: float = Field(6.0, gt=1)
    max_attempts: int = Field(3, ge=1)
    # What may wait for a graph, and of it for one API key: jobs, and bytes of requests and their pictures (as PNG).
    # Together with maxmemory of Redis these bound its memory; docs/jobs.md has the sum.
    max_queued: int = Field(1000, ge=1)
    max_queued_bytes: int = Field(512 * 2**20, gt=0)
    max_queued_per_key: int = Field(500, ge=1)
    max_queued_bytes_per_key: int = Field(256 * 2**20, gt=0)
    # A job that ran this long fails: it stops at its next step, or after the grace with the process that runs it.
    time_limit_s: int = Field(3600, gt=0)
    time_limit_grace_s: float = Field(10.0, ge=0)


class WebhookSettings(_Group):
    """Telling clients' servers about their jobs; without a secret, no job may ask for that."""

    # What deliveries are signed with: whsec_ and base64, or any text. Several, space-separated, while a new one takes
    # over: each signs.
    secret: str | None = Field(None, repr=False)
    # Whether servers on this machine and in its own network may be told, and over plain HTTP.
    allow_private: bool = False
    timeout_s: float = Field(10.0, gt=0)
    max_attempts: int = Field(12, ge=1)
    # The wait doubles from the first to the longest; a delivery is given up after three days in any case.
    first_retry_s: float = Field(5.0, gt=0)
    longest_retry_s: float = Field(3600.0, gt=0)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets, each for itself."""
        return tuple((self.secret or "").split())

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, secret: str | None) -> str | None:
        for part in (secret or "").split():
            if part.startswith("whsec_") and not _BASE64.fullmatch(part, len("whsec_")):
                raise ValueError("what follows whsec_ must be base64, with its = at the end")
        return secret


class DownloadSettings(_Group):
    """Where adapters may be downloaded from, and how much."""

    hf_token: str | None = Field(None, repr=False)
    hf_endpoint: str = Field("https://huggingface.co", pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$")
    # No request to Hugging Face at all; what is already there is served.
    offline: bool = False
    allow_http: bool = False
    # Whether URLs may lead to this machine and its private networks.
    allow_private: bool = False
    max_bytes: int = Field(4 * 2**30, gt=0)
    timeout_s: float = Field(30.0, gt=0)


class LogSettings(_Group):
    """What is logged, to standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    # Lines for people, or one JSON object a line, with the ids of request and job.
    format: Literal["text", "json"] = "text"


class Settings(BaseSettings):
    """All settings; arguments win over the environment, the environment over the defaults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, extra="forbid", frozen=True, protected_namespaces=()
    )

    redis: RedisSettings = RedisSettings()
    http: HttpSettings = HttpSettings()
    repository: RepositorySettings = RepositorySettings()
    worker: WorkerSettings = WorkerSettings()
    jobs: JobSettings = JobSettings()
    webhooks: WebhookSettings = WebhookSettings()
    downloads: DownloadSettings = DownloadSettings()
    log: LogSettings = LogSettings()
    data_dir: Path = Field(default_factory=lambda: default_data_dir())


class SettingsError(Exception):
    """A setting cannot be used."""


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment, with ``overrides`` (nested dicts by group) on top.

    Overrides that are None count as not given. Raises SettingsError with one sentence a wrong setting.
    """
    given = _without_none(overrides)
    for variable, (group, name) in _KNOWN_EVERYWHERE.items():
        own = f"{PREFIX}{group}{DELIMITER}{name}".upper()
        if os.environ.get(variable) and name not in given.get(group, {}) and own not in os.environ:
            given.setdefault(group, {})[name] = os.environ[variable]
    if unknown := _unknown_groups():
        raise SettingsError(f"setting {unknown[0]}: there is no such group of settings")
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(_sentences(error)) from error


def settings_environment(settings: Settings) -> dict[str, str]:
    """Return the whole environment for a child process that is to see exactly these settings."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) and k != "REDIS_URL"}
    return inherited | dict(_flatten(settings.model_dump(mode="json"), PREFIX))


def prometheus_folder() -> Path | None:
    """Return the folder in which prometheus-client lets several processes count together, None for each by itself."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder else None


def default_data_dir() -> Path:
    """Return the user's data directory for this service (XDG base directory specification)."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "imagegen"


def _unknown_groups() -> list[str]:
    """Names that begin like ours and lead nowhere: pydantic-settings would pass over a misspelt group in silence."""
    known = {name.upper() for name in Settings.model_fields}
    ours = (name for name in os.environ if name.startswith(PREFIX))
    return sorted(name for name in ours if name.removeprefix(PREFIX).partition(DELIMITER)[0] not in known)


def _flatten(values: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            flat += _flatten(value, f"{prefix}{name.upper()}{DELIMITER}")
        elif value is not None:
            flat.append((f"{prefix}{name.upper()}", str(value)))
    return flat


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    cleaned = {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items() if v is not None}
    return {k: v for k, v in cleaned.items() if v != {}}


def _sentences(error: ValidationError) -> str:
    return "; ".join(
        f"setting {PREFIX}{DELIMITER.join(str(part).upper() for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors()
    )
