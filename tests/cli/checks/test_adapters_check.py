"""The check of adapters: what each file holds, and how much of it the model takes."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from cli.checks.adapters_check import check_adapters
from cli.checks.finding import Verdict
from graphs.definition.graph import LoraAdapter, LoraMode
from tests.workers.engine.adapter_support import write_native
from tests.workers.engine.engine_support import MODELS, make_graph
from tests.workers.engine.lycoris_support import KINDS, write_kind


def test_each_adapter_has_its_finding(tmp_path: Path) -> None:
    good = write_native(tmp_path / "good.safetensors", "sd", 1)
    tensors = dict(load_file(good))
    tensors["lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"] = np.ones((4, 4), np.float32)
    save_file(tensors, tmp_path / "part.safetensors")
    write_native(tmp_path / "bad.safetensors", "flux", 1)
    write_kind(tmp_path / "locon.safetensors", "sd", KINDS["LoCon, 3x3"])
    adapters = [
        LoraAdapter(alias="good", path=good),
        LoraAdapter(alias="part", path=tmp_path / "part.safetensors"),
        LoraAdapter(alias="bad", path=tmp_path / "bad.safetensors"),
        LoraAdapter(alias="locon", path=tmp_path / "locon.safetensors"),
        LoraAdapter(alias="fused", path=tmp_path / "locon.safetensors", mode=LoraMode.FUSE),
    ]

    findings = check_adapters({"sd": make_graph(MODELS / "sd", lora_adapters=tuple(adapters))})

    found = dict(zip((adapter.alias for adapter in adapters), findings, strict=True))
    assert (found["good"].verdict, found["good"].message) == (Verdict.OK, "good: denoiser 3 of 3 layers, rank 4.")
    assert found["part"].verdict is Verdict.NOTE
    assert found["part"].message == "part: denoiser 3 of 3 layers, text_encoder_2 0 of 1 layers, rank 4."
    assert "applies no adapter to the text_encoder_2" in found["part"].remedy
    assert found["bad"].verdict is Verdict.WRONG
    assert "bad.safetensors) does not fit tiny: only 0 of its 3 layers are in this" in found["bad"].message
    assert found["locon"].verdict is Verdict.WRONG and "mode: FUSE" in found["locon"].message
    assert found["fused"].verdict is Verdict.OK


def test_without_adapters_there_is_nothing_to_say() -> None:
    assert check_adapters({"sd": make_graph(MODELS / "sd")}) == []
