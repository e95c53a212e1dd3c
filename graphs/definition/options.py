"""The rules of ImageGenCalculatorOptions, from the parsed message to a Graph.

The options and their rules are those of OpenVINO Model Server's image generation calculator; where its
documentation and its code differ, the documentation is followed.
"""

import math
import re
from pathlib import Path

from pydantic import JsonValue

from graphs.definition.adapter_options import read_adapters, read_composites
from graphs.definition.devices import uses_npu
from graphs.definition.graph import Graph
from graphs.definition.image_gen_calculator_pb2 import ImageGenCalculatorOptions
from graphs.definition.source_lines import Source
from graphs.operator_files import is_folder
from graphs.resolution import Resolution
from graphs.strict_json import parse_object

_DEVICE = re.compile(r"[A-Z][A-Z0-9_.]*(:[A-Z0-9_.,()-]+)?", re.ASCII)
_DEFAULT_LIMIT = Resolution(4096, 4096)


def resolve_options(
    message: ImageGenCalculatorOptions, source: Source, *, name: str, folder: Path, default_device: str
) -> Graph:
    """Check every option, fill in the defaults and return the Graph.

    ``folder`` (absolute) is what relative paths start from; ``default_device`` is used without ``device``.
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
        max_resolution=limit,
        default_resolution=default,
        max_num_images_per_prompt=max_images,
        default_num_inference_steps=steps,
        max_num_inference_steps=max_steps,
        resolution=resolutions,
        num_images_per_prompt=images,
        guidance_scale=_guidance_scale(message, source, static=len(resolutions) == 1),
        lora_adapters=adapters,
        composite_lora_adapters=read_composites(message, source, adapters, graph_name=name),
    )


def _models_path(message: ImageGenCalculatorOptions, source: Source, folder: Path) -> Path:
    if not message.models_path:
        reason = 'models_path is required; write models_path: "./" for the folder of this file.'
        raise source.option_error(reason, "models_path")
    models = folder / message.models_path
    if not is_folder(models):
        reason = f"{message.models_path!r} is not a folder; write one, absolute or relative to this file."
        raise source.option_error(reason, "models_path")
    return models


def _device(message: ImageGenCalculatorOptions, source: Source, default_device: str) -> tuple[str, ...]:
    written = message.device if message.HasField("device") else default_device
    device = tuple(written.split())
    if len(device) not in (1, 3):
        reason = (
            f"{written!r} names {len(device)} devices; write one for the whole pipeline, or exactly three "
            "with spaces between them for text encoders, denoising and VAE, such as CPU GPU NPU."
        )
        raise source.option_error(reason, "device")
    for part in device:
        if not _DEVICE.fullmatch(part):
            raise source.option_error(
                f"{part!r} is not a device name; write one such as CPU, GPU, GPU.1 or NPU.",
                "device",
            )
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
    if uses_npu(device) and len(found) != 1:
        reason = (
            f"The NPU needs exactly one resolution, and {len(found)} are listed; "
            'write one, such as resolution: "512x512", or choose another device.'
        )
        raise source.option_error(reason, "resolution" if found else "device")
    return found


def _limits(
    message: ImageGenCalculatorOptions, source: Source, listed: tuple[Resolution, ...]
) -> tuple[Resolution, Resolution | None]:
    """The largest and the default resolution; a list of resolutions takes the place of the largest."""
    limit = _resolution(message, source, "max_resolution") or _DEFAULT_LIMIT
    default = _resolution(message, source, "default_resolution")
    if listed and message.HasField("max_resolution"):
        reason = "It cannot be used together with resolution, which lists all that is allowed; remove one."
        raise source.option_error(reason, "max_resolution")
    if default is None:
        return limit, listed[0] if len(listed) == 1 else None
    if listed and default not in listed:
        reason = f"{default} is not one of the listed resolutions ({' '.join(map(str, listed))}); use one of them."
        raise source.option_error(reason, "default_resolution")
    if not listed and not default.fits(limit):
        reason = f"{default} exceeds max_resolution, which is {limit}; lower it or raise max_resolution."
        raise source.option_error(reason, "default_resolution")
    return limit, default


def _resolution(message: ImageGenCalculatorOptions, source: Source, field: str) -> Resolution | None:
    if not message.HasField(field):
        return None
    try:
        return Resolution.parse(getattr(message, field))
    except ValueError as error:
        raise source.option_error(str(error), field) from None


def _images(message: ImageGenCalculatorOptions, source: Source, *, static: bool) -> tuple[int | None, int]:
    """The compiled batch, if any, and the most images of one request."""
    _check_positive(message, source, "max_num_images_per_prompt")
    if not message.HasField("num_images_per_prompt"):
        return None, message.max_num_images_per_prompt
    _check_static(source, "num_images_per_prompt", static=static)
    _check_positive(message, source, "num_images_per_prompt")
    if message.HasField("max_num_images_per_prompt"):
        reason = "It cannot be used together with num_images_per_prompt, which fixes the number; remove one."
        raise source.option_error(reason, "max_num_images_per_prompt")
    return message.num_images_per_prompt, message.num_images_per_prompt


def _guidance_scale(message: ImageGenCalculatorOptions, source: Source, *, static: bool) -> float | None:
    if not message.HasField("guidance_scale"):
        return None
    _check_static(source, "guidance_scale", static=static)
    if not (math.isfinite(message.guidance_scale) and message.guidance_scale >= 0):
        raise source.option_error(
            f"guidance_scale must be a number from 0 up, not {message.guidance_scale:g}.",
            "guidance_scale",
        )
    return message.guidance_scale


def _steps(message: ImageGenCalculatorOptions, source: Source) -> tuple[int, int]:
    """The default and the most steps. A lowered maximum lowers a default that was not written."""
    for field in ("default_num_inference_steps", "max_num_inference_steps"):
        _check_positive(message, source, field)
    default, most = message.default_num_inference_steps, message.max_num_inference_steps
    if not message.HasField("default_num_inference_steps"):
        return min(default, most), most
    if default > most:
        reason = f"{default} exceeds max_num_inference_steps, which is {most}; lower it or raise the maximum."
        raise source.option_error(reason, "default_num_inference_steps")
    return default, most


def _check_positive(message: ImageGenCalculatorOptions, source: Source, field: str) -> None:
    if getattr(message, field) < 1:
        raise source.option_error(f"{field} must be greater than 0.", field)


def _check_static(source: Source, field: str, *, static: bool) -> None:
    if not static:
        reason = (
            "It fixes the compiled shape and needs exactly one resolution; "
            'write one, such as resolution: "512x512", or remove it.'
        )
        raise source.option_error(reason, field)
