"""Compresses the weights of a converted part, with the options of ``--extra_quantization_params``."""

import re
from typing import Any

import nncf
import openvino

_DENOISERS = ("unet", "transformer")
_COMPRESSED = ("int8", "int4")
_MODES = {
    ("int8", False): nncf.CompressWeightsMode.INT8_ASYM,
    ("int8", True): nncf.CompressWeightsMode.INT8_SYM,
    ("int4", False): nncf.CompressWeightsMode.INT4_ASYM,
    ("int4", True): nncf.CompressWeightsMode.INT4_SYM,
}


class GroupSizeError(Exception):
    """A layer cannot be divided into groups of the size that was asked for; the message is a sentence."""


def format_of(name: str, compression: dict[str, Any]) -> str:
    """Return the format of a part: with four bits only the denoiser, whose weights are most of a model's.

    ``compression`` is that of the plan, as ``cli.export.compression.Compression`` has it.
    """
    wanted = str(compression["weight_format"])
    return "int8" if wanted == "int4" and name not in _DENOISERS else wanted


def compressed(model: openvino.Model, name: str, compression: dict[str, Any]) -> openvino.Model:
    """Return a part's model with compressed weights; with fp32 and fp16 it is the same. Raises GroupSizeError."""
    bits = format_of(name, compression)
    if bits not in _COMPRESSED:
        return model
    # Parts in 8 bits beside a denoiser in 4 have what is the backup precision of optimum-intel: asymmetric.
    is_symmetric = compression["sym"] and bits == compression["weight_format"]
    options = _options_of_four_bits(compression) if bits == "int4" else {}
    try:
        return nncf.compress_weights(model, mode=_MODES[bits, is_symmetric], **options)
    except nncf.InvalidGroupSizeError as error:  # its message names each layer with its channels
        channels = ", ".join(sorted(set(re.findall(r"channel size: (\d+)", str(error))), key=int))
        raise GroupSizeError(
            f"{name}: layers with {channels or 'some numbers of'} channels have no whole groups of "
            f"{compression['group_size']}. Give a --group-size that divides them, or --group-size-fallback adjust."
        ) from error


def _options_of_four_bits(compression: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {"group_size": compression["group_size"], "ratio": compression["ratio"]}
    if compression["all_layers"]:
        options["all_layers"] = True
    if compression["backup_precision"] is not None:
        options["backup_mode"] = nncf.BackupMode(compression["backup_precision"])
    if compression["group_size_fallback"] is not None:
        fallback = nncf.GroupSizeFallbackMode(compression["group_size_fallback"])
        options["advanced_parameters"] = nncf.AdvancedCompressionParameters(group_size_fallback_mode=fallback)
    return options
