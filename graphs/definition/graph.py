"""The validated options of one graph.pbtxt: the graph that an operator defined."""

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, model_validator

from graphs.resolution import Resolution

LISTS_IN_ONE_TEXT = ("device", "resolution")  # options that are lists here, and one text with spaces in graph.pbtxt
DEFAULT_MAX_RESOLUTION = Resolution(4096, 4096)
MAX_GUIDANCE_SCALE = 100.0
MAX_STRENGTH = 1000.0  # of an adapter, in a request and by the scale that its file means
_ALIAS = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


def check_alias(alias: str) -> None:
    """Check the name of an adapter. Raises ValueError with a sentence."""
    if not _ALIAS.fullmatch(alias) or alias in (".", ".."):
        raise ValueError(f"{alias!r} cannot be an alias; use letters, digits, '-', '_' and '.' only.")


class LoraMode(StrEnum):
    """How an adapter is loaded.

    DYNAMIC adapters are switched per request, STATIC ones are compiled in, FUSE ones are merged into the weights: they
    are always active and clients cannot select them.
    """

    DYNAMIC = "DYNAMIC"
    STATIC = "STATIC"
    FUSE = "FUSE"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Weighted(_Frozen):
    """An entry with a strength: ``alpha`` takes effect; ``alpha_given`` is whether it was written."""

    alpha: float = 1.0
    alpha_given: bool = False

    @model_validator(mode="before")
    @classmethod
    def _alpha_passed_is_alpha_given(cls, data: object) -> object:
        if isinstance(data, dict) and "alpha" in data:
            return {"alpha_given": True, **data}
        return data


class LoraAdapter(_Weighted):
    """One LoRA adapter: the name that clients send, its .safetensors file (absolute) and how it is loaded."""

    alias: str
    path: Path
    mode: LoraMode = LoraMode.DYNAMIC


class CompositeComponent(_Weighted):
    """One adapter of a composite."""

    adapter_alias: str

    def effective_alpha(self, adapter: LoraAdapter) -> float:
        """Return the strength in the composite: the component's where it was written, else the adapter's own."""
        return self.alpha if self.alpha_given else adapter.alpha


class CompositeLoraAdapter(_Frozen):
    """Several adapters that are applied together under one name."""

    alias: str
    components: tuple[CompositeComponent, ...]


class Graph(_Frozen):
    """One servable model and its limits.

    ``path`` is the graph.pbtxt, None for a models directory that is served with defaults; ``models_path`` is
    absolute; ``device`` has one entry or three (text encoders, denoising, VAE); resolutions are in pixels. All fields
    but ``name`` and ``path`` are options of ImageGenCalculatorOptions.
    """

    name: str
    path: Path | None = None
    models_path: Path
    device: tuple[str, ...] = ("CPU",)
    plugin_config: dict[str, JsonValue] = {}
    max_resolution: Resolution = DEFAULT_MAX_RESOLUTION
    default_resolution: Resolution | None = None
    max_num_images_per_prompt: int = 10
    default_num_inference_steps: int = 50
    max_num_inference_steps: int = 100
    resolution: tuple[Resolution, ...] = ()
    num_images_per_prompt: int | None = None
    guidance_scale: float | None = None
    lora_adapters: tuple[LoraAdapter, ...] = ()
    composite_lora_adapters: tuple[CompositeLoraAdapter, ...] = ()

    @property
    def is_static(self) -> bool:
        """Whether the models are reshaped to the one resolution that is listed."""
        return len(self.resolution) == 1

    @property
    def states_its_sizes(self) -> bool:
        """Whether its definition says how large images may be; else the memory of its workers decides."""
        return bool(self.resolution) or "max_resolution" in self.model_fields_set

    def is_compiled_at_construction(self, devices: Sequence[str]) -> bool:
        """Return whether its pipelines are compiled while they are constructed, not by ``reshape`` and ``compile()``.

        ``devices`` are those of the worker: one for the whole pipeline, or three.
        """
        return len(devices) == 1 and not self.is_static

    @property
    def compiled_alphas(self) -> dict[str, float]:
        """The strength that each STATIC or FUSE adapter is compiled with; one of a composite overrides its own."""
        fixed = {a.alias: a.alpha for a in self.lora_adapters if a.mode is not LoraMode.DYNAMIC}
        for composite in self.composite_lora_adapters:
            for component in composite.components:
                if component.adapter_alias in fixed:
                    fixed[component.adapter_alias] = self.component_alpha(component)
        return fixed

    def component_alpha(self, component: CompositeComponent) -> float:
        """Return the strength of a composite's component."""
        adapter = next(a for a in self.lora_adapters if a.alias == component.adapter_alias)
        return component.effective_alpha(adapter)

    def options(self) -> dict[str, JsonValue]:
        """Return every option under its own graph.pbtxt name, defaults filled in, null where unset."""
        options = {name: getattr(self, name) for name in type(self).model_fields if name not in ("name", "path")}
        return {name: _as_json(name, value) for name, value in options.items()}


def _as_json(name: str, value: Any) -> JsonValue:
    if name in LISTS_IN_ONE_TEXT:
        return " ".join(map(str, value)) or None
    if isinstance(value, tuple):
        return [_as_json("", entry) for entry in value]
    if isinstance(value, LoraAdapter):
        return {"alias": value.alias, "path": str(value.path), "alpha": value.alpha, "mode": value.mode.value}
    if isinstance(value, CompositeLoraAdapter):
        parts: list[JsonValue] = [{"adapter_alias": c.adapter_alias, "alpha": c.alpha} for c in value.components]
        return {"alias": value.alias, "components": parts}
    return str(value) if isinstance(value, Path | Resolution) else value
