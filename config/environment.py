"""Reads the settings from the environment, and writes them into the environment of a child process.

A Celery project's shell, or the image of a platform, hands its own variables to every process. Celery takes its broker,
its loader and its settings from them, before those that it is given. So they are taken out before Celery, Kombu,
Billiard, uvicorn and prometheus-client are imported; what this service means by them are settings of its own.
"""

import difflib
import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.settings import DELIMITER, PREFIX, Settings, default_data_dir

# Variables of other tools that set the same thing here: variable -> (group, name). Our own variables win over them.
OTHER_VARIABLES = {
    "REDIS_URL": ("redis", "url"),
    "HF_TOKEN": ("downloads", "hf_token"),
    "HF_ENDPOINT": ("downloads", "hf_endpoint"),
    "HF_HUB_OFFLINE": ("downloads", "offline"),
    "CIVITAI_TOKEN": ("downloads", "civitai_token"),
    "API_KEY": ("http", "api_key"),  # Model Server's name for it
    "FORWARDED_ALLOW_IPS": ("connections", "trusted_proxies"),  # uvicorn's
    # As platforms that run containers set them; HOST only beside PORT and as an IP address, since some shells have the
    # machine's name in it.
    "PORT": ("http", "rest_port"),
    "HOST": ("http", "rest_bind_address"),
}
# The key that commands send to a server; it is no setting of a server.
CLIENT_API_KEY = "IMAGEGEN_API_KEY"
CLIENT_URL = "IMAGEGEN_URL"
MODEL_SERVER_MODELS_FOLDER = "OVMS_MODEL_REPOSITORY_PATH"
DEFAULT_SERVER_URL = "http://127.0.0.1:8000"

# prometheus-client looks for this name when it is imported.
PROMETHEUS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
METRICS_FOLDER = f"{PREFIX}HTTP{DELIMITER}METRICS_FOLDER"

# Found by searching the sources of the pinned versions for reads of the environment. ``*`` stands for any ending.
FOREIGN = (
    # Celery 5.7, with what its fixups read, Kombu 5.7 and Billiard 4.3
    *("CELERY*", "KOMBU_*", "C_*", "DJANGO_SETTINGS_MODULE", "DJANGO_PROJECT_DIR", "AUTOSCALE_KEEPALIVE", "NO_WORKER"),
    *("REMAP_SIGTERM", "DISABLE_TRACEBACKS", "WORKER_LOGLEVEL", "TIMER_DEBUG", "USE_FAST_LOCALS", "NOSETPS"),
    *("PICKLE_PROTOCOL", "MP_LOG", "MP_MAIN_FILE", "_MP_FORK_*", "FORKED_BY_MULTIPROCESSING", "TEST_BROKER"),
    *("MULTIPROCESSING_FORKING_DISABLE", "BROKER_URL", "RESULT_BACKEND"),
    # uvicorn 0.51
    *("WEB_CONCURRENCY", "UVICORN_*"),
    # prometheus-client 0.26
    *(PROMETHEUS_FOLDER, "PROMETHEUS_DISABLE_CREATED_SERIES", "PROMETHEUS_LEGACY_NAME_VALIDATION"),
    # Python: without docstrings no command has a help
    "PYTHONOPTIMIZE",
)


class SettingsError(Exception):
    """A setting is wrong; the message names its environment variable."""


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment, with ``overrides`` (nested dicts by group) on top.

    Overrides that are None count as not given. Raises SettingsError with one sentence for each wrong setting.
    """
    given = _without_none(overrides)
    for variable, (group, name) in OTHER_VARIABLES.items():
        own = variable_name(group, name)
        if _is_given(variable) and name not in given.get(group, {}) and own not in os.environ:
            given.setdefault(group, {})[name] = os.environ[variable]
    if unknown := _unknown_variables():
        raise SettingsError(f"setting {unknown[0]}: there is no such group of settings{_nearest(unknown[0])}")
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(_sentences(error)) from error


def variable_name(*path: str) -> str:
    """Return the environment variable of a setting, given as its group and name, or as its name alone."""
    return PREFIX + DELIMITER.join(path).upper()


def variable_that_sets(group: str, name: str) -> str | None:
    """Return the environment variable that a setting is read from where no option gives it; None if none is set."""
    others = [variable for variable, setting in OTHER_VARIABLES.items() if setting == (group, name)]
    return next((variable for variable in (variable_name(group, name), *others) if os.environ.get(variable)), None)


def settings_environment(settings: Settings) -> dict[str, str]:
    """Return the whole environment of a child process that must read exactly these settings."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) and k != "REDIS_URL"}
    return inherited | dict(_flatten(settings.model_dump(mode="json")))


def foreign_environment() -> dict[str, str]:
    """Return the environment of a process with other libraries than ours: without our settings and Python's paths."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) and name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }


def typed_model_options(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return the options of models that are set for all of them: by name the value, and the variable of its setting."""
    values = {name: getattr(settings.http, name) for name in ("default_size_fit", "default_response_format")}
    return {name: (value, variable_name("http", name)) for name, value in values.items() if value is not None}


def leave_out_foreign_variables() -> list[str]:
    """Take the variables of other projects out of this process's environment, and return their names.

    The folder of our own setting ``http.metrics_folder`` takes the place of prometheus-client's variable.
    """
    found = sorted(name for name in os.environ if any(fnmatchcase(name, pattern) for pattern in FOREIGN))
    for name in found:
        del os.environ[name]
    if folder := os.environ.get(METRICS_FOLDER):
        os.environ[PROMETHEUS_FOLDER] = folder
    return found


def data_dir_of_environment() -> Path:
    """Return the data folder where no option gives one: before all settings are read, for a file of settings in it."""
    named = os.environ.get(variable_name("data_dir"))
    return Path(named).expanduser() if named else default_data_dir()


def client_api_key() -> str | None:
    """Return the API key that commands send to a server, where none is given as an option; None if it is not set."""
    return os.environ.get(CLIENT_API_KEY) or None


def client_url() -> str | None:
    """Return the address of the server that commands talk to, where none is given as an option; None if not set."""
    return os.environ.get(CLIENT_URL) or None


def model_server_models_folder() -> Path | None:
    """Return the folder of models that OpenVINO Model Server's variable names; None if it is not set."""
    named = os.environ.get(MODEL_SERVER_MODELS_FOLDER)
    return Path(named).expanduser().absolute() if named else None


def notify_socket() -> str | None:
    """Return the address of the service manager's socket (sd_notify(3)); None without a service manager."""
    return os.environ.get("NOTIFY_SOCKET") or None


def _is_given(variable: str) -> bool:
    value = os.environ.get(variable)
    return bool(value) and (variable != "HOST" or (bool(os.environ.get("PORT")) and _is_address(value or "")))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _unknown_variables() -> list[str]:
    """Return variables that begin with our prefix but name no group; pydantic-settings would ignore them silently."""
    known = {name.upper() for name in Settings.model_fields}
    ours = (name for name in os.environ if name.startswith(PREFIX) and name not in (CLIENT_API_KEY, CLIENT_URL))
    return sorted(name for name in ours if name.removeprefix(PREFIX).partition(DELIMITER)[0] not in known)


def _flatten(values: dict[str, Any], *path: str) -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            flat += _flatten(value, *path, name)
        elif value is not None:
            flat.append((variable_name(*path, name), str(value)))
    return flat


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    cleaned = {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items() if v is not None}
    return {k: v for k, v in cleaned.items() if v != {}}


def _sentences(error: ValidationError) -> str:
    return "; ".join(_sentence(variable_name(*map(str, one["loc"])), one) for one in error.errors())


def _sentence(variable: str, problem: ErrorDetails) -> str:
    if problem["type"] == "extra_forbidden":
        return f"setting {variable}: there is no such setting{_nearest(variable)}"
    return f"setting {variable}: {problem['msg']}"


def _nearest(variable: str) -> str:
    """Return what to ask about a variable that is none of ours: the one that is meant, if one is like it."""
    known = {name.replace("_", ""): name for name in _variables()}
    found = difflib.get_close_matches(variable.replace("_", ""), known, n=1, cutoff=0.8)
    return f"; did you mean {known[found[0]]}?" if found else ""


def _variables() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (variable_name(name, inner) for inner in field.annotation.model_fields)
        else:
            yield variable_name(name)
