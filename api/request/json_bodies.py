"""Reads JSON bodies: bounded, in a thread where they are large, and with the strings of images taken out first.

An image's string is found with searches for single characters and never parsed as JSON, so that what is parsed and
validated is small. Validation stops before it would collect an error for each of a million fields.
"""

import asyncio
import codecs
import re
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json
from starlette.requests import ClientDisconnect, Request

from api.request.foreign_parameters import client_fields
from api.request.schemas import EditBody
from api.request.validation import invalid_request, unknown_parameter
from graphs.errors import InvalidRequest, MediaTypeNotAccepted, RequestTooLarge

Body = TypeVar("Body", bound=BaseModel)
Parsed = TypeVar("Parsed")

MAX_TEXT_BYTES = 2**20
# Six prompts of 32,000 characters, all of them written as two \u escapes, with room for the other fields.
MAX_ESCAPED_BYTES = 5 * 2**19
_MAX_ENTRIES = 256
_NESTED = (list, dict)
# Those in prompts count as well.
_MAX_BRACKETS = 10_000
# Smaller bodies are parsed at once: a thread would take longer than the parser.
_INLINE_BYTES = 64 * 1024
# How many of these keys are looked at. What a hostile body has beyond them counts as text.
_MAX_IMAGES = 32
_IMAGE_KEY = re.compile(rb'"(?:image_url|images?|mask)"')
# A key and its value are a few spaces apart; what is further apart is left to the parser. A second string of a list
# follows a comma.
_FIRST = re.compile(rb'\s{0,32}:\s{0,32}(?:\[\s{0,32})?"')
_NEXT = re.compile(rb'"\s{0,32},\s{0,32}"(?!\w+"\s*:)')
_IMAGE_START = re.compile(rb"data:|[A-Za-z0-9+/_=\s\\-]{64}", re.IGNORECASE)
_SHORT_BYTES = 64
_ESCAPED = re.compile(rb"\\u00(2[bf]|3d)", re.IGNORECASE)
# What browsers add to requests and other clients do not.
_BROWSER_HEADERS = ("origin", "referer", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "sec-fetch-user")
_parsers = ThreadPoolExecutor(2, thread_name_prefix="parse")


@dataclass(frozen=True)
class JsonBody:
    """A JSON body without the strings of its images.

    ``fields`` are those of the object; empty where the body is no object. ``images`` are the data URLs that were taken
    out, each by the short text that stands in its place. ``ignored`` names the fields that were left out.
    """

    content: bytes
    fields: dict[str, Any] = field(default_factory=dict)
    images: dict[str, bytes] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def of_clients(self) -> "JsonBody":
        """Return the body without what other services read (foreign_parameters.py). Raises InvalidRequest."""
        check_entries(self.fields, list(EditBody.model_fields))
        own = client_fields(self.fields)
        if own.values == self.fields:
            return self
        return JsonBody(to_json(own.values, inf_nan_mode="constants"), own.values, self.images, own.ignored)

    def validated(self, model: type[Body]) -> Body:
        """Return the body as a model, strictly. Raises InvalidRequest naming the parameter."""
        check_entries(self.fields, list(model.model_fields))
        try:
            return model.model_validate_json(self.content)
        except ValidationError as error:
            raise invalid_request(error, list(model.model_fields)) from error


async def read_json(request: Request, model: type[Body]) -> Body:
    """Read a JSON body that holds no image. Raises InvalidRequest naming the parameter, and its subclasses."""
    return await _read_small(request, lambda body: body.validated(model))


async def read_json_of_clients(request: Request, model: type[Body]) -> tuple[Body, tuple[str, ...]]:
    """Read a request for images that holds no image, and the names of the fields that were left out of it.

    Raises InvalidRequest naming the parameter, and its subclasses.
    """

    def validated(body: JsonBody) -> tuple[Body, tuple[str, ...]]:
        own = body.of_clients()
        return own.validated(model), own.ignored

    return await _read_small(request, validated)


async def _read_small(request: Request, parse: Callable[[JsonBody], Parsed]) -> Parsed:
    content = await _read(request, MAX_ESCAPED_BYTES)
    _check_text(content)
    return await _parsed(content, lambda: parse(_document(content, {})))


async def read_json_with_images(request: Request) -> JsonBody:
    """Read a JSON body that may hold images. Raises RequestTooLarge, MediaTypeNotAccepted."""
    content = await _read(request, None)
    return await _parsed(content, lambda: _without_images(content))


def check_entries(fields: dict[str, Any], known: list[str]) -> None:
    """Raise InvalidRequest where an object or a list of a body has so many entries that validating them takes long."""
    if len(fields) > _MAX_ENTRIES:
        raise unknown_parameter(next(name for name in fields if name not in known), known)
    for name, value in fields.items():
        if isinstance(value, _NESTED) and _entries(value) > _MAX_ENTRIES:
            raise InvalidRequest(f"{name}: more than {_MAX_ENTRIES} entries.", param=name)


def _entries(value: list[Any] | dict[str, Any]) -> int:
    """Return how many entries a list or an object has, with those of its inner ones; counting ends above the limit."""
    count = 0
    left: list[Any] = [value]
    while left and count <= _MAX_ENTRIES:
        inner = left.pop()
        count += len(inner)
        if count <= _MAX_ENTRIES:
            left += [
                part for part in (inner.values() if isinstance(inner, dict) else inner) if isinstance(part, _NESTED)
            ]
    return count


async def _read(request: Request, limit: int | None) -> bytes:
    """Return the body. Starlette's own method would keep it for as long as the request waits for its job."""
    _check_media_type(request)
    stated = request.headers.get("content-length", "")
    if limit is not None and stated.isdigit() and int(stated) > limit:
        raise _too_large()
    parts: list[bytes] = []
    received = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        received += len(part)
        if limit is not None and received > limit:
            raise _too_large()
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts).removeprefix(codecs.BOM_UTF8)


def _check_media_type(request: Request) -> None:
    """Refuse what a page of another origin can send without asking first (a CORS "simple request").

    Command-line clients often leave the type out, or send that of a form (``curl -d``).
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        return
    if any(name in request.headers for name in _BROWSER_HEADERS):
        raise MediaTypeNotAccepted


async def _parsed(content: bytes, parse: Callable[[], Parsed]) -> Parsed:
    if len(content) <= _INLINE_BYTES:
        return parse()
    return await asyncio.get_running_loop().run_in_executor(_parsers, parse)


def _document(content: bytes, images: dict[str, bytes]) -> JsonBody:
    # Each list and object that is made is visited by the garbage collector again and again.
    if content.count(b"[") + content.count(b"{") > _MAX_BRACKETS:
        raise InvalidRequest(f"The body has more than {_MAX_BRACKETS} brackets.", code="invalid_json")
    try:
        found = from_json(content)
    except ValueError:  # the model's own error says where
        found = {}
    return JsonBody(content, found if isinstance(found, dict) else {}, images)


def _without_images(content: bytes) -> JsonBody:
    pieces: list[bytes] = []
    images: dict[str, bytes] = {}
    copied = 0
    token = secrets.token_hex(8)  # a text of the client's is none of these places
    for start, end in _image_strings(content):
        if (text := _image_text(content[start:end])) is None:
            continue
        place = f"data:,{token}-{len(images)}"
        images[place] = text
        pieces += [content[copied:start], place.encode()]
        copied = end
    pieces.append(content[copied:])
    text = b"".join(pieces)
    _check_text(text)
    return _document(text, images)


def _image_strings(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the strings begin and end that are the value of an image's key, or stand in a list that is."""
    end = 0
    for _ in range(_MAX_IMAGES):
        key = _IMAGE_KEY.search(content, end)
        if key is None:
            return
        end = key.end()
        opening = _FIRST
        while (found := opening.match(content, end)) is not None:
            start = found.end()
            end = content.find(b'"', start)
            if end < 0:
                return
            yield start, end
            opening = _NEXT


def _image_text(text: bytes) -> bytes | None:
    """Return the text of an image as it stands for in JSON; None for what is none, or short enough to stay."""
    if len(text) < _SHORT_BYTES or not _IMAGE_START.match(text):
        return None
    if b"\\" in text:  # PHP writes / as \/; .NET writes + as \u002B; wrapped base64 has line breaks
        text = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), text)
        for escaped, plain in ((b"\\/", b"/"), (b"\\n", b""), (b"\\r", b"")):
            text = text.replace(escaped, plain)
    return None if b"\\" in text else text


def _check_text(text: bytes) -> None:
    """Raise RequestTooLarge for too much text. A ``\\u`` escape counts as the two bytes that it stands for."""
    if len(text) > MAX_ESCAPED_BYTES or len(text) - 4 * text.count(b"\\u") > MAX_TEXT_BYTES:
        raise _too_large()


def _too_large() -> RequestTooLarge:
    return RequestTooLarge(f"The body, not counting images, is larger than {MAX_TEXT_BYTES} bytes.")
