"""The converter, but random numbers take the place of the weights of the part that is named first."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from optimum.exporters.openvino.convert import export

from tools.exporter import __main__ as exporter

PART = sys.argv.pop(1)


def spoiling(module: Any, config: Any, xml: Path, **options: Any) -> Any:
    """Convert, and spoil the weights of one part."""
    result = export(module, config, xml, **options)
    if PART in str(xml.parent.name):
        weights = xml.with_suffix(".bin")
        count = weights.stat().st_size // 4
        weights.write_bytes(np.random.default_rng(1).normal(0, 0.05, count).astype(np.float32).tobytes())
    return result


vars(exporter)["export"] = spoiling
sys.exit(exporter.main())
