"""The rules in graphs/families, compared with the behaviour of the installed runtime."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openvino_genai
import pytest

from graphs.families.family import Family, Operation
from graphs.families.flux_fill import FLUX_FILL
from graphs.families.lcm import LCM
from graphs.families.model_facts import ModelFacts, read_model_facts
from graphs.families.schedules import draws_noise
from graphs.families.strength import single
from tests.workers.engine.engine_support import CLASSES, F32, FAMILIES, MODELS, SIDE, copy_model, edit_json

# The runtime is pinned: what it promises changes only when the lock does.
pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("openvino_runtime")]

PROMPTS = ("prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3")


@dataclass
class Runtime:
    """A text-to-image pipeline of GenAI, and the facts that we read about its model."""

    facts: ModelFacts
    pipeline: Any

    @property
    def family(self) -> Family:
        return self.facts.family

    def accepts(self, **options: Any) -> bool:
        fields = {"width": SIDE, "height": SIDE, "num_inference_steps": 1, "guidance_scale": 5.0, **options}
        try:
            self.pipeline.generate("a red fox", **fields)
        except RuntimeError:
            return False
        return True


def text_to_image(models_path: Path, cache_dir: Path) -> Any:
    return openvino_genai.Text2ImagePipeline(str(models_path), "CPU", CACHE_DIR=str(cache_dir), **F32)


@pytest.fixture(scope="session", params=FAMILIES)
def runtime(request: pytest.FixtureRequest, cache_dir: Path) -> Runtime:
    return Runtime(read_model_facts(MODELS / request.param), text_to_image(MODELS / request.param, cache_dir))


def reported(config: Any, operation: Operation) -> tuple[float, float | None, int | None]:
    """Return guidance scale, strength and tokens of a pipeline's own configuration (which writes no limit as -1)."""
    strength = None if operation is Operation.GENERATION else config.strength
    length = config.max_sequence_length
    return config.guidance_scale, strength, None if length == -1 else length


def expected(family: Family, operation: Operation) -> tuple[float, float | None, int | None]:
    strength = family.strength.get(operation)
    return (
        single(family.guidance_scale[operation]),
        None if strength is None else single(strength),
        family.max_sequence_length,
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_defaults(name: str) -> None:
    family = read_model_facts(MODELS / name).family
    inpainting = openvino_genai.InpaintingPipeline(str(MODELS / name))

    for operation, kind in CLASSES.items():
        pipeline = inpainting if operation is Operation.INPAINTING else kind(inpainting)
        assert reported(pipeline.get_generation_config(), operation) == expected(family, operation), operation


def test_defaults_of_flux_fill(tmp_path: Path) -> None:
    model = copy_model("flux", tmp_path)
    edit_json(model / "model_index.json", _class_name="FluxFillPipeline")
    facts = read_model_facts(model)
    config = openvino_genai.InpaintingPipeline(str(model)).get_generation_config()

    assert facts.family is FLUX_FILL
    assert reported(config, Operation.INPAINTING) == expected(facts.family, Operation.INPAINTING)


def test_size_multiple(runtime: Runtime) -> None:
    multiple = runtime.family.size_multiple

    for side in ("width", "height"):
        assert runtime.accepts(**{side: SIDE + multiple})
        assert not runtime.accepts(**{side: SIDE + multiple // 2})


def test_prompts(runtime: Runtime) -> None:
    taken = {f"prompt_{number}" for number in range(2, runtime.family.prompts + 1)}
    taken |= set(PROMPTS[2 : 2 + runtime.family.negative_prompts])

    assert {name for name in PROMPTS if runtime.accepts(**{name: "blue"})} == taken


def test_guidance(runtime: Runtime) -> None:
    assert runtime.accepts(guidance_scale=1.01)
    for guidance_scale in (0.0, 1.0):
        assert runtime.accepts(guidance_scale=guidance_scale) is not runtime.family.keeps_prompt_batch
        assert not runtime.accepts(guidance_scale=guidance_scale, negative_prompt="blue")


def test_sequence_length_stays_that_of_the_first_generation(runtime: Runtime) -> None:
    length = runtime.family.max_sequence_length

    assert runtime.accepts()
    if length is None:  # ignored
        assert runtime.accepts(max_sequence_length=600)
    else:
        assert runtime.accepts(max_sequence_length=length)
        assert not runtime.accepts(max_sequence_length=length // 2)
        assert not runtime.accepts(max_sequence_length=513)


@pytest.fixture(scope="module")
def trailing(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Runtime:
    model = copy_model("sd", tmp_path_factory.mktemp("trailing"))
    edit_json(model / "scheduler" / "scheduler_config.json", timestep_spacing="trailing")
    return Runtime(read_model_facts(model), text_to_image(model, cache_dir))


def steps_made(pipeline: Any, steps: int) -> int:
    """Return how many steps a call would make; the callback reads the number at the first step, and stops there."""
    reported: list[int] = []

    def callback(step: int, num_steps: int, latent: object) -> bool:
        reported.append(num_steps)
        return True

    pipeline.generate("", width=16, height=16, num_inference_steps=steps, callback=callback)
    return reported[0]


def test_trailing_spacing_makes_a_step_too_many_where_draws_noise_expects_it(trailing: Runtime) -> None:
    counts = range(1, 101)
    noise = [steps for steps in counts if steps_made(trailing.pipeline, steps) != steps]

    assert noise == [steps for steps in counts if draws_noise(trailing.facts, steps)]
    assert len(noise) == 36


def test_the_number_reported_at_the_first_step_is_the_number_made(trailing: Runtime) -> None:
    for steps in (8, 9):
        made: list[int] = []

        def callback(step: int, num_steps: int, latent: object, made: list[int] = made) -> bool:
            made.append(num_steps)
            return False

        trailing.pipeline.generate("", width=16, height=16, num_inference_steps=steps, callback=callback)
        assert made == [steps + draws_noise(trailing.facts, steps)] * len(made)
        assert len(made) == made[0]


def test_leading_spacing_makes_the_requested_steps(runtime: Runtime) -> None:
    facts = replace(runtime.facts, timestep_spacing="leading")

    for steps in (1, 9, 11, 21):
        assert not draws_noise(facts, steps)
        if facts.family is not LCM or steps <= 50:
            assert steps_made(runtime.pipeline, steps) == steps
