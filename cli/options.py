"""The options that several commands share, and how they become settings.

Names are those of OpenVINO Model Server where it has one. An option that is not given is None, so that the
environment and then the defaults rule.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from config.settings import Settings, load_settings
from graphs.repository.bundled import load_served
from graphs.repository.repository import Repository

RestPort = Annotated[int | None, typer.Option("--rest_port", help="Port of the HTTP API (8000).")]
RestBindAddress = Annotated[
    str | None, typer.Option("--rest_bind_address", help="Address the HTTP API listens on (127.0.0.1).")
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option("--api_key_file", help="File with an API key a line; the first is an administrator's (open to all)."),
]
ModelRepositoryPath = Annotated[
    Path | None,
    typer.Option("--model_repository_path", help="Folder with one servable, or with one folder for each."),
]
ConfigPath = Annotated[Path | None, typer.Option("--config_path", help="A config.json that lists what is served.")]
ModelPath = Annotated[Path | None, typer.Option("--model_path", help="Folder of a single model.")]
ModelName = Annotated[str | None, typer.Option("--model_name", help="Name of the single model.")]
TargetDevice = Annotated[
    str | None,
    typer.Option("--target_device", help="Device of graphs that name none: CPU, GPU, GPU.1, NPU, ... (CPU)."),
]
CacheDir = Annotated[
    Path | None, typer.Option("--cache_dir", help="Folder for compiled models; later starts are faster.")
]
DataDir = Annotated[Path | None, typer.Option("--data_dir", help="Folder for the data of the Redis that serve starts.")]
RedisUrl = Annotated[
    str | None, typer.Option("--redis_url", help="Redis to use, as redis://HOST:PORT/0 (also REDIS_URL).")
]
LogLevel = Annotated[str | None, typer.Option("--log_level", help="DEBUG, INFO, WARNING or ERROR (INFO).")]
LogFormat = Annotated[str | None, typer.Option("--log_format", help="text, or json: one object a line (text).")]

# Option -> (group of settings, its name there).
_SETTINGS = {
    "rest_port": ("http", "rest_port"),
    "rest_bind_address": ("http", "rest_bind_address"),
    "reuse_port": ("http", "reuse_port"),
    "api_key_file": ("http", "api_key_file"),
    "model_repository_path": ("repository", "model_repository_path"),
    "config_path": ("repository", "config_path"),
    "model_path": ("repository", "model_path"),
    "model_name": ("repository", "model_name"),
    "target_device": ("repository", "target_device"),
    "cache_dir": ("worker", "cache_dir"),
    "graph": ("worker", "graph"),
    "device": ("worker", "device"),
    "redis_url": ("redis", "url"),
    "log_level": ("log", "level"),
    "log_format": ("log", "format"),
}


def settings_from(params: Mapping[str, Any]) -> Settings:
    """Return the settings with a command's options (typer's ``ctx.params``) on top.

    Paths come back absolute, as child processes run elsewhere. Raises SettingsError.
    """
    overrides: dict[str, Any] = {"data_dir": params.get("data_dir")}
    for option, (group, name) in _SETTINGS.items():
        overrides.setdefault(group, {})[name] = params.get(option)
    if overrides["log"]["level"]:
        overrides["log"]["level"] = overrides["log"]["level"].upper()
    return _absolute(load_settings(**overrides))


def repository_from(settings: Settings) -> Repository:
    """Load what these settings say is served. Raises ConfigurationError."""
    return load_served(**settings.repository.model_dump())


def _absolute(settings: Settings) -> Settings:
    paths = ("model_repository_path", "config_path", "model_path")
    return settings.model_copy(
        update={
            "data_dir": settings.data_dir.expanduser().absolute(),
            "http": _with_absolute(settings.http, "api_key_file"),
            "repository": _with_absolute(settings.repository, *paths),
            "worker": _with_absolute(settings.worker, "cache_dir"),
        }
    )


def _with_absolute(group: BaseModel, *names: str) -> BaseModel:
    paths: dict[str, Path | None] = {name: getattr(group, name) for name in names}
    return group.model_copy(update={n: p.expanduser().absolute() for n, p in paths.items() if p is not None})
