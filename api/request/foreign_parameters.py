"""Parameters that clients of other services send: those that cannot change an image are left out, with a warning.

Gateways and SDKs add fields of their own to every request, and cannot be kept from it. A field that would change
the image elsewhere is refused with what to do here, since an image that ignores it is not the one that was asked for.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from api.request.schemas import EditBody
from graphs.errors import InvalidRequest

# The fields of gateways, SDKs and chat front ends. ``*`` stands for any ending.
IGNORED = (
    # the openai SDKs and the gateways in front of them
    *("extra_headers", "extra_query", "extra_body", "timeout", "request_timeout", "max_retries", "num_retries"),
    *("service_tier", "store", "stream_options", "modalities", "complexity", "watermark", "prompt_cache_key"),
    *("api_key", "api_base", "api_version", "api_type", "base_url", "organization", "project", "deployment_id"),
    *("litellm_*", "custom_llm_provider", "drop_params", "additional_drop_params", "mock_response", "fallbacks"),
    *("cache", "caching", "no-log", "tags", "proxy_server_request", "model_info", "model_group", "provider", "route"),
    *("transforms", "models"),
    # chat front ends
    *("user_id", "chat_id", "session_id", "conversation_id", "message_id", "trace_id", "request_id", "client_id"),
    # other image services: filters, places of storage, privacy
    *("safety_checker", "enable_safety_checker", "disable_safety_checker", "safety_tolerance", "safe", "nsfw"),
    *("nologo", "private", "referrer", "sync_mode", "logo_info", "persist"),
)

_EDIT = "send the image to images/edits, as image"
_SCHEDULER = "the scheduler is that of the model's files (scheduler/scheduler_config.json)"
_CONTROL = "this server has no control networks"
_IP_ADAPTER = "this server has no image prompts"
_ADAPTERS = 'name an adapter in model, or several with their strengths in adapters, as {"alias": 0.8}'
_COUNT = "its name here is num_images_per_prompt, or n"
_PROMPT = "the prompt is drawn as it is; change it before it is sent"
_STYLE = "write the style into prompt, or name an adapter in model"
_FRAMES = "images are not animated here"
_RESOLUTION = "give size as WIDTHxHEIGHT, such as 512x512"
_UPSCALE = "images are drawn in one pass; give a larger size"

# The fields that would change the image -> what to do here.
REFUSED = {
    "sampler": _SCHEDULER,
    "sampler_*": _SCHEDULER,
    "scheduler": _SCHEDULER,
    "controlnet*": _CONTROL,
    "control_image*": _CONTROL,
    "ip_adapter*": _IP_ADAPTER,
    "image_prompt*": _IP_ADAPTER,
    "reference_image*": _IP_ADAPTER,
    "clip_skip": "the runtime uses the last layer of the text encoder",
    "init_image*": _EDIT,
    "input_image*": _EDIT,
    "image_base64": _EDIT,
    "mask_image": "send the mask to images/edits, as mask",
    "denoising_strength": "its name here is strength",
    "image_strength": "its name here is strength",
    "aspect_ratio": _RESOLUTION,
    "image_size": _RESOLUTION,
    "resolution": _RESOLUTION,
    "frame_count": _FRAMES,
    "frame_duration_ms": _FRAMES,
    "num_frames": _FRAMES,
    "svg": "images are drawn as pixels; output_format is png, jpeg or webp",
    "markup": "an edit changes what mask marks, or the whole image",
    "style_preset": _STYLE,
    "style_reference*": _STYLE,
    "enhance_prompt": _PROMPT,
    "prompt_extend": _PROMPT,
    "prompt_upsampling": _PROMPT,
    "magic_prompt*": _PROMPT,
    "hires_fix": _UPSCALE,
    "enable_hr": _UPSCALE,
    "hr_*": _UPSCALE,
    "upscale*": _UPSCALE,
    "refiner*": "this server has no refiner",
    "restore_faces": "this server does not restore faces",
    "tiling": "this server draws no tiles",
    "lora": _ADAPTERS,
    "loras": _ADAPTERS,
    "lora_weights": _ADAPTERS,
    "guidance": "its name here is guidance_scale",
    "num_steps": "its name here is num_inference_steps, or steps",
    "inference_steps": "its name here is num_inference_steps, or steps",
    "num_images": _COUNT,
    "num_outputs": _COUNT,
    "n_iter": _COUNT,
    "batch_size": _COUNT,
    "samples": _COUNT,
    "webhook_url": "give webhook, an object with url",
}


_MOST_NESTED = 3
_MOST_ENTRIES = 256
# The end of a name that ``*`` stands for.
_ENDING = re.compile(r"[\w-]*", re.ASCII)


class _Names:
    """The names of a table: those that stand there, and all that begin as one with ``*`` at its end."""

    def __init__(self, entries: Iterable[str]) -> None:
        listed = list(entries)
        self._exact = frozenset(entry for entry in listed if not entry.endswith("*"))
        self._starts = tuple(entry[:-1] for entry in listed if entry.endswith("*"))

    def entry_of(self, name: str) -> str | None:
        """Return the entry that a name belongs to."""
        if name in self._exact:
            return name
        start = next((start for start in self._starts if name.startswith(start)), None)
        return f"{start}*" if start is not None and _ENDING.fullmatch(name, len(start)) else None


_IGNORED = _Names(IGNORED)
_REFUSED = _Names(REFUSED)


@dataclass(frozen=True)
class ClientFields:
    """The fields of a body without those of other services, and the names of the fields that were left out."""

    values: dict[str, Any]
    ignored: tuple[str, ...] = ()


def client_fields(fields: dict[str, Any]) -> ClientFields:
    """Return the fields of a body, with those of ``extra_body`` among them and without those that have no effect here.

    An empty text or null means that a field is not given, but for ``prompt``. Raises InvalidRequest for a field that
    would change the image.
    """
    values = {name: value for name, value in _with_extra(fields).items() if _is_given(name, value)}
    for name in values:
        if (entry := _REFUSED.entry_of(name)) is not None:
            raise InvalidRequest(
                f"{name[:100]} has no effect here: {REFUSED[entry]}.", param=name[:100], code="unknown_parameter"
            )
    ignored = [name for name in values if _IGNORED.entry_of(name) is not None]
    return ClientFields({name: value for name, value in values.items() if name not in ignored}, tuple(ignored))


def ignored_label(name: str) -> str:
    """Return the entry of ``IGNORED`` that a name belongs to: names of clients are no labels of a metric."""
    return _IGNORED.entry_of(name) or "other"


def _is_given(name: str, value: Any) -> bool:
    if value not in ("", None) or name == "prompt":
        return True
    return name not in EditBody.model_fields and not (_IGNORED.entry_of(name) or _REFUSED.entry_of(name))


def _with_extra(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the content of ``extra_body`` in its place: its SDK should have merged it.

    A field itself wins. What is nested deeper than a proxy behind an SDK would do stays, and is left out.
    """
    for _ in range(_MOST_NESTED):
        merged = _merged(fields)
        if merged is fields:
            break
        fields = merged
    return fields


def _merged(fields: dict[str, Any]) -> dict[str, Any]:
    extra = fields.get("extra_body")
    if isinstance(extra, str) and extra.lstrip().startswith("{"):
        try:
            found = from_json(extra)
        except ValueError as error:
            raise InvalidRequest("extra_body must be a JSON object.", param="extra_body") from error
        if len(found) > _MOST_ENTRIES:
            raise InvalidRequest(f"extra_body: more than {_MOST_ENTRIES} entries.", param="extra_body")
        extra = {name: _form_text(value) for name, value in found.items() if value is not None}
    if not isinstance(extra, dict):
        return fields
    return {**extra, **{name: value for name, value in fields.items() if name != "extra_body"}}


def _form_text(value: Any) -> str:
    """Return a value as the field of a form has it."""
    return value if isinstance(value, str) else to_json(value, inf_nan_mode="constants").decode()
