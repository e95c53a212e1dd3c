"""A device at fault, on real pipelines: a model whose files are overwritten after it was loaded.

The runtime reads some constants from the file whenever it draws (mmap), so the damage reaches the loaded model, as that
of bad memory would.
"""

import xml.etree.ElementTree as ET
from pathlib import Path


def overwrite_largest_constant(part: Path, byte: int) -> None:
    """Fill the largest constant of a part's weights, in place, with one byte."""
    constants = [
        (int(data.attrib["size"]), int(data.attrib["offset"]))
        for data in ET.parse(part / "openvino_model.xml").iter("data")
        if "offset" in data.attrib
    ]
    size, offset = max(constants)
    with (part / "openvino_model.bin").open("r+b") as file:
        file.seek(offset)
        file.write(bytes([byte]) * size)
