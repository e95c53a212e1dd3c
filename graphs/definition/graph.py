"""What is served, as the operator defined it: the validated options of one graph.pbtxt."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, model_validator

from graphs.resolution import Resolution


class LoraMode(StrEnum):
    """How an adapter is loaded: switched per request, compiled in, or merged for good and not selectable."""

    DYNAMIC = "DYNAMIC"
    STATIC = "STATIC"
    FUSE = "FUSE"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Weighted(_Frozen):
    """Something with a strength: ``alpha`` is what takes effect, ``alpha_given`` whether it was written."""

    alpha: float = 1.0
    alpha_given: bool = False

    @model_validator(mode="before")
    @classmethod
    def _alpha_passed_is_alpha_given(cls, data: object) -> object:
        if isinstance(data, dict) and "alpha" in data:
            return {"alpha_given": True, **data}
        return data


class LoraAdapter(_Weighted):
    """One LoRA adapter: the name clients send, its .safetensors file (absolute) and how it is loaded."""

    alias: str
    path: Path
    mode: LoraMode = LoraMode.DYNAMIC


class CompositeComponent(_Weighted):
    """One adapter of a composite; without an alpha of its own it has the adapter's."""

    adapter_alias: str


class CompositeLoraAdapter(_Frozen):
    """Several adapters applied together under one name."""

    alias: str
    components: tuple[CompositeComponent, ...]


class Graph(_Frozen):
    """One servable model and its limits.

    ``path`` is the graph.pbtxt, None where a models directory is served with defaults; ``models_path`` is
    absolute; ``device`` has one entry or three (text encoders, denoising, VAE); resolutions are in pixels.
    """

    name: str
    path: Path | None = None
    models_path: Path
    device: tuple[str, ...] = ("CPU",)
    plugin_config: dict[str, JsonValue] = {}
    max_resolution: Resolution = Resolution(4096, 4096)
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

    def is_compiled_at_construction(self, devices: Sequence[str]) -> bool:
        """Return whether its pipelines are compiled while they are constructed, not by ``reshape`` and ``compile()``.

        ``devices`` are those of the worker: one for the whole pipeline, or three.
        """
        return len(devices) == 1 and not self.is_static

    @property
    def compiled_alphas(self) -> dict[str, float]:
        """The strength that each STATIC or FUSE adapter is compiled with: a composite's before its own."""
        fixed = {a.alias: a.alpha for a in self.lora_adapters if a.mode is not LoraMode.DYNAMIC}
        for composite in self.composite_lora_adapters:
            for component in composite.components:
                if component.adapter_alias in fixed:
                    fixed[component.adapter_alias] = self.component_alpha(component)
        return fixed

    def component_alpha(self, component: CompositeComponent) -> float:
        """The strength of a composite's component: its own where it was written, else its adapter's."""
        if component.alpha_given:
            return component.alpha
        return next(a.alpha for a in self.lora_adapters if a.alias == component.adapter_alias)

    def options(self) -> dict[str, JsonValue]:
        """Return every option under its own graph.pbtxt name, defaults filled in, null where unset."""
        return {
            "models_path": str(self.models_path),
            "device": " ".join(self.device),
            "plugin_config": self.plugin_config,
            "max_resolution": str(self.max_resolution),
            "default_resolution": str(self.default_resolution) if self.default_resolution else None,
            "max_num_images_per_prompt": self.max_num_images_per_prompt,
            "default_num_inference_steps": self.default_num_inference_steps,
            "max_num_inference_steps": self.max_num_inference_steps,
            "resolution": " ".join(map(str, self.resolution)) or None,
            "num_images_per_prompt": self.num_images_per_prompt,
            "guidance_scale": self.guidance_scale,
            "lora_adapters": [
                {"alias": a.alias, "path": str(a.path), "alpha": a.alpha, "mode": a.mode.value}
                for a in self.lora_adapters
            ],
            "composite_lora_adapters": [
                {
                    "alias": composite.alias,
                    "components": [{"adapter_alias": c.adapter_alias, "alpha": c.alpha} for c in composite.components],
                }
                for composite in self.composite_lora_adapters
            ],
        }
