"""The files in tests/adapters, which were made for this project: which models they fit, and why not the others."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from graphs.adapters.fit import fit_adapter
from graphs.adapters.updates import Coverage
from graphs.errors import AdapterMisfit
from graphs.families.model_facts import read_model_facts
from tests.workers.engine.engine_support import MODELS

FILES = MODELS.parent / "adapters"
DEMO = MODELS.parents[1] / "graphs" / "demo"
TINY = ("sd", "sdxl", "sd3", "flux", "lcm")
ENCODER = {"text_encoder": Coverage(1, 1)}
TO_K = "down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_k"
NARROW = "lora_down is [2, 32], its layer takes [rank, 128]"
ONE_ENCODER: Mapping[str, Mapping[str, Coverage] | str] = {
    "sd": ENCODER,
    "sdxl": ENCODER,
    "sd3": "the runtime applies no adapter to the text_encoder of Stable Diffusion 3 models",
    "flux": ENCODER,
    "lcm": ENCODER,
    "demo": NARROW,
}
ONE_LAYER: Mapping[str, Mapping[str, Coverage] | str] = {
    **dict.fromkeys(("sd", "sdxl", "lcm"), "its update has 96 columns, its layer takes [rank, 32]"),
    "sd3": f"this Stable Diffusion 3 model has no layer '{TO_K}' in its transformer",
    "flux": f"this FLUX model has no layer '{TO_K}' in its transformer",
    "demo": {"denoiser": Coverage(1, 1)},
}
# What becomes of each file on each model: how much of it fits, or a part of the refusal.
EXPECTED: Mapping[str, Mapping[str, Mapping[str, Coverage] | str]] = {
    "kohya-te": ONE_ENCODER,
    "clip_l": ONE_ENCODER,
    "peft-te": ONE_ENCODER,
    "loha": ONE_LAYER,
    "lokr": ONE_LAYER,
    "demo-kohya-te": {
        "sd": "only 48 of its 84 layers are in this Stable Diffusion model",
        "sdxl": "only 48 of its 84 layers are in this Stable Diffusion XL model",
        "sd3": "this Stable Diffusion 3 model has no layer 'down_blocks_1_attentions_0_proj_in' in its transformer",
        "flux": "only 0 of its 84 layers are in this FLUX model",
        "lcm": "only 48 of its 84 layers are in this Latent Consistency Model model",
        "demo": {"denoiser": Coverage(84, 84), "text_encoder": Coverage(1, 1)},
    },
}


def test_every_file_is_in_the_table() -> None:
    assert {path.stem for path in FILES.glob("*.safetensors")} == set(EXPECTED)
    assert all(set(models) == {*TINY, "demo"} for models in EXPECTED.values())


@pytest.mark.parametrize(("name", "model"), [(name, model) for name, models in EXPECTED.items() for model in models])
def test_what_becomes_of_a_given_file(name: str, model: str) -> None:
    path: Path = FILES / f"{name}.safetensors"
    folder = DEMO if model == "demo" else MODELS / model
    expected = EXPECTED[name][model]

    if isinstance(expected, str):
        with pytest.raises(AdapterMisfit) as caught:
            fit_adapter(path, folder, read_model_facts(folder).family)
        assert expected in caught.value.message
    else:
        assert fit_adapter(path, folder, read_model_facts(folder).family).coverage.components == expected
