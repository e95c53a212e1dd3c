"""UNets whose upsampling layers have a constant scale, as exports have that were traced at one size."""

import shutil
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as ops

from graphs.repository.bundled import bundled_model_path


def make_scaled_model(folder: Path, models_path: Path | None = None) -> Path:
    """Write a copy of a model, by default the bundled one, whose UNet doubles any input; return its folder."""
    source = models_path or bundled_model_path()
    copy = folder / "scaled"
    shutil.copytree(source, copy)
    network = openvino.Core().read_model(source / "unet" / "openvino_model.xml")
    assert double(network) > 0
    for suffix in (".xml", ".bin"):
        (copy / "unet" / f"openvino_model{suffix}").unlink()
    openvino.save_model(network, copy / "unet" / "openvino_model.xml", compress_to_fp16=False)
    return copy


def double(network: openvino.Model) -> int:
    """Give each upsampling layer the constant scale 2, and return how many there were."""
    found = [node for node in network.get_ordered_ops() if node.get_type_name() == "Interpolate"]
    for node in found:
        doubled = ops.interpolate(
            node.input_value(0),
            ops.constant(np.array([2, 2], np.float32)),
            mode="nearest",
            shape_calculation_mode="scales",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
            axes=node.input_value(2),
        )
        node.output(0).replace(doubled.output(0))
    network.validate_nodes_and_infer_types()
    return len(found)
