"""The files in tests/adapters draw, in f32, the image of a model whose weights were changed by hand.

Most of their tensors hold one number only, which changes hardly a pixel. So each file is drawn twice: as it is, and
with random numbers under the same names.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file, save_file

from graphs.adapters.layers import read_layers
from graphs.definition.graph import LoraAdapter, LoraMode
from graphs.families.family import Operation
from tests.graphs.adapters.test_given_files import DEMO, FILES
from tests.workers.engine.adapter_support import distance, draw_image, merge_by_hand, raw_image
from tests.workers.engine.engine_support import MODELS, load_engine, make_graph

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("openvino_runtime")]

Numbers = npt.NDArray[np.float32]
# x (W + B A) rounds differently than x W + x B A.
MERGED = 0.01
ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k"
QUERY = "text_model.encoder.layers.0.self_attn.q_proj"  # in the tiny models
FEED_FORWARD = "encoder.layers.0.mlp.fc1"  # in the bundled model


def tensors(path: Path) -> dict[str, Numbers]:
    return {key: values.astype(np.float32) for key, values in load_file(path).items()}


def with_random_numbers(name: str, folder: Path, strength: float) -> Path:
    """Write a given file again, with random numbers in the tensors that hold one number only."""
    generator = np.random.default_rng(1)
    written = {
        key: values if values.size == 1 or np.ptp(values) else strength * generator.normal(size=values.shape)
        for key, values in load_file(FILES / f"{name}.safetensors").items()
    }
    path = folder / f"{name}-random.safetensors"
    save_file({key: np.asarray(values, np.float32) for key, values in written.items()}, path)
    return path


def product(parts: Mapping[str, Numbers], module: str, down: str = "lora_down", up: str = "lora_up") -> Numbers:
    """Return ``alpha / rank * up @ down`` of one module."""
    low, high = parts[f"{module}.{down}.weight"], parts[f"{module}.{up}.weight"]
    low, high = low.reshape(len(low), -1), high.reshape(len(high), -1)
    return np.asarray(parts.get(f"{module}.alpha", np.float32(len(low))) / len(low) * (high @ low), np.float32)


def drawn(model: Path, path: Path, merged: Path, mode: LoraMode = LoraMode.DYNAMIC) -> tuple[float, float]:
    """Return how far the adapter's image is from that of the merged model, and from that of the model alone."""
    engine = load_engine(make_graph(model, lora_adapters=(LoraAdapter(alias="a", path=path, mode=mode),)))
    alphas = {"a": 1.0} if mode is LoraMode.DYNAMIC else {}
    image = draw_image(engine, model, Operation.GENERATION, **alphas)
    return distance(image, raw_image(merged)), distance(image, raw_image(model))


@pytest.mark.parametrize("name", ["kohya-te", "clip_l", "peft-te"])
@pytest.mark.parametrize("family", ["sd", "sdxl", "flux", "lcm"])
def test_one_layer_of_a_text_encoder(family: str, name: str, tmp_path: Path) -> None:
    down, up = ("lora_A", "lora_B") if name == "peft-te" else ("lora_down", "lora_up")
    changed = []
    for path in (FILES / f"{name}.safetensors", with_random_numbers(name, tmp_path, 1.0)):
        parts = tensors(path)
        module = next(key.removesuffix(f".{down}.weight") for key in parts if key.endswith(f".{down}.weight"))
        (tmp_path / path.stem).mkdir()
        added = {QUERY: product(parts, module, down, up)}
        merged = merge_by_hand(family, tmp_path / path.stem, added, encoder="text_encoder")
        to_merged, to_base = drawn(MODELS / family, path, merged)

        assert to_merged < MERGED
        changed.append(to_base)
    assert changed[1] > 5 * MERGED


@pytest.mark.parametrize(("name", "mode"), [("loha", LoraMode.DYNAMIC), ("lokr", LoraMode.FUSE)])
def test_one_layer_of_the_bundled_model(name: str, mode: LoraMode, tmp_path: Path) -> None:
    changed = []
    for path in (FILES / f"{name}.safetensors", with_random_numbers(name, tmp_path, 0.3)):
        parts = {key.rpartition(".")[2]: values for key, values in tensors(path).items()}
        if name == "loha":
            left, right = (parts[f"hada_w{number}_a"] @ parts[f"hada_w{number}_b"] for number in (1, 2))
            change = np.asarray(left * right * parts["alpha"] / 4, np.float32)
        else:
            change = np.asarray(np.kron(parts["lokr_w1"], parts["lokr_w2"]), np.float32)
        (tmp_path / path.stem).mkdir()
        merged = merge_by_hand(DEMO, tmp_path / path.stem, {ATTENTION: change})
        to_merged, to_base = drawn(DEMO, path, merged, mode)

        assert to_merged < MERGED
        changed.append(to_base)
    assert changed[1] > 5 * MERGED


def test_both_parts_of_an_adapter_of_the_bundled_model(tmp_path: Path) -> None:
    paths = {f"lora_unet_{path.replace('.', '_')}": path for path in read_layers(DEMO / "unet" / "openvino_model.xml")}
    for path in (FILES / "demo-kohya-te.safetensors", with_random_numbers("demo-kohya-te", tmp_path, 0.3)):
        parts = tensors(path)
        changes = {module: product(parts, module) for module in {key.partition(".")[0] for key in parts}}
        encoder = changes.pop("lora_te_text_model_encoder_layers_0_mlp_fc1")
        folder = tmp_path / path.stem
        (folder / "half").mkdir(parents=True)
        half = merge_by_hand(DEMO, folder / "half", {paths[module]: change for module, change in changes.items()})
        merged = merge_by_hand(half, folder, {FEED_FORWARD: encoder}, encoder="text_encoder")
        to_merged, to_base = drawn(DEMO, path, merged)

        assert to_merged < MERGED
        assert to_base > 5 * MERGED
    assert distance(raw_image(merged), raw_image(half)) > 5 * MERGED  # the text encoder's part has an effect
