"""Fills in the defaults of a request and enforces every limit, before the request is queued.

Values that OpenVINO GenAI refuses late, ignores silently or crashes on are refused here with the parameter's name:
0 steps or a strength that leaves no step end the process, for instance. The rules come from the options of graph.pbtxt
and from the model's family (``graphs/families``).
"""

import secrets

from graphs.definition.graph import MAX_GUIDANCE_SCALE, Graph
from graphs.errors import InvalidRequest
from graphs.families.family import Operation
from graphs.families.model_facts import ModelFacts
from graphs.families.schedules import draws_noise, nearest_good_steps
from graphs.own_options.schema import ModelOptions
from graphs.repository.repository import Route
from graphs.requests.adapter_choice import choose_adapters
from graphs.requests.image_fit import ImageFit
from graphs.requests.request import (
    DISTINCT_SEEDS,
    MAX_SEED,
    GenerationParameters,
    ResolvedRequest,
    Seeds,
)
from graphs.requests.sizes import mask_warnings, resolve_size, size_warnings
from graphs.resolution import Resolution

# As clients of Stable Diffusion web UIs write it.
_RANDOM_SEED = -1
_FEATHER_PX = 8
_NO_OPTIONS = ModelOptions()
_FLATTENED = "Transparent pixels of image were laid over white."
# Two of OpenAI's longest prompts, 32,000 characters, in any script.
_MAX_PROMPTS_BYTES = 256_000


def resolve(
    parameters: GenerationParameters,
    operation: Operation,
    route: Route,
    facts: ModelFacts,
    image_size: Resolution | None = None,
    options: ModelOptions = _NO_OPTIONS,
    *,
    is_flattened: bool = False,
    mask_size: Resolution | None = None,
) -> ResolvedRequest:
    """Return the request with every value filled in and its seed fixed.

    Takes the client's parameters, the operation, the route of the model's name, the model's facts, for edits the
    input image's size in pixels, whether its transparent pixels were laid over white, and its mask's size, and our own
    options of the model, whose defaults go before those of its family. Raises InvalidRequest, which names the
    parameter.
    """
    chosen = choose_adapters(parameters, route)
    parameters = _with_defaults(chosen.parameters, options)
    graph = route.graph
    size = resolve_size(parameters, graph, facts, image_size)
    steps = _steps(parameters, graph, facts)
    guidance_scale = _guidance_scale(parameters, operation, graph, facts)
    prompts = _prompts(parameters, facts, guidance_scale)
    return ResolvedRequest(
        operation=operation,
        graph=graph.name,
        model=route.model,
        width=size.width,
        height=size.height,
        num_images_per_prompt=_images(parameters, graph),
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        strength=_strength(parameters, operation, facts, steps),
        image_fit=_image_fit(parameters, operation),
        mask_composite=_mask_composite(parameters, operation),
        mask_feather_px=_mask_feather_px(parameters),
        rng_seed=_seed(parameters),
        seeds=_seeds(parameters, graph),
        max_sequence_length=_max_sequence_length(parameters, facts),
        adapters=chosen.adapters,
        output_format=parameters.output_format or "png",
        output_compression=100 if parameters.output_compression is None else parameters.output_compression,
        warnings=(
            *size_warnings(parameters, graph, size, image_size),
            *mask_warnings(image_size, mask_size),
            *((_FLATTENED,) if is_flattened else ()),
            *chosen.warnings,
        ),
        **prompts,
    )


def _with_defaults(parameters: GenerationParameters, options: ModelOptions) -> GenerationParameters:
    defaults = {"size_fit": options.default_size_fit, "guidance_scale": options.default_guidance_scale}
    missing = {name: value for name, value in defaults.items() if getattr(parameters, name) is None}
    return parameters.model_copy(update=missing)


def _images(parameters: GenerationParameters, graph: Graph) -> int:
    static = (graph.num_images_per_prompt or 1) if graph.is_static else None
    count = parameters.num_images_per_prompt
    if count is None:
        return static or 1
    if count < 1:
        raise InvalidRequest(f"n must be at least 1, not {count}.", param="num_images_per_prompt")
    if static is not None and count != static:
        raise InvalidRequest(
            f"n must be {static}: this model is compiled for that batch.", param="num_images_per_prompt"
        )
    if count > graph.max_num_images_per_prompt:
        raise InvalidRequest(
            f"n is {count}, but this model draws at most {graph.max_num_images_per_prompt} images per request.",
            param="num_images_per_prompt",
        )
    return count


def _steps(parameters: GenerationParameters, graph: Graph, facts: ModelFacts) -> int:
    steps = parameters.num_inference_steps
    param = "num_inference_steps"
    if steps is None:
        steps = graph.default_num_inference_steps
    if steps < 1:
        raise InvalidRequest(f"num_inference_steps must be at least 1, not {steps}.", param=param)
    limit = min(graph.max_num_inference_steps, facts.num_train_timesteps)
    if steps > limit:
        raise InvalidRequest(f"num_inference_steps is {steps}, but this model takes at most {limit}.", param=param)
    if draws_noise(facts, steps):
        good = " or ".join(map(str, nearest_good_steps(facts, steps, limit)))
        raise InvalidRequest(
            f"{steps} steps would draw noise with this model's scheduler ({facts.scheduler}, "
            f"{facts.timestep_spacing} spacing); use {good}.",
            param=param,
        )
    return steps


def _guidance_scale(parameters: GenerationParameters, operation: Operation, graph: Graph, facts: ModelFacts) -> float:
    static = graph.guidance_scale if graph.is_static else None
    value = parameters.guidance_scale
    if value is None:
        return static if static is not None else facts.family.guidance_scale[operation]
    if not 0 <= value <= MAX_GUIDANCE_SCALE:
        raise InvalidRequest(
            f"guidance_scale must be between 0 and {MAX_GUIDANCE_SCALE:g}, not {value:g}.", param="guidance_scale"
        )
    if static is not None and value != static:
        raise InvalidRequest(
            f"guidance_scale must be {static:g}: this model is compiled for it.", param="guidance_scale"
        )
    compiled_with_guidance = graph.is_static and static is None and facts.family.negative_prompts > 0
    if value <= 1 and compiled_with_guidance:
        raise InvalidRequest("guidance_scale must be above 1: this model is compiled for it.", param="guidance_scale")
    return value


def _prompts(parameters: GenerationParameters, facts: ModelFacts, guidance_scale: float) -> dict[str, str | None]:
    """Return the prompts by name. An empty one other than the first counts as absent, as in diffusers."""
    if parameters.prompt is None:
        raise InvalidRequest("prompt is required.", param="prompt")
    prompts: dict[str, str | None] = {"prompt": parameters.prompt}
    limits = {"prompt": facts.family.prompts, "negative_prompt": facts.family.negative_prompts}
    for stem, count in limits.items():
        for number in (1, 2, 3):
            name = stem if number == 1 else f"{stem}_{number}"
            text = getattr(parameters, name)
            if name == "prompt" or not text:
                continue
            if number > count:
                raise InvalidRequest(f"{name} is not used by {facts.family} models; leave it out.", param=name)
            prompts[name] = text
    negative = next((name for name in prompts if name.startswith("negative")), None)
    if guidance_scale <= 1 and negative is not None:
        raise InvalidRequest(
            f"A negative prompt has no effect with guidance_scale {guidance_scale:g}; it must be above 1.",
            param=negative,
        )
    _check_sizes({name: text for name, text in prompts.items() if text})
    return prompts


def _check_sizes(prompts: dict[str, str]) -> None:
    sizes = {name: len(text.encode("utf-8", "surrogatepass")) for name, text in prompts.items()}
    total = sum(sizes.values())
    if total > _MAX_PROMPTS_BYTES:
        raise InvalidRequest(
            f"The prompts of a request may have {_MAX_PROMPTS_BYTES} bytes in UTF-8 together, and these have {total}.",
            param=max(sizes, key=lambda name: sizes[name]),
        )


def _strength(parameters: GenerationParameters, operation: Operation, facts: ModelFacts, steps: int) -> float | None:
    value = parameters.strength
    if operation is Operation.GENERATION:
        if value not in (None, 1.0):
            raise InvalidRequest("strength is for edits; leave it out here.", param="strength")
        return None
    if value is None:
        value = facts.family.strength[operation]
    if not 0 <= value <= 1:
        raise InvalidRequest(f"strength must be between 0 and 1, not {value:g}.", param="strength")
    if not facts.family.leaves_a_step(value, steps):
        raise InvalidRequest(
            f"strength {value:g} of {steps} steps leaves no step to draw; raise strength or num_inference_steps.",
            param="strength",
        )
    return value


def _image_fit(parameters: GenerationParameters, operation: Operation) -> ImageFit:
    if parameters.image_fit is not None and operation is Operation.GENERATION:
        raise InvalidRequest("image_fit is for edits; leave it out here.", param="image_fit")
    return parameters.image_fit or "stretch"


def _mask_composite(parameters: GenerationParameters, operation: Operation) -> bool:
    if parameters.mask_composite and operation is not Operation.INPAINTING:
        reason = (
            "mask_composite is for edits with a mask, or with transparent pixels in place of one; leave it out here."
        )
        raise InvalidRequest(reason, param="mask_composite")
    return bool(parameters.mask_composite)


def _mask_feather_px(parameters: GenerationParameters) -> int:
    if not parameters.mask_composite:
        if parameters.mask_feather_px is not None:
            raise InvalidRequest("mask_feather_px needs mask_composite: true.", param="mask_feather_px")
        return 0
    return _FEATHER_PX if parameters.mask_feather_px is None else parameters.mask_feather_px


def _seed(parameters: GenerationParameters) -> int:
    seed = parameters.rng_seed
    if seed in (None, _RANDOM_SEED):
        return secrets.randbelow(DISTINCT_SEEDS)
    if not 0 <= seed < MAX_SEED:
        raise InvalidRequest(
            f"The seed must be between 0 and {MAX_SEED - 1}; leave it out, or send -1, for a random one.",
            param="rng_seed",
        )
    # GenAI uses the low 32 bits only; the seed that is reported must be the one that it used.
    return seed % DISTINCT_SEEDS


def _seeds(parameters: GenerationParameters, graph: Graph) -> Seeds | None:
    batch = (graph.num_images_per_prompt or 1) if graph.is_static else 1
    if parameters.seeds is not None and batch > 1:
        raise InvalidRequest(
            f"This model is compiled for a batch of {batch} images, which is drawn from one seed; leave seeds out.",
            param="seeds",
        )
    return parameters.seeds


def _max_sequence_length(parameters: GenerationParameters, facts: ModelFacts) -> int | None:
    """Return the one length of the model: the T5 encoder keeps that of its first generation and refuses all others."""
    value = parameters.max_sequence_length
    supported = facts.family.max_sequence_length
    if value is None or value == supported:
        return supported
    problem = f"must be {supported} for this model" if supported else f"is not used by {facts.family} models"
    raise InvalidRequest(f"max_sequence_length {problem}; leave it out.", param="max_sequence_length")
