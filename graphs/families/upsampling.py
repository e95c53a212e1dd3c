"""How often a UNet halves a side of the image and doubles it again by a constant factor.

diffusers' UNets concatenate the output of each upsampling layer with that of an earlier level. optimum's exports give
such a layer the size to reach (an Interpolate operation with sizes); other exports may have traced a constant scale of
2 into it, and then the concatenation fails where a level has an odd side.
"""

import re
from pathlib import Path

# Attributes of Interpolate-4 and Interpolate-11 in OpenVINO's IR; no other operation has one of this name.
_CONSTANT_SCALE = re.compile(rb'shape_calculation_mode="scales"')
_MOST_LEVELS = 8


def constant_doublings(models_path: Path) -> int:
    """Return the number of the UNet's upsampling layers that double any input; 0 without a UNet.

    Raises OSError when the file cannot be read.
    """
    xml_path = models_path / "unet" / "openvino_model.xml"
    if not xml_path.is_file():
        return 0
    return min(len(_CONSTANT_SCALE.findall(xml_path.read_bytes())), _MOST_LEVELS)
