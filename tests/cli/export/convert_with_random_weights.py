"""The converter, but random numbers take the place of the weights of the part that is named first."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
from optimum.exporters.openvino.convert import export

from tools.exporter import __main__ as exporter

PART = sys.argv.pop(1)
# Shorter constants are shapes, means and the like.
LEAST_BYTES = 1024


def spoiling(module: Any, config: Any, xml: Path, **options: Any) -> Any:
    """Convert, and spoil the weights of one part."""
    result = export(module, config, xml, **options)
    if PART in xml.parent.name:
        spoil(xml)
    return result


def spoil(xml: Path) -> None:
    """Write random numbers into all long constants of 32 bits."""
    random = np.random.default_rng(1)
    with xml.with_suffix(".bin").open("r+b") as file:
        for data in ET.parse(xml).iter("data"):
            size = int(data.attrib.get("size", 0))
            if data.attrib.get("element_type") == "f32" and size >= LEAST_BYTES:
                file.seek(int(data.attrib["offset"]))
                file.write(random.normal(0, 0.05, size // 4).astype(np.float32).tobytes())


vars(exporter)["export"] = spoiling
sys.exit(exporter.main())
