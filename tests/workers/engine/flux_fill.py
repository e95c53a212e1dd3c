"""A tiny FLUX.1 Fill: the tiny FLUX whose denoiser takes the image's latents and the mask beside its own latents."""

import json
import shutil
from pathlib import Path

import numpy as np
import openvino

from tests.workers.engine.engine_support import copy_model, edit_json


def make_flux_fill(folder: Path) -> Path:
    """Write the model to ``folder``/flux and return its path; its added weights are random."""
    model = copy_model("flux", folder)
    part = model / "transformer"
    latents = json.loads((part / "config.json").read_text())["in_channels"]
    vae_scale = 2 ** (len(json.loads((model / "vae_decoder" / "config.json").read_text())["block_out_channels"]) - 1)
    mask = 4 * vae_scale**2  # a token covers 2x2 latents
    network = openvino.Core().read_model(part / "openvino_model.xml")
    first = next(
        node
        for node in network.get_ordered_ops()
        if "x_embedder" in node.get_friendly_name() and node.get_type_name() == "MatMul"
    )
    outputs = first.input(1).get_partial_shape()[0].get_length()
    weights = np.random.default_rng(0).normal(size=(outputs, 2 * latents + mask)).astype(np.float32) / 8
    parameter = network.input("hidden_states").get_node()
    parameter.set_partial_shape(openvino.PartialShape([-1, -1, 2 * latents + mask]))
    first.input(1).replace_source_output(openvino.opset13.constant(weights).output(0))
    network.validate_nodes_and_infer_types()
    openvino.save_model(network, folder / "openvino_model.xml", compress_to_fp16=False)
    del network
    for suffix in ("xml", "bin"):
        shutil.move(folder / f"openvino_model.{suffix}", part / f"openvino_model.{suffix}")
    edit_json(part / "config.json", in_channels=2 * latents + mask, out_channels=latents)
    edit_json(model / "model_index.json", _class_name="FluxFillPipeline")
    return model
