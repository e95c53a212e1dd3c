"""The scale that an adapter file means: where its alpha stands, and what it is divided by."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from graphs.adapters.fit import fit_adapter
from graphs.errors import AdapterMisfit
from graphs.families.model_facts import read_model_facts
from tests.workers.engine.engine_support import MODELS

RANK = 4
BLOCK = "mid_block.attentions.0.transformer_blocks.0.attn1"
QUERY = f"{BLOCK}.to_q"
VALUE = f"{BLOCK}.to_v"


def scales(
    folder: Path, *, alpha: Any = None, metadata: dict[str, Any] | None = None, config: object = None
) -> dict[str, float]:
    """Return the scales of an adapter for two layers, by layer."""
    tensors: dict[str, Any] = {}
    for module in (QUERY, VALUE):
        tensors[f"unet.{module}.lora_A.weight"] = np.ones((RANK, 32), np.float32)
        tensors[f"unet.{module}.lora_B.weight"] = np.ones((32, RANK), np.float32)
        if alpha is not None:
            tensors[f"unet.{module}.alpha"] = alpha
    name = "fox.safetensors"
    if config is not None:
        name = "adapter_model.safetensors"
        (folder / "adapter_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    free_text = {"lora_adapter_metadata": json.dumps(metadata)} if metadata is not None else None
    save_file(tensors, folder / name, free_text)
    fit = fit_adapter(folder / name, MODELS / "sd", read_model_facts(MODELS / "sd").family)
    return {update.target.layer.path: update.scale for update in fit.updates}


@pytest.mark.parametrize(
    "alpha",
    [np.float32(8), np.float16(8), np.float64(8), np.array([8], np.int64), np.array([[8.0]], np.float32), np.uint8(8)],
)
def test_an_alpha_of_any_type_and_shape_is_over_the_rank(alpha: Any, tmp_path: Path) -> None:
    assert set(scales(tmp_path, alpha=np.asarray(alpha)).values()) == {8 / RANK}


def test_without_any_alpha_the_scale_is_one(tmp_path: Path) -> None:
    assert set(scales(tmp_path).values()) == {1.0}
    assert set(scales(tmp_path, metadata={"unet.r": RANK}).values()) == {1.0}


def test_rank_stabilised_adapters_divide_by_the_root(tmp_path: Path) -> None:
    metadata = {"unet.lora_alpha": 8, "unet.use_rslora": True}

    assert set(scales(tmp_path, metadata=metadata).values()) == {8 / math.sqrt(RANK)}


def test_an_alpha_by_pattern_is_that_of_its_layers(tmp_path: Path) -> None:
    for pattern in ("attn1.to_v", f"^{VALUE}", VALUE):
        found = scales(tmp_path, metadata={"unet.lora_alpha": 8, "unet.alpha_pattern": {pattern: 2}})
        assert found == {QUERY: 8 / RANK, VALUE: 2 / RANK}


def test_the_configuration_beside_a_file_of_peft(tmp_path: Path) -> None:
    config = {"lora_alpha": 16, "r": RANK, "use_rslora": False, "alpha_pattern": {"to_v": 4}}

    assert scales(tmp_path, config=config) == {QUERY: 4.0, VALUE: 1.0}
    assert set(scales(tmp_path, config="no JSON").values()) == {1.0}


@pytest.mark.parametrize("alpha", [1e300, math.nan, True, "8", None, -math.inf])
def test_what_is_no_number_in_a_configuration_is_ignored(alpha: Any, tmp_path: Path) -> None:
    assert set(scales(tmp_path, metadata={"unet.lora_alpha": alpha, "unet.alpha_pattern": [alpha]}).values()) == {1.0}


@pytest.mark.parametrize("alpha", [1e6, math.inf, math.nan])
def test_a_scale_beyond_that_of_requests_is_refused(alpha: float, tmp_path: Path) -> None:
    with pytest.raises(AdapterMisfit, match=r"its scale, alpha by rank, is .*, and may be 1000 at most"):
        scales(tmp_path, alpha=np.array(alpha, np.float32))
