"""Gives a UNet's upsampling layers the size of the skip connection that they meet, so that it draws sizes of any rest.

Traced at a size that halves evenly at each level, such a layer doubles its input. Where a level's size is odd, twice
the half is not it, and the concatenation with the skip connection fails. diffusers passes the skip connection's size on
for sizes that do not halve evenly (``forward_upsample_size``); optimum's exports have it for all.
"""

import numpy as np
import openvino
from openvino import opset13 as ops


def take_skip_sizes(unet: openvino.Model) -> int:
    """Change each upsampling layer that has a constant scale, and return how many there were.

    At sizes that halve evenly, the numbers stay the same.
    """
    scaled = [
        node
        for node in unet.get_ordered_ops()
        if node.get_type_name() == "Interpolate" and node.get_attributes()["shape_calculation_mode"] == "scales"
    ]
    for node in scaled:
        _replace(node, _skip_connection(node))
    unet.validate_nodes_and_infer_types()
    return len(scaled)


def _replace(node: openvino.Node, skip: openvino.Output) -> None:
    axes = node.input_value(2)
    sizes = ops.gather(ops.shape_of(skip, output_type="i32"), axes, ops.constant(0, dtype=np.int32))
    attributes = node.get_attributes()
    upsampled = ops.interpolate(
        node.input_value(0),
        sizes,
        mode=attributes["mode"],
        shape_calculation_mode="sizes",
        pads_begin=attributes["pads_begin"],
        pads_end=attributes["pads_end"],
        coordinate_transformation_mode=attributes["coordinate_transformation_mode"],
        nearest_mode=attributes["nearest_mode"],
        axes=axes,
    )
    upsampled.set_friendly_name(node.get_friendly_name())
    node.output(0).replace(upsampled.output(0))


def _skip_connection(upsampling: openvino.Node) -> openvino.Output:
    """Return the other input of the concatenation that the layer's output reaches first."""
    output = upsampling.output(0)
    while True:
        (target,) = output.get_target_inputs()
        reached = target.get_node()
        if reached.get_type_name() == "Concat":
            return next(port.get_source_output() for port in reached.inputs() if port.get_source_output() != output)
        output = reached.output(0)
