"""Which files of a repository serving needs: those of the parts that model_index.json names, in OpenVINO's form."""

import json
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from graphs.errors import ConfigurationError

MODEL_INDEX = "model_index.json"
# What is drawn with: parts such as a safety checker are not run here, and their files are not fetched.
_PARTS = ("text_encoder", "tokenizer", "unet", "transformer", "vae", "scheduler")
_NETWORKS = ("unet", "transformer")
_NETWORK_FILES = ("openvino_model.xml", "openvino_model.bin")
_MOST_SHOWN = 8


def check_kind(name: str, files: Iterable[str]) -> None:
    """Check that a repository holds a pipeline of diffusers. Raises ConfigurationError, which shows what it holds."""
    files = sorted(files)
    if MODEL_INDEX in files:
        return
    if any(file == "config.json" or file.endswith((".gguf", "openvino_language_model.xml")) for file in files):
        kind = "it looks like a language model or another single network"
    elif any(file.endswith(".safetensors") for file in files):
        kind = "it looks like an adapter, or a single checkpoint; an adapter goes into --source_loras"
    else:
        kind = "it has another form"
    raise ConfigurationError(
        f"the repository {name} is no image generation model in diffusers' form: it has no {MODEL_INDEX}, and {kind} "
        f"({_shown(files)})."
    )


def files_to_serve(name: str, index: bytes, files: Iterable[str]) -> list[str]:
    """Return the files that serving needs. ``index`` is the content of model_index.json.

    Raises ConfigurationError where a part has no OpenVINO files, or where the index is not JSON.
    """
    files = sorted(files)
    named = parts_of_index(name, index)
    # The VAE is two networks in OpenVINO's form.
    parts = [*(part for part in named if part != "vae"), *(["vae_encoder", "vae_decoder"] if "vae" in named else [])]
    chosen = [file for file in files if file == MODEL_INDEX or _is_needed(PurePosixPath(file), parts)]
    missing = [
        f"{part}/{wanted}"
        for part in parts
        if part in _NETWORKS
        for wanted in _NETWORK_FILES
        if f"{part}/{wanted}" not in files
    ]
    if missing:
        held = [file for file in files if file.startswith(tuple(f"{part}/" for part in _NETWORKS))]
        raise ConfigurationError(
            f"the repository {name} is not in OpenVINO's form, and its networks have no .safetensors files that could "
            f"be converted: it has no {missing[0]} ({_shown(held or files)}). Take one that has, such as those of "
            "https://huggingface.co/OpenVINO."
        )
    return chosen


def parts_of_index(name: str, index: bytes) -> list[str]:
    """Return the parts that a model_index.json names and that are drawn with. Raises ConfigurationError."""
    try:
        entries = json.loads(index)
    except ValueError as error:
        raise ConfigurationError(f"the {MODEL_INDEX} of the repository {name} is not JSON: {error}.") from error
    if not isinstance(entries, dict):
        raise ConfigurationError(f"the {MODEL_INDEX} of the repository {name} is not a JSON object.")
    named = [key for key, value in entries.items() if isinstance(value, list) and value and value[0] is not None]
    return [part for part in named if part.startswith(_PARTS)]


def _is_needed(file: PurePosixPath, parts: Sequence[str]) -> bool:
    if len(file.parts) != 2 or file.parts[0] not in parts:
        return False
    if file.suffix in (".xml", ".bin"):
        return file.name.startswith("openvino_")
    return file.suffix in (".json", ".txt", ".model")


def _shown(files: Sequence[str]) -> str:
    more = f" and {len(files) - _MOST_SHOWN} more" if len(files) > _MOST_SHOWN else ""
    return ", ".join(files[:_MOST_SHOWN]) + more if files else "it is empty"
