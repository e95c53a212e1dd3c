"""The parameters of a request, as a client sends them and after the defaults are filled in.

``GenerationParameters`` declares every parameter that can change an image, once: the HTTP schemas inherit from
it, ``graphs/requests/resolve.py`` makes a ``ResolvedRequest`` of it, and the engine reads that.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from graphs.families.family import Operation
from graphs.requests.image_fit import ImageFit
from graphs.requests.output_formats import OUTPUT_FORMATS, OutputFormat, format_name

# No field means a larger one, and an error that repeats one must stay short.
_LARGEST_NUMBER = 10**40
_NUMBER = re.compile(r"[+-]?\d{1,40}(\.\d{0,40})?([eE][+-]?\d{1,3})?", re.ASCII)


def number(value: Any) -> Any:
    """Return the number that a client wrote as a text (``"2"``) or as another kind of number (``3.0``, ``1e3``).

    A value that is no number, ``true`` and ``"abc"`` among them, is returned as it is: its field refuses it. Raises
    ValueError for a whole number so large that no field means it.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value) if set(value) & set(".eE") else int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
        raise ValueError("the number is too large")
    return value


# OpenAI's own limit for a prompt, in characters. Text encoders cut at 77 (CLIP) or max_sequence_length (T5) tokens.
Prompt = Annotated[str, Field(max_length=32_000)]
Whole = Annotated[int, BeforeValidator(number)]
FiniteFloat = Annotated[float, BeforeValidator(number), Field(allow_inf_nan=False)]
_WITH_QUALITY = " and ".join(name for name, image_format in OUTPUT_FORMATS.items() if image_format.has_quality)
MAX_FEATHER_PX = 256
MAX_SEED = 2**64  # OVMS takes any size_t
DISTINCT_SEEDS = 2**32
Seeds = Literal["each"]
SizeFit = Literal["exact", "nearest"]


class GenerationParameters(BaseModel):
    """The parameters that a client may set, under OVMS's names; null always means the default."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())

    model: str | None = Field(None, description="Graph name, adapter alias or composite alias.")
    prompt: Prompt | None = Field(None, description="What to draw.")
    prompt_2: Prompt | None = Field(None, description="Prompt of the second text encoder (SDXL, SD3, FLUX).")
    prompt_3: Prompt | None = Field(None, description="Prompt of the third text encoder (SD3).")
    negative_prompt: Prompt | None = Field(None, description="What to keep away from (SD, SDXL, SD3).")
    negative_prompt_2: Prompt | None = Field(None, description="The same for the second encoder (SDXL, SD3).")
    negative_prompt_3: Prompt | None = Field(None, description="The same for the third encoder (SD3).")
    width: Whole | None = Field(None, description="Width in pixels.")
    height: Whole | None = Field(None, description="Height in pixels.")
    size_fit: SizeFit | None = Field(
        None, description="nearest: of a size that the model does not draw, the nearest is drawn; exact refuses it."
    )
    num_images_per_prompt: Whole | None = Field(None, description="How many images to draw.")
    num_inference_steps: Whole | None = Field(None, description="Denoising steps.")
    guidance_scale: FiniteFloat | None = Field(None, description="How strictly to follow the prompt.")
    strength: FiniteFloat | None = Field(None, description="How much an edit may change, 0 to 1.")
    image_fit: ImageFit | None = Field(
        None, description="How an edit's image gets the size that is drawn: stretch (unless given), crop or pad."
    )
    mask_composite: bool | None = Field(
        None, description="true: outside the mask, an inpainted image keeps the pixels of the input image exactly."
    )
    mask_feather_px: Whole | None = Field(
        None, ge=0, le=MAX_FEATHER_PX, description="With mask_composite: over how many pixels outside it blends; 8."
    )
    rng_seed: Whole | None = Field(None, description="Seed of the noise; random unless given or -1, always reported.")
    seeds: Seeds | None = Field(
        None, description="each: image i is drawn with rng_seed + i, and its answer tells that seed."
    )
    max_sequence_length: Whole | None = Field(None, description="Tokens of the T5 encoder (SD3, FLUX).")
    adapters: dict[str, FiniteFloat] | None = Field(
        None, description="Adapters to draw with beside those of model, as alias and strength: a blend of this request."
    )
    lora_alphas: dict[str, FiniteFloat] | None = Field(None, description="Strengths of the active adapters.")
    output_format: Annotated[OutputFormat, BeforeValidator(format_name)] | None = Field(
        None, description="Format of the image; png unless given."
    )
    output_compression: Whole | None = Field(
        None, ge=0, le=100, description=f"Quality of {_WITH_QUALITY}, 0 to 100; 100 unless given."
    )


class AdapterSelection(BaseModel):
    """One LoRA adapter and the strength that it is applied with."""

    model_config = ConfigDict(frozen=True)

    alias: str
    alpha: float


class ResolvedRequest(BaseModel):
    """A request with every value filled in: all that the engine reads.

    ``width`` and ``height`` are pixels; ``strength`` is null for text to image; ``max_sequence_length`` is null
    for families without a T5 encoder; second and third prompts are null where the model has no such encoder
    or the client gave none. ``warnings`` tells the client, in sentences, what is drawn otherwise than it may expect.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    operation: Operation
    graph: str
    model: str
    prompt: str
    prompt_2: str | None = None
    prompt_3: str | None = None
    negative_prompt: str | None = None
    negative_prompt_2: str | None = None
    negative_prompt_3: str | None = None
    width: int
    height: int
    num_images_per_prompt: int
    num_inference_steps: int
    guidance_scale: float
    strength: float | None = None
    image_fit: ImageFit = "stretch"
    mask_composite: bool = False
    mask_feather_px: int = 0
    rng_seed: int
    seeds: Seeds | None = None
    max_sequence_length: Whole | None = None
    adapters: tuple[AdapterSelection, ...] = ()
    output_format: OutputFormat = "png"
    output_compression: int = 100
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> str:
        """The image's size as ``WxH``."""
        return f"{self.width}x{self.height}"

    def seed_of(self, index: int) -> int | None:
        """Return the seed that draws image ``index`` (from 0) as the first of a request.

        None for the later images of a request without ``seeds: each``: one random generator, which keeps its state,
        draws them all, so no seed draws one of them alone. Seeds wrap to the 32 bits that GenAI uses.
        """
        if self.seeds is None and index > 0:
            return None
        return (self.rng_seed + index) % DISTINCT_SEEDS
