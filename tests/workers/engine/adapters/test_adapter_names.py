"""One adapter under the names of several trainers draws, in f32, exactly what GenAI draws under its own names."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from graphs.definition.graph import LoraAdapter
from graphs.families.family import Operation
from tests.workers.engine.adapter_support import RANK, distance, draw_image, raw_image
from tests.workers.engine.engine_support import MODELS, load_engine, make_graph

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("openvino_runtime")]

Numbers = npt.NDArray[np.float32]
Pairs = Mapping[str, tuple[Numbers, Numbers]]  # down and up of each module
WIDTH = 32
KOHYA = ("lora_down", "lora_up")
PEFT = ("lora_A", "lora_B")
UNET_BLOCK = "mid_block.attentions.0.transformer_blocks.0.attn1."
UNET_MODULES = ("to_q", "to_k", "to_v")
ENCODER = "text_model.encoder.layers.0.self_attn.q_proj"


def random_pairs(*modules: str) -> Pairs:
    """Return one ``down`` for all modules, as where they are one layer in the original, and an ``up`` for each."""
    generator = np.random.default_rng(1)
    down = generator.normal(size=(RANK, WIDTH)).astype(np.float32)
    return {module: (down, generator.normal(size=(WIDTH, RANK)).astype(np.float32)) for module in modules}


def write(path: Path, pairs: Pairs, name: Callable[[str], str], parts: tuple[str, str]) -> Path:
    tensors = {}
    for module, matrices in pairs.items():
        for part, values in zip(parts, matrices, strict=True):
            tensors[f"{name(module)}.{part}.weight"] = values
    save_file(tensors, path)
    return path


def fused(pairs: Pairs) -> tuple[Numbers, Numbers]:
    values = list(pairs.values())
    return values[0][0], np.concatenate([up for _, up in values])


def check(family: str, native: Path, forms: Mapping[str, Path]) -> None:
    """Compare the image of each file with the one that GenAI draws with ``native``."""
    expected = raw_image(family, [(native, 1.0)])
    adapters = tuple(LoraAdapter(alias=alias, path=path) for alias, path in forms.items())
    engine = load_engine(make_graph(MODELS / family, lora_adapters=adapters))
    for alias in forms:
        drawn = draw_image(engine, family, Operation.GENERATION, **{alias: 1.0})
        np.testing.assert_array_equal(drawn, expected, err_msg=alias)
    assert distance(expected, raw_image(family)) > 0.05


@pytest.mark.parametrize("family", ["sd", "lcm", "sdxl"])
def test_names_of_a_unet(family: str, tmp_path: Path) -> None:
    pairs = random_pairs(*UNET_MODULES)
    original = "middle_block.1.transformer_blocks.0.attn1."
    forms: Mapping[str, tuple[Callable[[str], str], tuple[str, str]]] = {
        "kohya": (lambda module: "lora_unet_" + f"{original}{module}".replace(".", "_"), KOHYA),
        "omi": (lambda module: f"unet.{original}{module}", KOHYA),
        "comfy": (lambda module: f"diffusion_model.{original}{module}", PEFT),
        "old": (lambda module: f"unet.{UNET_BLOCK}processor.{module}_lora", ("down", "up")),
        "named": (lambda module: f"base_model.model.unet.{UNET_BLOCK}{module}", ("lora_A.style", "lora_B.style")),
    }
    native = write(
        tmp_path / "native.safetensors",
        pairs,
        lambda module: "lora_unet_" + f"{UNET_BLOCK}{module}".replace(".", "_"),
        KOHYA,
    )
    check(
        family,
        native,
        {alias: write(tmp_path / f"{alias}.safetensors", pairs, *form) for alias, form in forms.items()},
    )


@pytest.mark.parametrize(
    ("family", "component"), [("sd", "l"), ("lcm", "l"), ("sdxl", "l"), ("sdxl", "g"), ("flux", "l")]
)
def test_names_of_a_text_encoder(family: str, component: str, tmp_path: Path) -> None:
    pairs = random_pairs(ENCODER)
    number, folder = (1, "text_encoder") if component == "l" else (2, "text_encoder_2")
    bare = ENCODER.removeprefix("text_model.")
    old = ENCODER.replace("q_proj", "to_q_lora")
    forms: Mapping[str, tuple[Callable[[str], str], tuple[str, str]]] = {
        "kohya": (lambda module: f"lora_te{number}_{module.replace('.', '_')}", KOHYA),
        "clip": (lambda module: f"lora_te{number}_clip_{component}_{module.replace('.', '_')}", KOHYA),
        "bare": (lambda module: f"lora_te{number}_{bare.replace('.', '_')}", KOHYA),
        "diffusers": (lambda module: f"{folder}.{module}", PEFT),
        "linear": (lambda module: f"{folder}.{module}.lora_linear_layer", ("down", "up")),
        "old": (lambda module: f"{folder}.{old}", ("down", "up")),
        "omi": (lambda module: f"clip_{component}.{module}", KOHYA),
        "comfy": (lambda module: f"text_encoders.clip_{component}.transformer.{module}", PEFT),
    }
    start = f"lora_te{number}_" if family == "sdxl" else "lora_te_"
    native = write(tmp_path / "native.safetensors", pairs, lambda name: start + name.replace(".", "_"), KOHYA)
    check(
        family,
        native,
        {alias: write(tmp_path / f"{alias}.safetensors", pairs, *form) for alias, form in forms.items()},
    )


@pytest.mark.parametrize(
    ("family", "qkv"), [("sd3", "joint_blocks.0.x_block.attn.qkv"), ("flux", "double_blocks.0.img_attn.qkv")]
)
def test_names_of_a_transformer(family: str, qkv: str, tmp_path: Path) -> None:
    block = "transformer_blocks.0.attn."
    pairs = random_pairs("to_q", "to_k", "to_v")
    whole = {qkv: fused(pairs)}
    numbers = {"to_q": 0, "to_k": 1, "to_v": 2}
    files: dict[str, tuple[Pairs, Callable[[str], str], tuple[str, str]]] = {
        "kohya": (whole, lambda module: f"lora_unet_{module.replace('.', '_')}", KOHYA),
        "toolkit": (whole, lambda module: f"diffusion_model.{module}", PEFT),
        "omi": (pairs, lambda module: f"transformer.{qkv}.{numbers[module]}", KOHYA),
        "legacy": (pairs, lambda module: "lora_transformer_" + f"{block}{module}".replace(".", "_"), KOHYA),
        "peft": (pairs, lambda module: f"base_model.model.{block}{module}", ("lora_A.default", "lora_B.default")),
    }
    if family == "flux":
        files["xlabs"] = (whole, lambda module: "double_blocks.0.processor.qkv_lora1", ("down", "up"))
    native = write(tmp_path / "native.safetensors", pairs, lambda module: f"transformer.{block}{module}", PEFT)
    check(
        family,
        native,
        {alias: write(tmp_path / f"{alias}.safetensors", *form) for alias, form in files.items()},
    )
