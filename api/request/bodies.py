"""Reads the bodies of requests: JSON, and multipart forms in the spellings of the clients."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from api.job_submitter import UploadedImages
from api.request.foreign_parameters import client_fields
from api.request.form_parts import read_form
from api.request.image_texts import decoded_image
from api.request.json_bodies import JsonBody, check_entries, read_json_of_clients, read_json_with_images
from api.request.schemas import EditBody, ImageBody, ImageReference, JobObjects
from api.request.validation import invalid_request
from graphs.errors import InvalidRequest

Image = TypeVar("Image")

_PART = re.compile(r"(?P<name>adapters|lora_alphas|metadata|webhook)\[(?P<key>[^\]]+)\]")
_LIST = "webhook[events]"
_STRENGTHS = ("adapters", "lora_alphas")
_OBJECTS = (*_STRENGTHS, "metadata", "webhook")


@dataclass(frozen=True)
class SentBody:
    """A request for images as it was read: its body, the images of an edit, and the fields that were left out."""

    body: ImageBody
    images: UploadedImages | None = None
    ignored: tuple[str, ...] = ()


async def read_generation_body(request: Request) -> SentBody:
    """Read a generation. Raises InvalidRequest naming the parameter."""
    body, ignored = await read_json_of_clients(request, ImageBody)
    return SentBody(body, ignored=ignored)


async def read_edit_body(request: Request) -> SentBody:
    """Read an edit, multipart or JSON: its fields and its images. Raises InvalidRequest naming the parameter."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return await edit_of(await read_json_with_images(request))
    if kind != "multipart/form-data":
        raise InvalidRequest("Send the image as multipart/form-data (field image), or JSON with images.", param="image")
    return await _read_multipart(request)


async def read_generation_or_edit_body(request: Request) -> SentBody:
    """Read an edit where the body is a form or holds an image, else a generation. Raises InvalidRequest."""
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        return await read_edit_body(request)
    body = await read_json_with_images(request)
    if {"image", "images"} & body.fields.keys():
        return await edit_of(body)
    own = body.of_clients()
    return SentBody(own.validated(ImageBody), ignored=own.ignored)


async def edit_of(sent: JsonBody) -> SentBody:
    """Return an edit that came as JSON. Raises InvalidRequest naming the parameter."""
    body = sent.of_clients()
    edit = body.validated(EditBody)
    image = await _decoded(_only(edit.references(), "images"), body.images, "images")
    mask = None if edit.mask is None else await _decoded(edit.mask, body.images, "mask")
    return SentBody(edit.image_body(), UploadedImages(image, mask), body.ignored)


async def _read_multipart(request: Request) -> SentBody:
    parts = await read_form(request)
    fields: dict[str, Any] = {}
    for name, value in parts.texts:
        _add_field(fields, name, value)
    own = client_fields(fields)
    body = _form_body(own.values)
    masks = parts.files["mask"]
    images = UploadedImages(_only(parts.files["image"], "image"), _only(masks, "mask") if masks else None)
    return SentBody(body, images, own.ignored)


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
    check_entries({name: found}, [])
    return _strengths_as_text(name, found) if name in _STRENGTHS else found


def _strengths_as_text(name: str, alphas: dict[str, Any]) -> dict[str, str]:
    """Return strengths as a form sends them, once it is certain that each is a number in the JSON."""
    for alias, alpha in alphas.items():
        if isinstance(alpha, bool) or not isinstance(alpha, int | float):
            raise InvalidRequest(f"The strength of {alias!r} must be a number.", param=f"{name}.{alias}")
    return {alias: repr(alpha) for alias, alpha in alphas.items()}


def _only(images: Sequence[Image], param: str) -> Image:
    if not images:
        raise InvalidRequest(f"{param} is required, as a file.", param=param)
    if len(images) > 1:
        raise InvalidRequest(f"{param}: one image at a time is edited here, not {len(images)}.", param=param)
    return images[0]


async def _decoded(reference: ImageReference, images: dict[str, bytes], param: str) -> bytes:
    """Return an image's bytes: its text is one of the ``images`` taken out of the body, or was left in it."""
    given = reference.image_url or ""
    return await decoded_image(images.get(given) or given.encode(errors="surrogatepass"), param)
