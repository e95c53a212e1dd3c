"""Translates a line of OpenVINO Model Server into a command of this server."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.errors import UserError
from cli.ovms.flags import FLAGS, typed
from cli.ovms.line import GivenFlags

_COMMANDS = {
    "pull": "pull",
    "configure": "configure",
    "list_models": "models list",
    "add_to_config": "models add",
    "remove_from_config": "models remove",
}
_REFUSED_PAIRS = (
    *((one, other) for one in ("list_models", "add_to_config", "remove_from_config") for other in ("pull", "task")),
    *(("list_models", "add_to_config"), ("list_models", "remove_from_config"), ("add_to_config", "remove_from_config")),
    *((one, "configure") for one in ("list_models", "add_to_config", "remove_from_config")),
    ("remove_from_config", "model_path"),
    ("configure", "pull"),
    ("configure", "model_name"),
    ("config_path", "source_model"),
)
_SERVED = ("model_path", "config_path", "model_repository_path", "source_model")


@dataclass(frozen=True)
class OvmsSurroundings:
    """What the environment of a line says: Model Server's folder of models, and which settings are set there."""

    models_folder: Path | None = None
    sets_address: bool = False
    sets_port: bool = False
    sets_models: bool = False


@dataclass(frozen=True)
class OvmsTranslation:
    """The words of our command, and the sentences about flags that change nothing, for standard error."""

    words: list[str]
    said: list[str]


def translate(given: GivenFlags, around: OvmsSurroundings) -> OvmsTranslation:
    """Return the command that does what Model Server's flags ask for. Raises UserError where there is none."""
    if "help" in given:
        return OvmsTranslation(["ovms", "--help"], [])
    if "version" in given:
        return OvmsTranslation(["--version"], [])
    for one, other in _REFUSED_PAIRS:
        if one in given and other in given:
            raise UserError(f"{typed(one)} and {typed(other)} cannot be given together, as in Model Server.")
    chosen = next((name for name in _COMMANDS if name in given), None)
    command = _COMMANDS[chosen] if chosen is not None else "serve"
    if command in ("pull", "configure"):
        given = _with_cache_folder(given)
    said = list(_sentences(given, command, chosen))
    made = _MADE[command](given, around, said)
    return OvmsTranslation([*command.split(), *made], said)


def _sentences(given: GivenFlags, command: str, chosen: str | None) -> Iterator[str]:
    """Yield a sentence for each flag that changes nothing. Raises UserError for a flag that is refused."""
    for name in given:
        flag = FLAGS[name]
        if flag.refused:
            raise UserError(f"{typed(name)}: {flag.refused}")
        elif flag.said:
            yield f"{typed(name)} has no effect: {flag.said}"
        elif name not in _COMMANDS and command not in flag.commands and name != "model_name":
            yield f"{typed(name)} has no effect: with {typed(chosen or '')} nothing is served"


def _with_cache_folder(given: GivenFlags) -> GivenFlags:
    """Return the flags with ``--cache_dir`` as a device option, which Model Server writes into the graph.pbtxt too."""
    given = dict(given)
    folder = given.pop("cache_dir", None)
    if folder is None:
        return given
    try:
        plugin_config = json.loads(given.get("plugin_config", "{}"))
    except ValueError:
        return given  # the command refuses it, with its place
    if isinstance(plugin_config, dict) and "CACHE_DIR" not in plugin_config:
        plugin_config["CACHE_DIR"] = str(Path(folder).expanduser().absolute())
        given["plugin_config"] = json.dumps(plugin_config)
    return given


def _serve(given: GivenFlags, around: OvmsSurroundings, said: list[str]) -> list[str]:
    given = dict(given)
    if "config_path" in given and "model_path" in given:
        raise UserError("--config_path and --model_path cannot be given together, as in Model Server.")
    _check_ports(given)
    if "rest_port" not in given and not around.sets_port:
        said.append(
            "--rest_port is not given: Model Server would have no REST API then; this server has it, on port 8000"
        )
    if not any(name in given for name in _SERVED) and not around.sets_models:
        if "model_name" in given or around.models_folder is None:
            raise UserError(
                "nothing says what is served: give --model_path, --config_path, --source_model or "
                "--model_repository_path (`imagegen serve` alone serves the bundled model)."
            )
        given["model_repository_path"] = str(around.models_folder)
    if "source_model" in given:
        _add_models_folder(given, around)
    if given.get("log_level", "").upper() == "TRACE":
        given["log_level"] = "DEBUG"
        said.append("--log_level TRACE is DEBUG here, which is the most that is logged")
    if given.get("target_device") == "":
        del given["target_device"]
        said.append("--target_device is empty: no device is chosen by itself here; graphs that name none run on CPU")
    if "rest_bind_address" not in given and not around.sets_address:
        given["rest_bind_address"] = "0.0.0.0"  # noqa: S104  # as Model Server; docs/ovms.md says so
    return _options(given, "serve")


def _check_ports(given: GivenFlags) -> None:
    port = given.get("rest_port")
    if port is None:
        return
    if int(port) == 0:
        raise UserError("--rest_port 0 switches the REST API off, and this server has no other; give another port.")
    if int(port) == int(given.get("port", "0")):
        raise UserError(f"--port and --rest_port are both {port}; Model Server refuses that, leave --port out.")


def _pull(given: GivenFlags, around: OvmsSurroundings, said: list[str]) -> list[str]:
    given = dict(given)
    source = given.pop("source_model", None) or given.get("model_name")
    if source is None:
        raise UserError("--pull needs --source_model, as --source_model OpenVINO/NAME.")
    if given.get("model_name", source) != source:
        said.append("--model_name has no effect: a name is given when the model is served")
    _add_models_folder(given, around)
    return [*_options(given, "pull"), "--", source]


def _configure(given: GivenFlags, around: OvmsSurroundings, said: list[str]) -> list[str]:
    if "model_path" not in given:
        raise UserError("--configure needs --model_path, the folder of the model.")
    return _options(given, "configure")


def _list(given: GivenFlags, around: OvmsSurroundings, said: list[str]) -> list[str]:
    given = dict(given)
    if "config_path" not in given:
        _add_models_folder(given, around)
    return _options(given, "models list")


def _change_config(given: GivenFlags, around: OvmsSurroundings, said: list[str], command: str) -> list[str]:
    given = dict(given)
    name = given.get("model_name")
    chosen = next(flag for flag in _COMMANDS if _COMMANDS[flag] == command)
    if name is None:
        raise UserError(f"--{chosen} needs --model_name, the name under which requests ask for the model.")
    if "config_path" not in given:
        if around.models_folder is None:
            raise UserError(f"--{chosen} needs --config_path, the config.json or the folder that holds it.")
        given["config_path"] = str(around.models_folder / "config.json")
    if command == "models add" and "model_path" not in given:
        _add_models_folder(given, around)
    return [*_options(given, command), "--", name]


def _add(given: GivenFlags, around: OvmsSurroundings, said: list[str]) -> list[str]:
    return _change_config(given, around, said, "models add")


def _remove(given: GivenFlags, around: OvmsSurroundings, said: list[str]) -> list[str]:
    return _change_config(given, around, said, "models remove")


_MADE = {
    "serve": _serve,
    "pull": _pull,
    "configure": _configure,
    "models list": _list,
    "models add": _add,
    "models remove": _remove,
}


def _add_models_folder(given: dict[str, str], around: OvmsSurroundings) -> None:
    if "model_repository_path" not in given and around.models_folder is not None:
        given["model_repository_path"] = str(around.models_folder)


def _options(given: GivenFlags, command: str) -> list[str]:
    """Return the given flags that the command takes, as its options."""
    taken = [name for name in given if command in FLAGS[name].commands]
    return [f"--{name}" if FLAGS[name].kind == "switch" else f"--{name}={given[name]}" for name in taken]
