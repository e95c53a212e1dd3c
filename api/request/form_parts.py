"""Reads the parts of a multipart form (RFC 7578); the images among them in the spellings of clients."""

import re
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from graphs.errors import InvalidRequest

_MAX_FIELDS = 100
_MAX_FILES = 20
_MAX_FIELD_BYTES = 256 * 1024
# The names under which clients send images -> the field. PHP numbers them.
_IMAGE = re.compile(r"(?P<name>image|images|file|mask)(\[\d{0,3}\])?", re.ASCII)
_FIELDS = {"image": "image", "images": "image", "file": "image", "mask": "mask"}


class FormParts:
    """The parts of a form: the contents of its files by field, and its texts as pairs of name and value."""

    def __init__(self) -> None:
        self.files: dict[str, list[bytes]] = {"image": [], "mask": []}
        self.texts: list[tuple[str, str]] = []

    async def add(self, name: str, value: UploadFile | str) -> None:
        """Add a part. An empty mask is none. Raises InvalidRequest for a file that is no image."""
        field = image_field(name)
        if isinstance(value, str):
            self.texts.append((name, value))
        elif field is None:
            raise InvalidRequest(f"{name} must not be a file.", param=name)
        elif (content := await value.read()) or (field != "mask" and value.filename):
            self.files[field].append(content)


async def read_form(request: Request) -> FormParts:
    """Read a form. Raises InvalidRequest, and HTTPException for a body that is none."""
    limits: dict[str, Any] = {"max_files": _MAX_FILES, "max_fields": _MAX_FIELDS, "max_part_size": _MAX_FIELD_BYTES}
    parts = FormParts()
    try:
        form = await _ImageParser(request.headers, request.stream(), **limits).parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from error
    try:
        for name, value in form.multi_items():
            await parts.add(name, value)
    finally:
        await form.close()
    return parts


def image_field(name: str) -> str | None:
    """Return ``image`` or ``mask`` for a name under which clients send one."""
    match = _IMAGE.fullmatch(name)
    return None if match is None else _FIELDS[match["name"]]


class _ImageParser(MultiPartParser):
    """Takes an image as a file although the client gave it no file name, or one as ``filename*`` (RFC 5987)."""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._current_part.content_disposition)
        is_image = image_field(options.get(b"name", b"").decode("latin-1")) is not None
        if is_image and b"filename" not in options:
            self._current_part.content_disposition = (self._current_part.content_disposition or b"") + b'; filename=""'
        super().on_headers_finished()
