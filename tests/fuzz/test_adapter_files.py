"""Hostile adapter files are refused with a clause about them, or converted for the runtime; nothing else happens."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from graphs.adapters.fit import fit_adapter, read_coverage
from graphs.adapters.safetensors_file import ITEM_BYTES
from graphs.errors import AdapterMisfit
from graphs.families.model_facts import read_model_facts
from tests.fuzz.fuzz_support import examples, explore
from tests.workers.engine.engine_support import MODELS
from workers.engine.adapters.adapter_files import convert

STARTS = (
    "lora_unet_",
    "unet.",
    "lora_te_",
    "text_encoder.",
    "lora_te2_",
    "base_model.model.",
    "clip_l.",
    "",
    "lycoris_",
)
MODULES = (
    "mid_block_attentions_0_transformer_blocks_0_attn1_to_q",
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
    "mid_block.resnets.0.conv1",
    "text_model_encoder_layers_0_self_attn_q_proj",
    "input_blocks_0_0",
    "nowhere",
)
PARTS = (
    *(".lora_down.weight", ".lora_up.weight", ".lora_mid.weight", ".lora_A.default.weight", ".lora_B.weight", ".alpha"),
    *(".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".hada_t1", ".hada_t2", ".diff", ".diff_b"),
    *(".lokr_w1", ".lokr_w2", ".lokr_w1_a", ".lokr_w1_b", ".lokr_w2_a", ".lokr_w2_b", ".lokr_t2", ".dora_scale"),
)
NAMES = st.builds("{}{}{}".format, st.sampled_from(STARTS), st.sampled_from(MODULES), st.sampled_from(PARTS))
SIZES = st.sampled_from((0, 1, 2, 3, 4, 8, 9, 16, 32, 48))
SHAPES = st.lists(SIZES, max_size=4).filter(lambda shape: math.prod(shape) <= 20_000)
TENSORS = st.dictionaries(
    NAMES, st.tuples(st.sampled_from((*ITEM_BYTES, "F4", "C64")), SHAPES, st.binary(max_size=2)), min_size=1, max_size=8
)


def written(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> Path:
    """Write a file whose header is right and whose numbers repeat a few random bytes."""
    header: dict[str, Any] = {}
    data = b""
    for name, (dtype, shape, pattern) in tensors.items():
        size_bytes = math.prod(shape) * ITEM_BYTES.get(dtype, 1)
        start = len(data)
        data += ((pattern or b"\0") * (size_bytes + 1))[:size_bytes]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@examples(200, 4_000)
def test_any_file_fits_or_is_refused(count: int, tmp_path: Path) -> None:
    model = MODELS / "sd"
    family = read_model_facts(model).family
    ends = set()

    def check(tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
        path = written(tmp_path / "a.safetensors", tensors)
        try:
            fit = fit_adapter(path, model, family)
        except AdapterMisfit as error:
            assert 10 < len(error.message) < 1000
            ends.add("refused")
            return
        assert read_coverage(path, model, family) == fit.coverage
        ends.add("whole" if fit.needs_merge else "converted")
        if not fit.needs_merge:
            assert len(convert(fit).content) > 0

    explore(check, count, tensors=TENSORS)
    assert "refused" in ends


def pairs(inputs: int, outputs: int) -> "st.SearchStrategy[dict[str, tuple[str, list[int], bytes]]]":
    """Files that are nearly right: the parts of one kind with the right shapes, of any type."""
    start = f"lora_unet_{MODULES[0]}"
    rank = st.sampled_from((1, 2, 4))
    dtype = st.sampled_from(("F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2", "I8"))
    return st.builds(
        lambda r, down, up, pattern: {
            f"{start}.lora_down.weight": (down, [r, inputs], pattern),
            f"{start}.lora_up.weight": (up, [outputs, r], pattern),
        },
        rank,
        dtype,
        dtype,
        st.binary(min_size=1, max_size=9),
    )


@pytest.mark.parametrize("sides", [(32, 32)])
@examples(100, 2_000)
def test_right_shapes_of_any_type_and_numbers(count: int, sides: tuple[int, int], tmp_path: Path) -> None:
    model = MODELS / "sd"
    family = read_model_facts(model).family

    def check(tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
        path = written(tmp_path / "a.safetensors", tensors)
        try:
            fit = fit_adapter(path, model, family)
        except AdapterMisfit as error:
            assert "(NaN)" in error.message or "its type is I8" in error.message
        else:
            (update,) = fit.updates
            assert update.rank is not None
            assert len(convert(fit).content) > 0

    explore(check, count, tensors=pairs(*sides))
