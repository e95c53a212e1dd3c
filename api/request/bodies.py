"""Reads the bodies of requests: JSON, and multipart forms in the spellings of the clients."""

import base64
import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.datastructures import UploadFile
from starlette.requests import Request

from api.job_submitter import UploadedImages
from api.request.schemas import EditBody, ImageBody, ImageReference, JobObjects
from api.request.validation import invalid_request
from graphs.errors import InvalidImage, InvalidRequest

Body = TypeVar("Body", bound=BaseModel)

_MAX_FIELDS = 100
_MAX_FILES = 20
_MAX_FIELD_BYTES = 256 * 1024
_DATA_URL = re.compile(r"data:[\w.+/-]*(;[\w.+=-]+)*;base64,", re.ASCII)
_PART = re.compile(r"(?P<name>lora_alphas|metadata|webhook)\[(?P<key>[^\]]+)\]")
_LIST = "webhook[events]"
_OBJECTS = ("lora_alphas", "metadata", "webhook")


async def read_json(request: Request, model: type[Body]) -> Body:
    """Read a JSON body, strictly. Raises InvalidRequest naming the parameter."""
    content = await request.body()
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise invalid_request(error, list(model.model_fields)) from error


async def read_edit_body(request: Request) -> tuple[ImageBody, UploadedImages]:
    """Read an edit, multipart or JSON: its fields and its images. Raises InvalidRequest naming the parameter."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        edit = await read_json(request, EditBody)
        image = _only([_from_data_url(reference, "images") for reference in edit.images], "images")
        mask = None if edit.mask is None else _from_data_url(edit.mask, "mask")
        return edit.image_body(), UploadedImages(image, mask)
    if kind != "multipart/form-data":
        raise InvalidRequest("Send the image as multipart/form-data (field image), or JSON with images.", param="image")
    return await _read_multipart(request)


def has_images(content: bytes) -> bool:
    """Return whether a JSON body is an edit's. False for invalid JSON, which either way of reading reports."""
    if b'"images"' not in content:
        return False
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "images" in found


async def _read_multipart(request: Request) -> tuple[ImageBody, UploadedImages]:
    files: dict[str, list[bytes]] = {"image": [], "mask": []}
    fields: dict[str, Any] = {}
    async with request.form(max_files=_MAX_FILES, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES) as form:
        for name, value in form.multi_items():
            stem = name.removesuffix("[]")
            if stem in files and isinstance(value, UploadFile):
                files[stem].append(await value.read())
            elif isinstance(value, UploadFile):
                raise InvalidRequest(f"{name} must not be a file.", param=name)
            elif stem in files:
                raise InvalidRequest(f"{stem} must be a file.", param=stem)
            else:
                _add_field(fields, name, value)
    masks = files["mask"]
    body = _form_body(fields)
    return body, UploadedImages(_only(files["image"], "image"), _only(masks, "mask") if masks else None)


def _form_body(fields: dict[str, Any]) -> ImageBody:
    _gather_objects(fields)
    objects = {name: fields.pop(name) for name in ("metadata", "webhook") if name in fields}
    try:
        body = ImageBody.model_validate_strings(fields, strict=False)
        return body.model_copy(update=dict(JobObjects.model_validate(objects)))
    except ValidationError as error:
        raise invalid_request(error, [*ImageBody.model_fields, "image", "mask"]) from error


def _add_field(fields: dict[str, Any], name: str, value: str) -> None:
    """Add a text field. An empty one means that it is not given, but for an empty prompt: clients send both."""
    if value == "" and name != "prompt":
        return
    if name == f"{_LIST}[]":
        fields.setdefault(_LIST, []).append(value)
    elif name in fields:
        raise InvalidRequest(f"{name} is given more than once.", param=name)
    else:
        fields[name] = value


def _gather_objects(fields: dict[str, Any]) -> None:
    """Put objects together. Clients send a field for each key, such as ``lora_alphas[ALIAS]``, or one with JSON."""
    parts = {name: match for name in fields if (match := _PART.fullmatch(name))}
    for stem in _OBJECTS:
        single = {name: match["key"] for name, match in parts.items() if match["name"] == stem}
        if single and stem in fields:
            raise InvalidRequest(f"{stem} is given more than once.", param=stem)
        if single:
            fields[stem] = {key: fields.pop(name) for name, key in single.items()}
        elif stem in fields:
            fields[stem] = _object_from_json(stem, fields[stem])


def _object_from_json(name: str, text: str) -> dict[str, Any]:
    try:
        found = from_json(text)  # json.loads accepts lone surrogates, which cannot be encoded in an answer
    except ValueError as error:
        raise InvalidRequest(f"{name} must be a JSON object.", param=name) from error
    if not isinstance(found, dict):
        raise InvalidRequest(f"{name} must be a JSON object.", param=name)
    return _alphas_as_text(name, found) if name == "lora_alphas" else found


def _alphas_as_text(name: str, alphas: dict[str, Any]) -> dict[str, str]:
    """Return strengths as a form sends them, once it is certain that each is a number in the JSON."""
    for alias, alpha in alphas.items():
        if isinstance(alpha, bool) or not isinstance(alpha, int | float):
            raise InvalidRequest(f"The strength of {alias!r} must be a number.", param=f"{name}.{alias}")
    return {alias: repr(alpha) for alias, alpha in alphas.items()}


def _only(images: list[bytes], param: str) -> bytes:
    if not images:
        raise InvalidRequest(f"{param} is required, as a file.", param=param)
    if len(images) > 1:
        raise InvalidRequest(f"{param}: one image at a time is edited here, not {len(images)}.", param=param)
    return images[0]


def _from_data_url(reference: ImageReference, param: str) -> bytes:
    url = reference.image_url or ""
    head = _DATA_URL.match(url)
    if head is None:
        raise InvalidRequest(
            f"{param}: give the image as a data URL (image_url: data:image/png;base64,...); "
            "other addresses are not fetched.",
            param=param,
            code="invalid_image_url",
        )
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except ValueError as error:  # binascii.Error, or its base class for characters beyond ASCII
        raise InvalidImage(
            f"{param}: the data URL's base64 is broken.", param=param, code="invalid_base64_image"
        ) from error
