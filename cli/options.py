"""The options that several commands share. Each is declared once, here.

Names are those of OpenVINO Model Server where it has one. An option that is not given is None, so that the
environment and then the default decide.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cli.errors import UserError
from config.env_file import NAME as ENV_FILE_NAME
from config.env_file import EnvFileError, read_env_file
from config.environment import (
    data_dir_of_environment,
    leave_out_foreign_variables,
    load_settings,
    typed_model_options,
)
from config.settings import Settings
from graphs.repository.bundled import load_served
from graphs.repository.repository import Repository

_Group = TypeVar("_Group", bound=BaseModel)

# Option -> (its setting, the commands that take it). Commands list their options in this order.
SETTING_OPTIONS = {
    "graph": ("worker.graph", "worker"),
    "rest_port": ("http.rest_port", "serve api doctor"),
    "rest_bind_address": ("http.rest_bind_address", "serve api doctor"),
    "public_url": ("http.public_url", "serve api"),
    "reuse_port": ("http.reuse_port", "api"),
    "metrics_enable": ("http.ovms_metrics", "serve api"),
    "api_key_file": ("http.api_key_file", "serve api doctor"),
    "allowed_hosts": ("web.allowed_hosts", "serve api"),
    "allowed_origins": ("web.allowed_origins", "serve api"),
    "allowed_methods": ("web.allowed_methods", "serve api"),
    "allowed_headers": ("web.allowed_headers", "serve api"),
    "allow_credentials": ("web.allow_credentials", "serve api"),
    "model_repository_path": ("repository.model_repository_path", "serve api worker doctor pull export"),
    "config_path": ("repository.config_path", "serve api worker doctor"),
    "model_path": ("repository.model_path", "serve api worker doctor"),
    "model_name": ("repository.model_name", "serve api worker doctor"),
    "model_alias": ("repository.model_alias", "serve api worker doctor"),
    "target_device": ("repository.target_device", "serve api worker doctor pull export"),
    "lora_folder": ("lora_folder", "serve api"),
    "file_system_poll_wait_seconds": ("file_system_poll_wait_s", "serve api"),
    "device": ("worker.device", "worker doctor"),
    "cache_dir": ("worker.cache_dir", "serve api worker"),
    "data_dir": ("data_dir", "pull export serve api worker doctor rotate_signing"),
    "redis_url": ("redis.url", "serve api worker doctor rotate_signing"),
    "redis_prefix": ("redis.prefix", "serve api worker doctor rotate_signing"),
    "log_level": ("log.level", "serve api worker"),
    "log_format": ("log.format", "serve api worker"),
    "log_path": ("log.path", "serve api worker"),
}

SourceLoras = Annotated[
    str | None,
    typer.Option(
        "--source_loras",
        help="LoRA adapters, as alias=source[:alpha],...: a URL, a path, org/repo or org/repo@file.safetensors; "
        "and blends of them, as alias=@alias:alpha+@alias:alpha.",
    ),
]
WeightFormat = Annotated[
    Literal["fp32", "fp16", "int8", "int4"] | None,
    typer.Option(
        "--weight-format",
        "--weight_format",
        help="Precision of the weights of a model that is converted; without it, int8. int4 is for the denoiser; the "
        "other parts get int8 then.",
    ),
]
ExtraQuantizationParams = Annotated[
    str | None,
    typer.Option(
        "--extra_quantization_params",
        help="Words of `optimum-cli export openvino` for the weights of a model that is converted: --sym; with int4 "
        "also --ratio, --group-size, --group-size-fallback, --backup-precision and --all-layers.",
    ),
]
OverwriteModels = Annotated[
    bool, typer.Option("--overwrite_models", help="Fetch the model anew, in the place of the folder that is there.")
]
EnvFile = Annotated[
    Path | None,
    typer.Option(
        "--env_file",
        help="File of settings, a line NAME=value each; what the environment sets wins. Without it, the file .env in "
        "the data folder is read if it exists.",
    ),
]
ServerUrl = Annotated[
    str | None,
    typer.Option("--url", help="Address of the server; if not given, IMAGEGEN_URL, or http://127.0.0.1:8000."),
]
ServerApiKey = Annotated[
    str | None,
    typer.Option(
        "--api_key",
        help="Sent as a bearer token; better set as IMAGEGEN_API_KEY: options show in the list of processes at first.",
    ),
]


def with_setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that SETTING_OPTIONS lists for its name, before the options of its own.

    The command receives the settings, with the given options applied, as its first argument.
    """
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name))
        for name, (_, commands) in SETTING_OPTIONS.items()
        if command.__name__ in commands.split()
    ]
    env_file = inspect.Parameter("env_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=EnvFile)
    own = [env_file, *list(inspect.signature(command).parameters.values())[1:]]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        options = {option.name: given.pop(option.name) for option in shared}
        read_settings_file(given.pop("env_file"), options.get("data_dir"))
        command(settings_from(options), **given)

    # typer builds the command line from the signature and the annotations.
    signature = inspect.Signature([*shared, *(option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in own)])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: option.annotation for name, option in signature.parameters.items()}
    return run


def setting_option(name: str) -> Any:
    """Return the typer option for one of SETTING_OPTIONS; its help is the description of the setting."""
    field = setting_field(SETTING_OPTIONS[name][0])
    has_default = field.default_factory is None and field.default not in (None, False)
    default = f" Default: {field.default}." if has_default else ""
    return typer.Option(f"--{name}", help=f"{field.description}{default}")


def setting_field(path: str) -> FieldInfo:
    """Return the field of a setting, given as ``group.name`` or as the name of a setting without a group."""
    group, _, name = path.rpartition(".")
    model: type[BaseModel] = Settings
    if group:
        model = Settings.model_fields[group].annotation  # type: ignore[assignment]  # every group is a model
    return model.model_fields[name]


def settings_from(options: Mapping[str, Any]) -> Settings:
    """Return the settings with these options (by name; None for one that was not given) on top.

    Paths come back absolute, as child processes run in another folder. Raises SettingsError.
    """
    overrides: dict[str, Any] = {}
    for name, value in options.items():
        group, _, setting = SETTING_OPTIONS[name][0].rpartition(".")
        target = overrides.setdefault(group, {}) if group else overrides
        target[setting] = value.upper() if name == "log_level" and value else value
    return _absolute(load_settings(**overrides))


def repository_from(settings: Settings) -> Repository:
    """Load the graphs that these settings name. Raises ConfigurationError."""
    return load_served(**settings.repository.model_dump(), typed=typed_model_options(settings))


def read_settings_file(path: Path | None, data_dir: Path | None) -> None:
    """Read a file of settings into the environment: the one that is given, else that of the data folder if any."""
    found = path or (data_dir or data_dir_of_environment()) / ENV_FILE_NAME
    try:
        if path is not None or found.is_file():
            read_env_file(found)
            leave_out_foreign_variables()
    except EnvFileError as error:
        raise UserError(str(error)) from error


def _annotation(name: str) -> Any:
    """Return the type of an option, with its declaration for typer: the setting's own type, or text for a choice."""
    annotation = setting_field(SETTING_OPTIONS[name][0]).annotation
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not NoneType]
    kind = kinds[0] if isinstance(kinds[0], type) else str
    return Annotated[kind | None, setting_option(name)]


def _absolute(group: _Group) -> _Group:
    """Return the settings with every path absolute, also those of inner groups."""
    changed: dict[str, Any] = {}
    for name, value in group:
        if isinstance(value, Path):
            changed[name] = value.expanduser().absolute()
        elif isinstance(value, BaseModel):
            changed[name] = _absolute(value)
    return group.model_copy(update=changed)
