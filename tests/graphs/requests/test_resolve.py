import re
from typing import Any

import pytest

from graphs.errors import InvalidRequest
from graphs.families.family import Family, Operation
from graphs.families.flux import FLUX
from graphs.families.flux_fill import FLUX_FILL
from graphs.families.lcm import LCM
from graphs.families.sd import SD
from graphs.families.sd3 import SD3
from graphs.families.sdxl import SDXL
from graphs.own_options.schema import ModelOptions
from graphs.requests.request import DISTINCT_SEEDS
from graphs.resolution import Resolution
from tests.graphs.facts_support import facts_of, resolved, route_of

G, E, I = Operation.GENERATION, Operation.EDIT, Operation.INPAINTING  # noqa: E741
STATIC = (Resolution(512, 512),)


def _refusal(operation: Operation = G, **parameters: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refusal:
        resolved(operation, **parameters)
    return refusal.value


def _only(name: str, value: Any) -> dict[str, Any]:
    return {name: value}


def test_a_prompt_alone_is_enough() -> None:
    request = resolved()
    assert (request.prompt, request.model, request.graph, request.operation) == ("a red circle", "base", "base", G)
    assert (request.size, request.num_images_per_prompt, request.num_inference_steps) == ("512x512", 1, 50)
    assert (request.output_format, request.output_compression, request.adapters) == ("png", 100, ())
    assert (request.strength, request.negative_prompt, request.max_sequence_length) == (None, None, None)


@pytest.mark.parametrize(
    ("family", "guidance_scales", "strengths", "max_sequence_length"),
    [
        (SD, (7.5, 7.5, 7.5), (0.8, 1.0), None),
        (LCM, (8.5, 8.5, 8.5), (0.8, 1.0), None),
        (SDXL, (5.0, 5.0, 7.5), (0.3, 0.9999), None),
        (SD3, (7.0, 7.0, 7.0), (0.6, 0.6), 256),
        (FLUX, (3.5, 7.0, 7.0), (0.6, 0.6), 512),
        (FLUX_FILL, (30.0, 30.0, 30.0), (1.0, 1.0), 512),
    ],
)
def test_each_family_has_its_defaults(
    family: Family, guidance_scales: tuple[float, ...], strengths: tuple[float, ...], max_sequence_length: int | None
) -> None:
    drawn = [resolved(operation, facts=facts_of(family)) for operation in (G, E, I)]
    assert tuple(request.guidance_scale for request in drawn) == guidance_scales
    assert tuple(request.strength for request in drawn) == (None, *strengths)
    assert {request.max_sequence_length for request in drawn} == {max_sequence_length}


@pytest.mark.parametrize(
    ("param", "value", "says"),
    [
        ("num_inference_steps", 0, "at least 1, not 0"),
        ("num_inference_steps", -3, "at least 1, not -3"),
        ("num_inference_steps", 101, "is 101.*at most 100"),
        ("num_inference_steps", 10**40, "at most 100"),
        ("guidance_scale", -0.1, "between 0 and 100, not -0.1"),
        ("guidance_scale", 100.5, "between 0 and 100, not 100.5"),
        ("strength", 0.5, "for edits"),
        ("strength", 0.0, "for edits"),
        ("rng_seed", -2, "between 0 and 18446744073709551615"),
        ("rng_seed", 2**64, "between 0 and"),
        ("max_sequence_length", 77, "not used by Stable Diffusion models"),
        ("prompt_2", "x", "not used by Stable Diffusion models; leave it out"),
        ("prompt_3", "x", "not used"),
        ("negative_prompt_2", "x", "not used"),
        ("negative_prompt_3", "x", "not used"),
        ("prompt", None, "prompt is required"),
    ],
)
def test_a_refusal_names_its_parameter_and_the_limit(param: str, value: Any, says: str) -> None:
    refusal = _refusal(**{param: value})
    assert refusal.param == param
    assert re.search(says, refusal.message)


@pytest.mark.parametrize("steps", [1, 2, 50, 100])
def test_steps_up_to_the_graphs_limit_are_taken(steps: int) -> None:
    assert resolved(num_inference_steps=steps).num_inference_steps == steps


def test_steps_end_at_the_schedulers_training_steps() -> None:
    facts = facts_of(SD, num_train_timesteps=60)
    assert resolved(facts=facts, num_inference_steps=60).num_inference_steps == 60
    assert "at most 60" in _refusal(facts=facts, num_inference_steps=61).message


def test_the_graphs_default_steps_are_used() -> None:
    route = route_of(default_num_inference_steps=4, max_num_inference_steps=8)
    assert resolved(route=route).num_inference_steps == 4
    assert _refusal(route=route, num_inference_steps=9).param == "num_inference_steps"


def test_steps_that_draw_noise_are_refused_with_the_nearest_good_ones() -> None:
    refusal = _refusal(facts=facts_of(SDXL, timestep_spacing="trailing"), num_inference_steps=35)
    assert refusal.param == "num_inference_steps"
    assert "33 or 37" in refusal.message
    assert "DDIMScheduler, trailing spacing" in refusal.message


def test_default_steps_that_draw_noise_are_refused_as_well() -> None:
    route = route_of(default_num_inference_steps=9, max_num_inference_steps=9)
    refusal = _refusal(facts=facts_of(SD, timestep_spacing="trailing"), route=route)
    assert refusal.message.endswith("use 8.")


@pytest.mark.parametrize(("count", "says"), [(0, "at least 1"), (-1, "at least 1"), (11, "at most 10 images")])
def test_a_wrong_number_of_images_is_refused(count: int, says: str) -> None:
    refusal = _refusal(num_images_per_prompt=count)
    assert refusal.param == "num_images_per_prompt"
    assert says in refusal.message


def test_images_up_to_the_graphs_limit_are_taken() -> None:
    route = route_of(max_num_images_per_prompt=3)
    assert resolved(route=route, num_images_per_prompt=3).num_images_per_prompt == 3
    assert "at most 3" in _refusal(route=route, num_images_per_prompt=4).message


def test_a_static_graph_draws_its_compiled_batch() -> None:
    route = route_of(resolution=STATIC, num_images_per_prompt=4)
    assert resolved(route=route).num_images_per_prompt == 4
    assert resolved(route=route, num_images_per_prompt=4).num_images_per_prompt == 4
    assert _refusal(route=route, num_images_per_prompt=1).message == (
        "n must be 4: this model is compiled for that batch."
    )


def test_a_static_graph_without_a_batch_draws_one() -> None:
    route = route_of(resolution=STATIC)
    assert resolved(route=route).num_images_per_prompt == 1
    assert _refusal(route=route, num_images_per_prompt=2).param == "num_images_per_prompt"


def test_a_static_graph_has_its_compiled_guidance_scale() -> None:
    route = route_of(resolution=STATIC, guidance_scale=5.0)
    assert resolved(route=route).guidance_scale == 5.0
    assert resolved(route=route, guidance_scale=5.0).guidance_scale == 5.0
    refusal = _refusal(route=route, guidance_scale=7.5)
    assert (refusal.param, refusal.message) == (
        "guidance_scale",
        "guidance_scale must be 5: this model is compiled for it.",
    )


def test_a_static_graph_without_a_guidance_scale_takes_any() -> None:
    assert resolved(route=route_of(resolution=STATIC), guidance_scale=2.0).guidance_scale == 2.0


@pytest.mark.parametrize("value", [0.0, 1.0, 100.0])
def test_guidance_scale_has_inclusive_ends(value: float) -> None:
    assert resolved(guidance_scale=value).guidance_scale == value


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_sd3_takes_a_guidance_scale_without_effect(value: float) -> None:
    assert resolved(facts=facts_of(SD3), guidance_scale=value).guidance_scale == value


PROMPTS = ("prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3")


@pytest.mark.parametrize(
    ("family", "taken"),
    [
        (SD, {"negative_prompt"}),
        (LCM, set()),
        (SDXL, {"prompt_2", "negative_prompt", "negative_prompt_2"}),
        (SD3, set(PROMPTS)),
        (FLUX, {"prompt_2"}),
        (FLUX_FILL, {"prompt_2"}),
    ],
)
@pytest.mark.parametrize("name", PROMPTS)
def test_each_family_takes_its_own_prompts(family: Family, taken: set[str], name: str) -> None:
    if name in taken:
        assert getattr(resolved(facts=facts_of(family), **_only(name, "x")), name) == "x"
    else:
        refusal = _refusal(facts=facts_of(family), **_only(name, "x"))
        assert refusal.param == name
        assert f"{name} is not used by {family} models" in refusal.message


@pytest.mark.parametrize("name", PROMPTS)
def test_an_empty_further_prompt_counts_as_absent(name: str) -> None:
    assert getattr(resolved(**_only(name, "")), name) is None


def test_an_empty_prompt_is_a_prompt() -> None:
    assert resolved(prompt="").prompt == ""


@pytest.mark.parametrize("name", ["negative_prompt", "negative_prompt_2", "negative_prompt_3"])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_a_negative_prompt_without_guidance_is_refused(name: str, scale: float) -> None:
    route = route_of(resolution=STATIC, guidance_scale=scale)  # from a client, SD3 takes no such scale
    refusal = _refusal(facts=facts_of(SD3), route=route, **_only(name, "x"))
    assert refusal.param == name
    assert f"guidance_scale {scale:g}" in refusal.message
    assert resolved(guidance_scale=1.5, negative_prompt="x").negative_prompt == "x"


@pytest.mark.parametrize("value", [None, 1.0])
def test_a_generation_takes_full_strength_only(value: float | None) -> None:
    assert resolved(strength=value).strength is None


@pytest.mark.parametrize("operation", [E, I])
@pytest.mark.parametrize("value", [-0.01, 1.01, -1.0, 50.0])
def test_strength_is_between_zero_and_one(operation: Operation, value: float) -> None:
    refusal = _refusal(operation, strength=value)
    assert refusal.param == "strength"
    assert "between 0 and 1" in refusal.message


STRENGTHS = [
    (SD, 50, 0.02, True),  # in single precision 0.02 is a little less, and 50 times that rounds to 1 again
    (SD, 50, 0.0199, False),
    (SD, 10, 0.1, True),
    (SD, 10, 0.09, False),
    (SD, 8, 0.125, True),
    (SD, 8, 0.12, False),
    (SD, 1, 1.0, True),
    (SD, 1, 0.99, False),
    (SD, 3, 1 / 3, True),
    (SD, 4, 0.0, False),
    (SDXL, 4, 0.25, True),
    (SDXL, 4, 0.24, False),
    (SD3, 4, 0.0, False),
    (SD3, 4, 0.001, True),
    (SD3, 1, 1e-30, True),
    (SD3, 4, 1e-60, False),  # 0 in single precision
    (FLUX, 8, 0.12, True),
    (FLUX, 1, 0.0, False),
    (FLUX, 1, 1.0, True),
    (FLUX_FILL, 4, 0.01, True),
    (FLUX_FILL, 4, 0.0, False),
    (LCM, 4, 0.02, True),
    (LCM, 4, 0.0199, False),
    (LCM, 100, 0.019, False),
    (LCM, 1, 0.5, True),
]


@pytest.mark.parametrize("operation", [E, I])
@pytest.mark.parametrize(("family", "steps", "strength", "accepted"), STRENGTHS)
def test_strength_must_leave_a_step(
    operation: Operation, family: Family, steps: int, strength: float, accepted: bool
) -> None:
    asked: dict[str, Any] = {"facts": facts_of(family), "num_inference_steps": steps, "strength": strength}
    if accepted:
        assert resolved(operation, **asked).strength == strength
    else:
        refusal = _refusal(operation, **asked)
        assert refusal.param == "strength"
        assert f"of {steps} steps leaves no step" in refusal.message


def test_a_default_strength_that_leaves_no_step_is_refused() -> None:
    assert _refusal(E, facts=facts_of(SDXL), num_inference_steps=3).param == "strength"


def test_the_seed_is_random_unless_given() -> None:
    seeds = {resolved().rng_seed for _ in range(20)}
    assert len(seeds) > 15
    assert all(0 <= seed < DISTINCT_SEEDS for seed in seeds)


@pytest.mark.parametrize(
    ("given", "drawn"),
    [(0, 0), (42, 42), (2**32 - 1, 2**32 - 1), (2**32, 0), (2**32 + 7, 7), (2**64 - 1, 2**32 - 1)],
)
def test_the_seed_that_is_reported_is_the_one_that_draws(given: int, drawn: int) -> None:
    assert resolved(rng_seed=given).rng_seed == drawn


def test_each_image_may_have_a_seed_of_its_own() -> None:
    each = resolved(rng_seed=2**32 - 1, seeds="each", num_images_per_prompt=2)
    assert [each.seed_of(index) for index in range(2)] == [2**32 - 1, 0]
    default = resolved(rng_seed=7, num_images_per_prompt=2)
    assert [default.seed_of(index) for index in range(2)] == [7, None]


def test_a_compiled_batch_has_one_seed() -> None:
    refusal = _refusal(route=route_of(resolution=STATIC, num_images_per_prompt=2), seeds="each")
    assert (refusal.param, refusal.message) == (
        "seeds",
        "This model is compiled for a batch of 2 images, which is drawn from one seed; leave seeds out.",
    )
    assert resolved(route=route_of(resolution=STATIC), seeds="each").seeds == "each"


@pytest.mark.parametrize(("family", "served"), [(SD3, 256), (FLUX, 512), (FLUX_FILL, 512)])
def test_max_sequence_length_is_one_per_model(family: Family, served: int) -> None:
    assert resolved(facts=facts_of(family), max_sequence_length=served).max_sequence_length == served
    for other in (served - 1, served * 2, 0):
        refusal = _refusal(facts=facts_of(family), max_sequence_length=other)
        assert refusal.param == "max_sequence_length"
        assert f"must be {served}" in refusal.message


def test_the_output_format_is_kept() -> None:
    request = resolved(output_format="webp", output_compression=0)
    assert (request.output_format, request.output_compression) == ("webp", 0)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_graph_compiled_with_guidance_needs_it(value: float) -> None:
    refusal = _refusal(route=route_of(resolution=STATIC), guidance_scale=value)
    assert (refusal.param, "compiled" in refusal.message) == ("guidance_scale", True)
    assert (
        resolved(route=route_of(resolution=STATIC), facts=facts_of(LCM), guidance_scale=value).guidance_scale == value
    )


def test_the_prompts_of_a_request_are_bounded_in_bytes_together() -> None:
    """Two prompts may be as long as OpenAI's longest in any script; SDXL takes four."""
    longest = "\U0001f642" * 32_000
    resolved(facts=facts_of(SDXL), prompt=longest, negative_prompt=longest)
    with pytest.raises(
        InvalidRequest, match=r"may have 256000 bytes in UTF-8 together, and these have 256001\."
    ) as refusal:
        resolved(facts=facts_of(SDXL), prompt=longest, negative_prompt=longest, prompt_2="a")
    assert refusal.value.param == "prompt"


def test_the_mask_is_composited_only_if_asked_for() -> None:
    plain, asked = resolved(I), resolved(I, mask_composite=True)
    assert (plain.mask_composite, plain.mask_feather_px) == (False, 0)
    assert (asked.mask_composite, asked.mask_feather_px) == (True, 8)
    assert resolved(I, mask_composite=True, mask_feather_px=0).mask_feather_px == 0
    assert not resolved(E, mask_composite=False).mask_composite


def test_a_composite_needs_a_mask_and_a_feather_needs_a_composite() -> None:
    for operation in (G, E):
        error = _refusal(operation, mask_composite=True)
        assert error.param == "mask_composite"
        assert error.message == (
            "mask_composite is for edits with a mask, or with transparent pixels in place of one; leave it out here."
        )
    error = _refusal(I, mask_feather_px=4)
    assert (error.param, error.message) == ("mask_feather_px", "mask_feather_px needs mask_composite: true.")


@pytest.mark.parametrize("operation", [G, E, I])
def test_own_options_go_before_the_familys_defaults_and_behind_the_request(operation: Operation) -> None:
    options = ModelOptions(default_guidance_scale=4.5, default_size_fit="nearest")
    asked: dict[str, Any] = {"width": 4000, "height": 5000} if operation is G else {}
    request = resolved(operation, options=options, facts=facts_of(FLUX), **asked)
    assert request.guidance_scale == 4.5
    own = resolved(operation, options=options, facts=facts_of(FLUX), guidance_scale=2, width=512, height=512)
    assert (own.guidance_scale, own.size) == (2, "512x512")


def test_own_options_are_judged_like_a_request() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        resolved(options=ModelOptions(default_guidance_scale=1), negative_prompt="blurred")
    assert refusal.value.param == "negative_prompt"
    exact = ModelOptions(default_size_fit="nearest")
    with pytest.raises(InvalidRequest, match="but this model draws at most"):
        resolved(options=exact, size_fit="exact", width=8192, height=8192)
    assert resolved(options=exact, width=8192, height=8192).size == "4096x4096"
