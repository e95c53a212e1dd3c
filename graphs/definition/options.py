"""Checks ImageGenCalculatorOptions and makes a Graph of the parsed message.

The options and their rules are those of OpenVINO Model Server's image generation calculator; where its
documentation and its code differ, the documentation is followed.
"""

import math
import re
from pathlib import Path

from pydantic import JsonValue

from graphs.definition.adapter_options import read_adapters, read_composites
from graphs.definition.devices import uses_npu
from graphs.definition.graph import DEFAULT_MAX_RESOLUTION, Graph
from graphs.definition.image_gen_calculator_pb2 import ImageGenCalculatorOptions
from graphs.definition.source_lines import Source
from graphs.operator_files import is_folder, parse_object
from graphs.resolution import Resolution

_DEVICE = re.compile(r"[A-Z][A-Z0-9_.]*(:[A-Z0-9_.,()-]+)?", re.ASCII)


def resolve_options(
    message: ImageGenCalculatorOptions, source: Source, *, name: str, folder: Path, default_device: str
) -> Graph:
    """Check every option, fill in the defaults and return the Graph.

    Relative paths start from ``folder`` (absolute); ``default_device`` is used where ``device`` is absent.
    Raises GraphError with file, line, field and reason.
    """
    device = _device(message, source, default_device)
    resolutions = _resolutions(message, source, device)
    limit, default = _limits(message, source, resolutions)
    images, max_images = _images(message, source, static=len(resolutions) == 1)
    steps, max_steps = _steps(message, source)
    adapters = read_adapters(message, source, folder=folder, graph_name=name, npu=uses_npu(device))
    return Graph(
        name=name,
        path=source.path,
        models_path=_models_path(message, source, folder),
        device=device,
        plugin_config=_plugin_config(message, source),
        default_resolution=default,
        max_num_images_per_prompt=max_images,
        default_num_inference_steps=steps,
        max_num_inference_steps=max_steps,
        resolution=resolutions,
        num_images_per_prompt=images,
        guidance_scale=_guidance_scale(message, source, static=len(resolutions) == 1),
        lora_adapters=adapters,
        composite_lora_adapters=read_composites(message, source, adapters, graph_name=name),
        # Passed only where it is stated: see Graph.states_its_sizes.
        **({"max_resolution": limit} if message.HasField("max_resolution") else {}),
    )


def _models_path(message: ImageGenCalculatorOptions, source: Source, folder: Path) -> Path:
    written = message.models_path
    reason = 'models_path is required; write models_path: "./" for the folder of this file.'
    source.check_option(bool(written), reason, "models_path")
    reason = f"{written!r} is not a folder; write one, absolute or relative to this file."
    source.check_option(is_folder(folder / written), reason, "models_path")
    return folder / written


def _device(message: ImageGenCalculatorOptions, source: Source, default_device: str) -> tuple[str, ...]:
    written = message.device if message.HasField("device") else default_device
    device = tuple(written.split())
    reason = (
        f"{written!r} names {len(device)} devices; write one for the whole pipeline, or exactly three "
        "with spaces between them for text encoders, denoising and VAE, such as CPU GPU NPU."
    )
    source.check_option(len(device) in (1, 3), reason, "device")
    for part in device:
        reason = f"{part!r} is not a device name; write one such as CPU, GPU, GPU.1 or NPU."
        source.check_option(_DEVICE.fullmatch(part) is not None, reason, "device")
    return device


def _plugin_config(message: ImageGenCalculatorOptions, source: Source) -> dict[str, JsonValue]:
    if not message.plugin_config.strip():
        return {}
    try:
        return parse_object(message.plugin_config)
    except ValueError as error:
        reason = f"{error} Write a JSON object such as '{{\"NUM_STREAMS\": 2}}'."
        raise source.option_error(reason, "plugin_config") from None


def _resolutions(message: ImageGenCalculatorOptions, source: Source, device: tuple[str, ...]) -> tuple[Resolution, ...]:
    found: tuple[Resolution, ...] = ()
    if message.HasField("resolution"):
        try:
            found = Resolution.parse_list(message.resolution)
        except ValueError as error:
            raise source.option_error(str(error), "resolution") from None
    reason = (
        f"The NPU needs exactly one resolution, and {len(found)} are listed; "
        'write one, such as resolution: "512x512", or choose another device.'
    )
    source.check_option(len(found) == 1 or not uses_npu(device), reason, "resolution" if found else "device")
    return found


def _limits(
    message: ImageGenCalculatorOptions, source: Source, listed: tuple[Resolution, ...]
) -> tuple[Resolution, Resolution | None]:
    """Return the largest and the default resolution; a list of resolutions replaces the largest."""
    limit = _resolution(message, source, "max_resolution") or DEFAULT_MAX_RESOLUTION
    default = _resolution(message, source, "default_resolution")
    reason = "It cannot be used together with resolution, which lists all that is allowed; remove one."
    source.check_option(not listed or not message.HasField("max_resolution"), reason, "max_resolution")
    if default is None:
        return limit, listed[0] if len(listed) == 1 else None
    reason = f"{default} is not one of the listed resolutions ({' '.join(map(str, listed))}); use one of them."
    source.check_option(not listed or default in listed, reason, "default_resolution")
    reason = f"{default} exceeds max_resolution, which is {limit}; lower it or raise max_resolution."
    source.check_option(bool(listed) or default.fits(limit), reason, "default_resolution")
    return limit, default


def _resolution(message: ImageGenCalculatorOptions, source: Source, field: str) -> Resolution | None:
    if not message.HasField(field):
        return None
    try:
        return Resolution.parse(getattr(message, field))
    except ValueError as error:
        raise source.option_error(str(error), field) from None


def _images(message: ImageGenCalculatorOptions, source: Source, *, static: bool) -> tuple[int | None, int]:
    """Return the compiled batch, if any, and the largest number of images of one request."""
    _check_positive(message, source, "max_num_images_per_prompt")
    if not message.HasField("num_images_per_prompt"):
        return None, message.max_num_images_per_prompt
    _check_static(source, "num_images_per_prompt", static=static)
    _check_positive(message, source, "num_images_per_prompt")
    reason = "It cannot be used together with num_images_per_prompt, which fixes the number; remove one."
    source.check_option(not message.HasField("max_num_images_per_prompt"), reason, "max_num_images_per_prompt")
    return message.num_images_per_prompt, message.num_images_per_prompt


def _guidance_scale(message: ImageGenCalculatorOptions, source: Source, *, static: bool) -> float | None:
    if not message.HasField("guidance_scale"):
        return None
    _check_static(source, "guidance_scale", static=static)
    value = message.guidance_scale
    reason = f"guidance_scale must be a number from 0 up, not {value:g}."
    source.check_option(math.isfinite(value) and value >= 0, reason, "guidance_scale")
    return value


def _steps(message: ImageGenCalculatorOptions, source: Source) -> tuple[int, int]:
    """Return the default and the largest number of steps. A lowered maximum lowers a default that was not written."""
    for field in ("default_num_inference_steps", "max_num_inference_steps"):
        _check_positive(message, source, field)
    default = message.default_num_inference_steps
    most = message.max_num_inference_steps
    if not message.HasField("default_num_inference_steps"):
        return min(default, most), most
    reason = f"{default} exceeds max_num_inference_steps, which is {most}; lower it or raise the maximum."
    source.check_option(default <= most, reason, "default_num_inference_steps")
    return default, most


def _check_positive(message: ImageGenCalculatorOptions, source: Source, field: str) -> None:
    source.check_option(getattr(message, field) >= 1, f"{field} must be greater than 0.", field)


def _check_static(source: Source, field: str, *, static: bool) -> None:
    reason = (
        "It fixes the compiled shape and needs exactly one resolution; "
        'write one, such as resolution: "512x512", or remove it.'
    )
    source.check_option(static, reason, field)
