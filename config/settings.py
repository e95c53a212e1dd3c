"""Every setting, with its type, default and description.

A setting is read from the environment variable ``IMAGEGEN_<GROUP>__<NAME>``, for example
``IMAGEGEN_HTTP__REST_PORT=9000``. Names that end in ``_s`` are seconds, ``_bytes`` bytes, ``_pixels`` pixels. The
descriptions are written for users: docs/settings.md and the help of the command line's options are made from them.
"""

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from config.http_settings import ConnectionSettings, InputImageSettings, WebSettings
from config.http_settings import HttpSettings as HttpSettings  # where most modules look for it
from config.job_store_settings import JobSettings as JobSettings
from config.job_store_settings import RedisSettings as RedisSettings
from config.settings_group import SettingsGroup

PREFIX = "IMAGEGEN_"
DELIMITER = "__"
_DEVICE_MAP = re.compile(r"[A-Z][A-Z0-9_.]*=[A-Z][A-Z0-9_.]*(,[A-Z][A-Z0-9_.]*=[A-Z][A-Z0-9_.]*)*", re.ASCII)
# Standard Webhooks asks for 24 to 64 bytes.
LEAST_WEBHOOK_SECRET_BYTES = 24
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})", re.ASCII)


class RepositorySettings(SettingsGroup):
    """Which graphs are served; without any of the paths, the bundled demo model."""

    model_repository_path: Path | None = Field(
        None, description="Folder with one servable, or with one folder for each servable."
    )
    config_path: Path | None = Field(None, description="A `config.json` that lists what is served.")
    model_path: Path | None = Field(None, description="Folder of a single model.")
    model_name: str | None = Field(None, description="Name of the single model; if not set, its folder's name.")
    model_alias: str | None = Field(
        None,
        description="Other names of models: `NAME=MODEL,...`; `*` in a name stands for anything, as in "
        "`gpt-image-*=demo`. While one base model is served, the names of OpenAI's image models mean it without this.",
    )
    target_device: str = Field("CPU", description="Device of graphs that name none: CPU, GPU, GPU.1, NPU, ...")


class WorkerSettings(SettingsGroup):
    """A worker process: one graph on one device."""

    graph: str | None = Field(None, description="Graph to serve; not needed where only one is defined.")
    device: str | None = Field(None, description="Device to use in place of the graph's own, such as GPU.0.")
    device_map: str | None = Field(
        None,
        description="For tests and demos on a machine without the hardware: devices that stand in for others, such as "
        "`GPU=CPU,NPU=CPU`. The rules for the named device still hold; only the model is compiled for the other one.",
    )
    engine: Literal["openvino", "simulated"] = Field(
        "openvino", description="What draws: OpenVINO, or a simulation without a model, for tests."
    )
    cache_dir: Path | None = Field(None, description="Folder for compiled models; later starts are faster.")
    simulated_step_s: float = Field(0.02, ge=0, description="How long a denoising step of the simulated engine takes.")
    simulated_fatal_words: str | None = Field(
        None, min_length=1, description="The simulated engine ends its process on a prompt that contains this text."
    )
    child_memory_limit_bytes: int | None = Field(
        None,
        gt=0,
        description="Resident memory of the process that holds the model, above which it is replaced between two jobs. "
        "If not set, it is three quarters of the memory of this machine, or of its cgroup, shared by the workers of "
        "`imagegen serve`.",
    )
    simulated_breaks_after: int | None = Field(
        None, ge=0, description="So many requests the simulated device draws; then it fails until its process ends."
    )
    shutdown_timeout_s: int = Field(
        30, gt=0, description="How long a worker that was asked to stop may go on with its job before it hands it back."
    )

    @property
    def stand_ins(self) -> dict[str, str]:
        """The device that stands in for each device of ``device_map``."""
        return dict(pair.split("=") for pair in (self.device_map or "").split(",") if pair)

    @field_validator("device_map")
    @classmethod
    def _check_device_map(cls, device_map: str | None) -> str | None:
        if device_map and not _DEVICE_MAP.fullmatch(device_map):
            raise ValueError("write NAME=NAME pairs with commas between them, such as GPU=CPU,NPU=CPU")
        return device_map


class WebhookSettings(SettingsGroup):
    """Webhooks: HTTP requests about a job's events to a URL that its client gave."""

    secret: str | None = Field(
        None,
        repr=False,
        description="Secret that signs deliveries: `whsec_` and base64, or another text without blanks, of 24 bytes at "
        "least; `imagegen keys webhook-secret` makes one. Give several, separated by spaces, while a new one replaces "
        "an old one: each of them signs. Without a secret, no job may have a webhook.",
    )
    allow_private: bool = Field(
        False, description="Whether webhooks may go to this machine and its private networks, and over plain HTTP."
    )
    use_proxy: bool = Field(
        False,
        description="Whether webhooks go through the proxy of the environment (`HTTPS_PROXY`, `ALL_PROXY`, "
        "`NO_PROXY`). The proxy finds the address of a name then, and must itself refuse private ones.",
    )
    timeout_s: float = Field(10.0, gt=0, description="How long one delivery attempt may take.")
    max_attempts: int = Field(
        12, ge=1, description="How often a delivery is tried; it is given up after three days in any case."
    )
    first_retry_s: float = Field(5.0, gt=0, description="Wait after the first failed attempt; each later wait doubles.")
    longest_retry_s: float = Field(3600.0, gt=0, description="Longest wait between two attempts.")

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets, one by one."""
        return tuple((self.secret or "").split())

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, secret: str | None) -> str | None:
        for part in (secret or "").split():
            is_base64 = part.startswith("whsec_")
            if is_base64 and not _BASE64.fullmatch(part, len("whsec_")):
                raise ValueError("what follows whsec_ must be base64, with its = at the end")
            size_bytes = len(part.removeprefix("whsec_").rstrip("=")) * 3 // 4 if is_base64 else len(part.encode())
            if size_bytes < LEAST_WEBHOOK_SECRET_BYTES:
                raise ValueError(
                    f"each secret needs at least {LEAST_WEBHOOK_SECRET_BYTES} bytes, and one has {size_bytes} (a blank "
                    "separates two secrets); `imagegen keys webhook-secret` makes one"
                )
        return secret


class DownloadSettings(SettingsGroup):
    """Downloads of LoRA adapters."""

    hf_token: str | None = Field(None, repr=False, description="Access token for Hugging Face.")
    hf_endpoint: str = Field(
        "https://huggingface.co",
        pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$",
        description="URL of Hugging Face, or of a mirror of it.",
    )
    civitai_token: str | None = Field(None, repr=False, description="Access token for Civitai.")
    civitai_endpoint: str = Field(
        "https://civitai.com",
        pattern=r"^https?://[^/?#@\s]+/?( https?://[^/?#@\s]+/?)*$",
        description="URL of Civitai; several are separated by spaces. The token is sent to these servers only.",
    )
    offline: bool = Field(
        False, description="Send no request to Hugging Face at all; adapters that are already there are served."
    )
    allow_http: bool = Field(
        False,
        description="Whether an adapter that a request names may be downloaded over plain HTTP. What `--source_loras` "
        "names always may.",
    )
    allow_private: bool = Field(
        False,
        description="Whether an adapter that a request names may be downloaded from this machine and its private "
        "networks. What `--source_loras` names always may.",
    )
    use_proxy: bool = Field(
        False,
        description="Whether an adapter that a request names is downloaded through the proxy of the environment "
        "(`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`). The proxy finds the address of a name then, and must itself refuse "
        "private ones. What `--source_loras` names always is.",
    )
    max_bytes: int = Field(4 * 2**30, gt=0, description="Largest file to download.")
    timeout_s: float = Field(30.0, gt=0, description="How long a download waits for the next bytes.")
    total_timeout_s: float = Field(3600.0, gt=0, description="How long a download may take.")

    @property
    def is_of_operator(self) -> bool:
        """Whether the operator typed the source: then plain HTTP, private addresses and the proxies of the
        environment are used.
        """
        return False

    def for_operator(self) -> "OperatorDownloadSettings":
        """Return these settings for a source that the operator typed."""
        allowed = {"allow_http": True, "allow_private": True, "use_proxy": True}
        return OperatorDownloadSettings(**{**self.model_dump(), **allowed})


class OperatorDownloadSettings(DownloadSettings):
    """Downloads of LoRA adapters that the operator asked for, on the command line."""

    @property
    def is_of_operator(self) -> bool:
        """Whether the operator typed the source: always."""
        return True


class LogSettings(SettingsGroup):
    """What is logged, to standard error and into a file if one is named."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level to log: DEBUG, INFO, WARNING or ERROR."
    )
    format: Literal["text", "json"] = Field(
        "text", description="text: lines for people; json: one object a line, with the ids of request and job."
    )
    path: Path | None = Field(
        None,
        description="File that gets the log beside standard error; lines are added at its end. When the file is moved "
        "or removed, as logrotate does, a new one is begun.",
    )


class Settings(BaseSettings):
    """All settings; arguments win over the environment, the environment over the defaults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, extra="forbid", frozen=True, protected_namespaces=()
    )

    redis: RedisSettings = RedisSettings()
    http: HttpSettings = HttpSettings()
    images: InputImageSettings = InputImageSettings()
    connections: ConnectionSettings = ConnectionSettings()
    web: WebSettings = WebSettings()
    repository: RepositorySettings = RepositorySettings()
    worker: WorkerSettings = WorkerSettings()
    jobs: JobSettings = JobSettings()
    webhooks: WebhookSettings = WebhookSettings()
    downloads: DownloadSettings = DownloadSettings()
    log: LogSettings = LogSettings()
    lora_folder: Path | None = Field(
        None,
        description="Folder of LoRA adapters (.safetensors files) of the only model; each file is an alias. Workers on "
        "other machines need it under the same path.",
    )
    file_system_poll_wait_s: float = Field(
        1.0,
        ge=0,
        description="How often the files of the models, config.json and imagegen.toml are looked at for changes, in "
        "seconds; 0 never does, then only `POST /v1/config/reload` makes a running service read them again.",
    )
    data_dir: Path = Field(
        default_factory=lambda: default_data_dir(),
        description="Folder for the data of the Redis that `imagegen serve` starts; if not set, "
        "`$XDG_DATA_HOME/imagegen` or `~/.local/share/imagegen`.",
    )


def default_data_dir() -> Path:
    """Return the user's data directory for this service (XDG base directory specification)."""
    base = os.environ.get("XDG_DATA_HOME") or str(_home() / ".local" / "share")
    return Path(base) / "imagegen"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # no HOME, and a user whom the machine does not know: at home in the root folder
        return Path("/")
