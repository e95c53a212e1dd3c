"""The verdict of ``check_loadable`` about damaged models, held against the runtime: does the model load and draw?"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino
import pytest

from graphs.definition.graph import Graph
from graphs.errors import EngineError, RepositoryError
from graphs.families.model_facts import read_model_facts
from graphs.repository.model_files import check_loadable
from graphs.resolution import Resolution
from tests.workers.engine.engine_support import MODELS, SIDE, copy_model, draw, edit_json, make_graph, make_request
from workers.engine.openvino_engine import OpenVinoEngine

pytestmark = pytest.mark.usefixtures("openvino_runtime")

Damage = Callable[[Path], None]
INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"
GOOD, BAD = True, False


def edited(file: str, **changes: Any) -> Damage:
    return lambda model: edit_json(model / file, **changes)


def part_class(part: str, name: str | None) -> Damage:
    return edited(INDEX, **{part: [None if name is None else "library", name]})


def scheduler(name: str, **changes: Any) -> Damage:
    return edited(SCHEDULER, _class_name=name, **changes)


def without(*files: str) -> Damage:
    def damage(model: Path) -> None:
        for file in files:
            path = model / file
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def cut(file: str, kept: float = 0.5) -> Damage:
    def damage(model: Path) -> None:
        content = (model / file).read_bytes()
        (model / file).write_bytes(content[: int(len(content) * kept)])

    return damage


def replaced(part: str, other_model: str, other_part: str | None = None) -> Damage:
    def damage(model: Path) -> None:
        shutil.rmtree(model / part)
        shutil.copytree(MODELS / other_model / (other_part or part), model / part, copy_function=shutil.copyfile)

    return damage


def both(first: Damage, second: Damage) -> Damage:
    def damage(model: Path) -> None:
        first(model)
        second(model)

    return damage


def copied(source: str, target: str) -> Damage:
    """Return a damage that writes a network, its XML and its weights, over another one."""

    def damage(model: Path) -> None:
        for suffix in (".xml", ".bin"):
            shutil.copyfile(model / f"{source}{suffix}", model / f"{target}{suffix}")

    return damage


def lengthened(file: str) -> Damage:
    def damage(model: Path) -> None:
        content = (model / file).read_bytes()
        (model / file).write_bytes(content + b"more")

    return damage


def fixed_shape(side: int) -> Damage:
    """Return a damage that gives the UNet one shape: the latent of an image with this side, for a guided request."""

    def damage(model: Path) -> None:
        path = model / "unet" / "openvino_model.xml"
        network = openvino.Core().read_model(path)
        latent = side // 8
        network.reshape({"sample": [2, 4, latent, latent], "timestep": [1], "encoder_hidden_states": [2, 77, 32]})
        openvino.save_model(network, model / "new.xml", compress_to_fp16=False)
        del network
        for suffix in (".xml", ".bin"):
            shutil.move(model / f"new{suffix}", path.with_suffix(suffix))

    return damage


CASES: dict[str, tuple[str, Damage, bool]] = {
    "the class of an inpainting pipeline": (
        "sd",
        edited(INDEX, _class_name="StableDiffusionInpaintPipeline"),
        GOOD,
    ),
    "a pipeline's class that the runtime lacks": (
        "sd",
        edited(INDEX, _class_name="StableDiffusionImg2ImgPipeline"),
        BAD,
    ),
    "another class of text encoder": ("sd", part_class("text_encoder", "CLIPTextModelWithProjection"), BAD),
    "another class of VAE": ("sd", part_class("vae", "AutoencoderTiny"), BAD),
    "no UNet in the index": ("sd", part_class("unet", None), BAD),
    "a scheduler that the runtime lacks": ("sd", scheduler("UniPCMultistepScheduler"), BAD),
    "a scheduler of another family": ("sd", scheduler("FlowMatchEulerDiscreteScheduler"), BAD),
    "PNDM with Runge-Kutta steps": ("sd", scheduler("PNDMScheduler"), BAD),
    "clipped samples": ("sd", edited(SCHEDULER, clip_sample=True), BAD),
    "an unknown noise schedule": ("sd", edited(SCHEDULER, beta_schedule="squaredcos_cap_v2"), BAD),
    "a weights file that was not copied whole": ("sd", cut("unet/openvino_model.bin", 0.999), BAD),
    "a network that was not copied whole": ("sd", cut("text_encoder/openvino_model.xml"), BAD),
    "no configuration of the text encoder": ("sd", without("text_encoder/config.json"), BAD),
    "no weights of the tokenizer": ("sd", without("tokenizer/openvino_tokenizer.bin"), BAD),
    "no VAE encoder": ("sd", without("vae_encoder"), GOOD),
    "a VAE decoder in place of the encoder": ("sd", replaced("vae_encoder", "sd", "vae_decoder"), BAD),
    "a UNet of another width": ("sd", replaced("unet", "sdxl"), BAD),
    "other channels in the UNet's configuration": ("sd", edited("unet/config.json", in_channels=9), BAD),
    "more tokens than the UNet takes": ("sd", edited("text_encoder/config.json", max_position_embeddings=100), BAD),
    "a UNet of one shape for several sizes": ("sd", fixed_shape(2 * SIDE), BAD),
}
MORE_CASES: dict[str, tuple[str, Damage, bool]] = {
    "no second text encoder in the index": ("sdxl", part_class("text_encoder_2", None), BAD),
    "the first text encoder's class twice": ("sdxl", part_class("text_encoder_2", "CLIPTextModel"), BAD),
    "the first text encoder twice": ("sdxl", replaced("text_encoder_2", "sdxl", "text_encoder"), BAD),
    "the second text encoder twice": ("sdxl", replaced("text_encoder", "sdxl", "text_encoder_2"), GOOD),
    "a UNet of SD in SDXL": ("sdxl", replaced("unet", "sd"), BAD),
    "a UNet of LCM in SD": ("sd", replaced("unet", "lcm"), GOOD),
    "a transformer of SD3 in FLUX": ("flux", replaced("transformer", "sd3"), BAD),
    "the class of an unknown transformer": ("flux", part_class("transformer", "SD3Transformer2DModel"), BAD),
    "a VAE of SD in FLUX": ("flux", replaced("vae_decoder", "sd"), GOOD),
    "a detokenizer as tokenizer": (
        "sd",
        copied("tokenizer/openvino_detokenizer", "tokenizer/openvino_tokenizer"),
        BAD,
    ),
    "a scheduler of UNets in FLUX": ("flux", scheduler("EulerDiscreteScheduler"), BAD),
    "a scheduler of UNets in SD3": ("sd3", scheduler("DDIMScheduler"), BAD),
    "LMS without clipped samples": ("sd", scheduler("LMSDiscreteScheduler"), GOOD),
    "DDIM, which clips by default": ("sdxl", scheduler("DDIMScheduler"), BAD),
    "Karras sigmas": ("sdxl", edited(SCHEDULER, use_karras_sigmas=True), BAD),
    "Karras sigmas that nothing reads": ("flux", edited(SCHEDULER, use_karras_sigmas=True), GOOD),
    "an unknown prediction": ("sd", edited(SCHEDULER, prediction_type="flow"), BAD),
    "an unknown spacing": ("sd", edited(SCHEDULER, timestep_spacing="even"), BAD),
    "a text in place of a number": ("sd", edited(SCHEDULER, beta_end="0.012"), BAD),
    "a negative offset": ("sd", edited(SCHEDULER, steps_offset=-1), BAD),
    "no shift": ("flux", edited(SCHEDULER, shift=0), BAD),
    "a scaling that is no number": ("sd", edited("vae_decoder/config.json", scaling_factor="0.18215"), BAD),
    "a weights file with more than the network wants": (
        "sd",
        lengthened("unet/openvino_model.bin"),
        GOOD,
    ),
    "a VAE encoder that was not copied whole": ("sd", cut("vae_encoder/openvino_model.bin"), GOOD),
    "no detokenizer": ("sd", without("tokenizer/openvino_detokenizer.xml"), GOOD),
    "the pipeline's class of another family": ("sd3", edited(INDEX, _class_name="FluxPipeline"), BAD),
    "a UNet for another text encoder": ("sdxl", edited(INDEX, _class_name="StableDiffusionPipeline"), BAD),
    "no tokenizer in the index": ("sd", part_class("tokenizer", None), GOOD),
    "the class of a safety checker": ("sd", part_class("safety_checker", "StableDiffusionSafetyChecker"), GOOD),
    "SD3 without T5": (
        "sd3",
        both(part_class("text_encoder_3", None), without("text_encoder_3", "tokenizer_3")),
        GOOD,
    ),
    "other channels in the VAE's configuration": ("sd", edited("vae_decoder/config.json", latent_channels=8), BAD),
    "PNDM without Runge-Kutta steps": ("sd", scheduler("PNDMScheduler", skip_prk_steps=True), GOOD),
    "a text encoder in place of the UNet": (
        "sd",
        copied("text_encoder/openvino_model", "unet/openvino_model"),
        BAD,
    ),
}


def is_good(graph: Graph) -> bool:
    try:
        check_loadable(graph)
    except RepositoryError:
        return False
    return True


def draws(graph: Graph, cache_dir: Path) -> bool:
    """Return whether the model loads and every operation that it offers draws more than one colour."""
    try:
        facts = read_model_facts(graph.models_path)
        engine = OpenVinoEngine(graph, facts, device=("CPU",), cache_dir=cache_dir)
        operations = engine.load()
        images = [draw(engine, make_request(facts, operation)).images[0] for operation in sorted(operations)]
    except (RepositoryError, EngineError):
        return False
    return all(image.std() > 0 for image in images)


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(name, marks=pytest.mark.thorough) for name in MORE_CASES)])
def test_a_model_is_called_good_exactly_if_it_loads_and_draws(case: str, tmp_path: Path, cache_dir: Path) -> None:
    name, damage, expected = {**CASES, **MORE_CASES}[case]
    model = copy_model(name, tmp_path)
    damage(model)
    graph = make_graph(model)
    assert (is_good(graph), draws(graph, cache_dir)) == (expected, expected)


def test_a_scheduler_with_too_few_betas_is_refused(tmp_path: Path) -> None:
    """The runtime reads beyond their end, so that what it draws depends on what stands in memory there."""
    model = copy_model("sd", tmp_path)
    edited(SCHEDULER, trained_betas=[0.1, 0.2])(model)
    assert not is_good(make_graph(model))


def test_a_network_of_one_shape_is_good_for_a_graph_of_one_size(tmp_path: Path, cache_dir: Path) -> None:
    model = copy_model("sd", tmp_path)
    fixed_shape(2 * SIDE)(model)
    size = Resolution(SIDE, SIDE)
    graph = make_graph(model, resolution=(size,), default_resolution=size, max_resolution=size)
    assert is_good(graph)
    assert draws(graph, cache_dir)


def test_a_broken_index_names_itself(tmp_path: Path) -> None:
    model = copy_model("sd", tmp_path)
    index = json.loads((model / INDEX).read_text())
    (model / INDEX).write_text(json.dumps({**index, "vae": "AutoencoderKL"}))
    with pytest.raises(RepositoryError) as refusal:
        check_loadable(make_graph(model))
    assert refusal.value.message == (
        f"{model / INDEX}: vae is not given; a Stable Diffusion model needs one of the class AutoencoderKL."
    )
