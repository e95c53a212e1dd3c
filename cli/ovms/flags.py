"""Every flag of OpenVINO Model Server's command line, and what becomes of it here.

The names and kinds are those of ``src/cli_parser.cpp`` and ``src/graph_export`` of Model Server 2026.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["switch", "number", "text"]
_SERVE = frozenset({"serve"})
_GRAPH = frozenset({"serve", "pull", "configure"})
_FETCH = frozenset({"serve", "pull"})


@dataclass(frozen=True)
class Flag:
    """One flag: what follows it, and what becomes of it.

    ``commands`` are our commands that take it as it is. Else it is ``refused`` with a sentence, or it does not change
    anything, and ``said`` says why; a flag with neither chooses the command.
    """

    kind: Kind
    commands: frozenset[str] = frozenset()
    said: str = ""
    refused: str = ""


def _to(commands: frozenset[str], kind: Kind = "text") -> Flag:
    return Flag(kind, commands)


def _without_effect(kind: Kind, said: str) -> Flag:
    return Flag(kind, said=said)


_NO_GRPC = "this server has no gRPC, only REST"
_CLASSIC = "it is for classic models, and has no meaning for image generation in Model Server either"
_OTHER_TASKS = "it is for other tasks than image generation in Model Server too"

_CHOOSES_COMMAND = {name: Flag("switch") for name in ("pull", "configure", "list_models")} | {
    "add_to_config": Flag("switch"),
    "remove_from_config": Flag("switch"),
    "help": Flag("switch"),
    "version": Flag("switch"),
}
_SERVER = {
    "port": _without_effect("number", _NO_GRPC),
    "grpc_bind_address": _without_effect("text", _NO_GRPC),
    "grpc_workers": _without_effect("number", _NO_GRPC),
    "grpc_max_threads": _without_effect("number", _NO_GRPC),
    "grpc_memory_quota": _without_effect("number", _NO_GRPC),
    "grpc_channel_arguments": _without_effect("text", _NO_GRPC),
    "rest_port": _to(_SERVE, "number"),
    "rest_bind_address": _to(_SERVE),
    "rest_workers": _without_effect(
        "number", "requests wait in a queue, and one image is drawn at a time for each device; see docs/add-workers.md"
    ),
    "log_level": _to(_SERVE),
    "log_path": _to(_SERVE),
    "file_system_poll_wait_seconds": _to(_SERVE, "number"),
    "custom_node_resources_cleaner_interval_seconds": _without_effect("number", _OTHER_TASKS),
    "cache_dir": _to(_SERVE),
    "cpu_extension": Flag("text", refused="this server loads no libraries with layers for the CPU: leave it out."),
    "metrics_enable": _to(_SERVE, "switch"),
    "metrics_list": _without_effect("text", "/metrics always has every metric; see docs/metrics.md"),
    "trace_path": _without_effect("text", "this server writes no trace, as Model Server as it is released"),
    "verbose_response": _without_effect("switch", _OTHER_TASKS),
    "allowed_media_domains": _without_effect("text", "requests for images name no addresses of input images"),
    "allowed_local_media_path": _without_effect("text", "requests for images name no files of the server"),
    "allow_credentials": _to(_SERVE, "switch"),
    "allowed_origins": _to(_SERVE),
    "allowed_methods": _to(_SERVE),
    "allowed_headers": _to(_SERVE),
    "api_key_file": _to(_SERVE),
    "disable_input_count_validation": _without_effect("switch", _OTHER_TASKS),
}
_MODELS = {
    "config_path": _to(frozenset({"serve", "models add", "models remove", "models list"})),
    "model_name": _to(_SERVE),
    "model_path": _to(frozenset({"serve", "configure", "models add"})),
    "model_repository_path": _to(frozenset({"serve", "pull", "models add", "models list"})),
    "target_device": _to(_GRAPH),
    **{
        name: _without_effect("text", _CLASSIC)
        for name in (
            *("batch_size", "shape", "layout", "mean", "scale", "color_format", "precision"),
            *("model_version_policy", "nireq"),
        )
    },
}
_FETCHED = {
    "source_model": _to(_FETCH),
    "overwrite_models": _to(_FETCH, "switch"),
    "source_loras": _to(_GRAPH),
    "weight_format": _to(_FETCH),
    "extra_quantization_params": _to(_FETCH),
    "gguf_filename": Flag("text", refused="it is for models of text, and this server draws images only: leave it out."),
}
_TASK = {
    "task": _to(_GRAPH),
    "plugin_config": _to(_GRAPH),
    "resolution": _to(_GRAPH),
    "max_resolution": _to(_GRAPH),
    "default_resolution": _to(_GRAPH),
    "num_images_per_prompt": _to(_GRAPH, "number"),
    "guidance_scale": _to(_GRAPH),
    "max_num_images_per_prompt": _to(_GRAPH, "number"),
    "default_num_inference_steps": _to(_GRAPH, "number"),
    "max_num_inference_steps": _to(_GRAPH, "number"),
    "num_streams": _to(_GRAPH, "number"),
}

MODEL_SERVER_FLAGS = {**_CHOOSES_COMMAND, **_SERVER, **_MODELS, **_FETCHED, **_TASK}
"""The flags by name, with ``_`` between words."""

OWN_FLAGS = {
    "data_dir": _to(_FETCH),
    "env_file": _to(_FETCH),
    **{
        name: _to(_SERVE)
        for name in ("public_url", "allowed_hosts", "model_alias", "lora_folder", "redis_url", "redis_prefix")
    },
    "log_format": _to(_SERVE),
}
"""Options of ours that Model Server does not have, taken on its line as well."""

FLAGS = {**MODEL_SERVER_FLAGS, **OWN_FLAGS}


def typed(name: str) -> str:
    """Return a flag as it is typed; Model Server has one with a hyphen."""
    return "--weight-format" if name == "weight_format" else f"--{name}"
