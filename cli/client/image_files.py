"""Reads the images that the user gives, and writes the ones that the server returns."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.errors import UserError
from config.printable import printable
from graphs.requests.output_formats import OUTPUT_FORMATS

_FORMATS = {suffix: name for name, image_format in OUTPUT_FORMATS.items() for suffix in image_format.suffixes}
SUFFIXES = tuple(_FORMATS)


def output_format(path: Path) -> str:
    """Return the value of ``output_format`` that fits a file's name. Raises UserError."""
    known = _FORMATS.get(path.suffix.lower())
    if known is None:
        raise UserError(f"--out {path}: the name must end in one of {', '.join(_FORMATS)}.")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--out {path}: the folder {path.parent} does not exist.")
    return known


def read_image(path: Path) -> tuple[str, bytes]:
    """Return the name and the content of a file, as a multipart field takes them. Raises UserError."""
    try:
        return printable(path.name), path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def check_encodable(fields: Mapping[str, object]) -> None:
    """Raise UserError for a text that was typed or pasted as bytes of another encoding than UTF-8."""
    for name, value in fields.items():
        try:
            str(value).encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{name} is not UTF-8 text.") from error


def save_images(result: dict[str, Any], out: Path) -> list[Path]:
    """Write every image of an ImagesResponse, as ``out.png``, ``out-1.png`` and so on. Raises UserError."""
    try:
        images = [base64.b64decode(item["b64_json"]) for item in result["data"]]
    except ValueError as error:
        raise UserError(f"the server's answer holds an image that is not base64: {error}.") from error
    paths = [out if i == 0 else out.with_stem(f"{out.stem}-{i}") for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        try:
            path.write_bytes(image)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}.") from error
    return paths
