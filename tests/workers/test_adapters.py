"""LoRA adapters on the tiny Stable Diffusion: files written here, with random weights."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from graphs.errors import EngineError
from graphs.graph import LoraAdapter, LoraMode
from graphs.model_facts import Family, Operation, read_model_facts
from graphs.request import AdapterSelection
from tests.workers.engine_support import MODELS, draw, load_engine, make_graph, make_request
from workers.engine.adapters import load_adapters

_LAYERS = ("attn1_to_q", "attn1_to_v", "attn2_to_q")
_WIDTH, _RANK = 32, 4


def write_adapter(path: Path, seed: int, suffix: str = "") -> Path:
    generator = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}
    for layer in _LAYERS:
        name = f"lora_unet_mid_block_attentions_0_transformer_blocks_0_{layer}"
        tensors[f"{name}.lora_down.weight{suffix}"] = generator.normal(size=(_RANK, _WIDTH)).astype(np.float32)
        tensors[f"{name}.lora_up.weight"] = generator.normal(size=(_WIDTH, _RANK)).astype(np.float32)
        tensors[f"{name}.alpha"] = np.array(_RANK, dtype=np.float32)
    save_file(tensors, path)
    return path


def test_adapters_are_switched_and_blended_per_request(tmp_path: Path, cache_dir: Path) -> None:
    adapters = tuple(
        LoraAdapter(alias=alias, path=write_adapter(tmp_path / f"{alias}.safetensors", seed))
        for seed, alias in enumerate(("a", "b"))
    )
    facts = read_model_facts(MODELS / "sd")
    engine = load_engine(make_graph(MODELS / "sd", lora_adapters=adapters), cache_dir=cache_dir)
    without = load_engine(make_graph(MODELS / "sd"), cache_dir=cache_dir)
    plain = draw(without, make_request(facts, Operation.GENERATION)).images[0]

    def picture(operation: Operation = Operation.GENERATION, **alphas: float) -> bytes:
        selections = tuple(AdapterSelection(alias=alias, alpha=alpha) for alias, alpha in alphas.items())
        return draw(engine, make_request(facts, operation, adapters=selections)).images[0].tobytes()

    base = picture()
    assert base == plain.tobytes()
    assert len({base, picture(a=1.0), picture(a=0.5), picture(b=1.0), picture(a=1.0, b=1.0)}) == 5
    assert picture(a=0.0) == picture() == base
    for operation in (Operation.EDIT, Operation.INPAINTING):
        assert picture(operation, a=1.0) != picture(operation)
    with pytest.raises(EngineError, match="'c' is not loaded"):
        picture(c=1.0)


def refusal(path: Path, mode: LoraMode = LoraMode.DYNAMIC, family: Family = Family.SD) -> str:
    graph = make_graph(MODELS / "sd", lora_adapters=(LoraAdapter(alias="fox", path=path, mode=mode),))
    with pytest.raises(EngineError) as caught:
        load_adapters(graph, family)
    assert "'fox'" in caught.value.message
    assert str(path) in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"\x80\x04pickle" * 9, b"\xff" * 40, b"\x02" + b"\0" * 7 + b"{}", b"\x04" + b"\0" * 7 + b"1234"],
)
def test_a_file_that_is_no_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fox.safetensors"
    path.write_bytes(content)

    assert "is not a safetensors file" in refusal(path) or "holds no tensor" in refusal(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "fox.safetensors")


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "fox.safetensors", 1)
    path.write_bytes(path.read_bytes()[:-100])

    assert "is cut off" in refusal(path)


@pytest.mark.parametrize(
    ("family", "key"),
    [
        (Family.SD, "unet.mid_block.to_q.lora_A.weight"),
        (Family.SDXL, "base_model.model.to_q.lora_A.weight"),
        (Family.SD, "transformer.x.to_q.lora_A.weight"),
        (Family.SD3, "lora_unet_x.lora_up.weight"),
        (Family.FLUX, "unet.x.lora.up.weight"),
    ],
)
def test_tensors_of_another_form_are_refused(tmp_path: Path, family: Family, key: str) -> None:
    path = tmp_path / "fox.safetensors"
    save_file({key: np.zeros((2, 2), dtype=np.float32)}, path)

    assert repr(key) in refusal(path, family=family)


@pytest.mark.parametrize("mode", [LoraMode.STATIC, LoraMode.FUSE])
def test_other_modes_are_not_there_yet(tmp_path: Path, mode: LoraMode) -> None:
    path = write_adapter(tmp_path / "fox.safetensors", 1)

    assert "not supported yet: use DYNAMIC" in refusal(path, mode)
