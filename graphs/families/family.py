"""What a model family is: everything that depends on the kind of the pipeline, in one object.

The rules are what OpenVINO GenAI 2026.4 was measured to accept; ``tests/workers/engine/test_genai_contract.py`` asks
the runtime itself.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Operation(StrEnum):
    """What a request does: generate from text, edit an image, or repaint the masked part of one."""

    GENERATION = "generation"
    EDIT = "edit"
    INPAINTING = "inpainting"


@dataclass(frozen=True, kw_only=True)
class AdapterComponent:
    """A part of the model that LoRA adapters can change.

    ``folder`` is its folder in the models directory; ``prefix`` is what GenAI expects in front of its layers' names.
    """

    folder: str
    prefix: str


INTEGER_TIME_SCHEDULERS = (
    "DDIMScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
)
FLOW_MATCH_SCHEDULERS = ("FlowMatchEulerDiscreteScheduler",)
"""All that GenAI 2026.4 has (``openvino_genai.Scheduler.Type``): those for UNets, and that for transformers."""


def plain_or_inpainting(latent_channels: int) -> tuple[int, ...]:
    """Return the channels of a denoiser that takes the latent, or for inpainting also a masked latent and the mask."""
    return latent_channels, 2 * latent_channels + 1


def no_original_names(module: str, layers: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Return no names: the original checkpoints of the family call their layers as diffusers does."""
    return ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """The rules of one model family. Two families are equal only if they are the same object.

    Of requests:
    ``class_names``: the diffusers classes whose exports belong to the family, as model_index.json names them;
    ``prompts``, ``negative_prompts``: the number of text encoders that take a prompt of their own;
    ``guidance_scale``, ``strength``: the defaults of an operation;
    ``size_multiple``: both sides of an image are multiples of it, in pixels;
    ``max_sequence_length``: the tokens of the T5 encoder, None without one;
    ``leaves_a_step``: takes strength and steps, and returns whether an edit has a step left to draw.

    Of loading:
    ``components``: the class of each part of the model that GenAI looks at, by its name in model_index.json;
    ``optional_components``: those of them that a model may lack;
    ``schedulers``: the classes of the schedulers that draw with the family;
    ``denoiser_channels``: takes the channels of the latent, and returns those that the denoiser's input may have;
    ``draws_static_batches``: whether a model that is compiled for a batch can draw it in one call;
    ``keeps_prompt_batch``: whether its pipelines fail when a request with a guidance scale above 1 follows one without,
    or the other way round.

    Of LoRA adapters:
    ``adapter_components``: the parts that take them, by the name that adapter files use (see ``adapters/keys.py``);
    ``original_names``: takes a module's name and the names of the model's layers (underscores for dots), and returns
    the names of the same layer in the diffusers model where the name is that of the original checkpoint;
    ``compiles_adapters``: whether adapters can be compiled in (STATIC or FUSE);
    ``encoder_adapters_need_construction``: whether adapters reach the text encoders only in pipelines that are
    compiled while they are constructed.
    """

    name: str
    class_names: tuple[str, ...]
    prompts: int
    negative_prompts: int
    guidance_scale: Mapping[Operation, float]
    strength: Mapping[Operation, float]
    leaves_a_step: Callable[[float, int], bool]
    components: Mapping[str, str]
    optional_components: Collection[str] = ()
    schedulers: Collection[str] = INTEGER_TIME_SCHEDULERS
    denoiser_channels: Callable[[int], Collection[int]] = plain_or_inpainting
    size_multiple: int = 8
    max_sequence_length: int | None = None
    draws_static_batches: bool = True
    keeps_prompt_batch: bool = False
    adapter_components: Mapping[str, AdapterComponent]
    original_names: Callable[[str, Collection[str]], tuple[tuple[str, ...], ...]] = no_original_names
    compiles_adapters: bool = True
    encoder_adapters_need_construction: bool = False

    def __str__(self) -> str:
        return self.name


def for_every_operation(value: float) -> dict[Operation, float]:
    """Return the same default for each operation."""
    return dict.fromkeys(Operation, value)
