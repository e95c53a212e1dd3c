"""The engines that draw images; the only package that imports OpenVINO."""

import sys

# Importing openvino sends an event to Google Analytics and writes below HOME (openvino/tools/ovc/__init__.py), unless
# the package that does so is absent. For Python it is absent where it has None in its place.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
