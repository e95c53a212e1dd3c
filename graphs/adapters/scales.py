"""The scale that an adapter file means: alpha over rank, or over the square root of the rank.

The alpha is a tensor of the file, or stands in PEFT's configuration, which diffusers writes into the file's metadata
and PEFT into ``adapter_config.json`` beside ``adapter_model.safetensors``.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphs.adapters.keys import AdapterKey

_METADATA = "lora_adapter_metadata"
_PEFT_FILE = "adapter_model.safetensors"
_PEFT_CONFIG = "adapter_config.json"
_LARGEST_CONFIG_BYTES = 1_000_000
_LARGEST_ALPHA = 1e30  # larger numbers, infinity and NaN are no alpha
_DENOISERS = ("unet", "transformer", "")


@dataclass(frozen=True)
class _Configuration:
    """PEFT's configuration of one component (https://huggingface.co/docs/peft/package_reference/lora)."""

    alpha: float | None = None
    alphas: Mapping[str, float] = field(default_factory=dict)
    divides_by_root: bool = False

    def scale(self, path: str, rank: int) -> float | None:
        alpha = next((alpha for name, alpha in self.alphas.items() if _names(name, path)), self.alpha)
        if alpha is None:
            return None
        return alpha / (math.sqrt(rank) if self.divides_by_root else rank)


class Scales:
    """The scales of a file whose layers have no alpha of their own."""

    def __init__(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Read what stands in the metadata of the file, or beside it; what is no configuration is ignored."""
        self._of: dict[str, _Configuration] = {}
        for name, options in _components(path, metadata).items():
            self._of["denoiser" if name in _DENOISERS else name] = _configuration(options)

    def scale(self, key: AdapterKey, rank: int) -> float:
        """Return the factor of a layer's ``up @ down``, 1 where the file says nothing."""
        configuration = self._of.get(key.component)
        scale = configuration.scale(key.path, rank) if configuration else None
        return 1.0 if scale is None else scale


def _components(path: Path, metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key, value in _object(metadata.get(_METADATA, "")).items():
        component, _, option = key.rpartition(".")
        found.setdefault(component, {})[option] = value
    config = path.with_name(_PEFT_CONFIG)
    if not found and path.name == _PEFT_FILE and config.is_file() and config.stat().st_size < _LARGEST_CONFIG_BYTES:
        found[""] = _object(config.read_text(encoding="utf-8", errors="replace"))
    return found


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _configuration(options: Mapping[str, Any]) -> _Configuration:
    patterns = options.get("alpha_pattern")
    alphas = patterns.items() if isinstance(patterns, dict) else ()
    return _Configuration(
        _number(options.get("lora_alpha")),
        {name.removeprefix("^"): alpha for name, value in alphas if (alpha := _number(value)) is not None},
        options.get("use_rslora") is True,
    )


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if abs(value) < _LARGEST_ALPHA else None


def _names(pattern: str, path: str) -> bool:
    """Return whether a pattern, which diffusers writes as the end of a module's path, names the module."""
    return path == pattern or path.endswith(f".{pattern}")
