"""Layers whose adapter the runtime computes rightly only with an input operation of their own."""

from pathlib import Path

import numpy as np
import pytest

from graphs.definition.graph import LoraAdapter
from tests.workers.engine.adapter_support import draw_image, raw_image, write_diffusers
from tests.workers.engine.engine_support import MODELS, copy_model, load_engine, make_graph
from tests.workers.engine.equality_support import POOLED, layers_of
from workers.engine.adapters.split_inputs import split_inputs

pytestmark = pytest.mark.usefixtures("openvino_runtime")


def test_the_layer_of_sd3_for_pooled_prompts(tmp_path: Path) -> None:
    layers = layers_of(MODELS / "sd3" / "transformer", (POOLED,))
    path = write_diffusers(tmp_path / "p.safetensors", layers, 1)
    engine = load_engine(make_graph(MODELS / "sd3", lora_adapters=(LoraAdapter(alias="p", path=path),)))

    expected = raw_image("sd3", [(path, 1.0)])
    for _ in range(4):
        np.testing.assert_array_equal(draw_image(engine, "sd3", p=1.0), expected)
        np.testing.assert_array_equal(draw_image(engine, "sd3"), raw_image("sd3"))


def test_a_layer_that_is_not_there_is_named(tmp_path: Path) -> None:
    xml_path = copy_model("sd3", tmp_path) / "transformer" / "openvino_model.xml"

    with pytest.raises(RuntimeError, match="has no layer nowhere"):
        split_inputs(xml_path, ["nowhere"])
