"""Which files of a repository a conversion needs: those of a pipeline of PyTorch, with the weights in one variant."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from workers.sources.models.selection import MODEL_INDEX, parts_of_index

_NETWORKS = ("text_encoder", "unet", "transformer", "vae")
_DENOISERS = ("unet", "transformer")
_WEIGHTS = ".safetensors"
_TEXTS = (".json", ".txt", ".model")
# A whole file or one of several; diffusers and transformers wrote the variant before and after the number of a file.
_NAME = r"(?:diffusion_pytorch_model|model|pytorch_model)"
_PLAIN = re.compile(rf"{_NAME}\.safetensors")
_PLAIN_SHARDS = re.compile(rf"{_NAME}-\d+-of-\d+\.safetensors|{_NAME}\.safetensors\.index\.json")
_HALF = re.compile(rf"{_NAME}\.fp16\.safetensors")
_HALF_SHARDS = re.compile(
    rf"{_NAME}(?:\.fp16-\d+-of-\d+|-\d+-of-\d+\.fp16)\.safetensors|"
    rf"{_NAME}(?:\.safetensors\.index\.fp16|\.fp16\.safetensors\.index)\.json"
)


def files_to_convert(name: str, index: bytes, files: Iterable[str]) -> list[str] | None:
    """Return the files that a conversion needs, None where a network has no weights as safetensors.

    ``index`` is the content of model_index.json. The weights are the plain ones, in the variant fp16 only where a
    network has no plain ones. Raises ConfigurationError where the index is not JSON.
    """
    files = sorted(files)
    parts = parts_of_index(name, index)
    networks = [part for part in parts if part.startswith(_NETWORKS)]
    held = {part: [PurePosixPath(file) for file in files if _is_directly_in(file, part)] for part in parts}
    plain = {part: _weights(held[part], _PLAIN, _PLAIN_SHARDS) for part in networks}
    half = {part: _weights(held[part], _HALF, _HALF_SHARDS) for part in networks}
    if not any(part in _DENOISERS for part in networks) or any(not (plain[part] or half[part]) for part in networks):
        return None
    first, second = (plain, half) if all(plain.values()) else (half, plain)
    weights = [str(file) for part in networks for file in first[part] or second[part]]
    texts = [str(file) for part in parts for file in held[part] if _is_text(file)]
    return sorted({MODEL_INDEX, *texts, *weights})


def is_weight(file: str) -> bool:
    """Return whether a file holds weights of PyTorch."""
    return file.endswith(_WEIGHTS)


def _is_directly_in(file: str, part: str) -> bool:
    return PurePosixPath(file).parts[:-1] == (part,)


def _weights(files: Sequence[PurePosixPath], whole: re.Pattern[str], shards: re.Pattern[str]) -> list[PurePosixPath]:
    """Return the one file, else all of several with their index."""
    found = [file for file in files if whole.fullmatch(file.name)]
    parts = [file for file in files if shards.fullmatch(file.name)]
    return found[:1] or (parts if any(is_weight(file.name) for file in parts) else [])


def _is_text(file: PurePosixPath) -> bool:
    """Return whether it is a configuration or a tokenizer's; the index of shards is one of the weights."""
    return file.suffix in _TEXTS and ".index" not in file.name and not file.name.startswith("openvino_")
