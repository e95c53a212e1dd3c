"""Reading the pictures a person gives and writing the ones they get."""

import base64
from pathlib import Path
from typing import Any

from cli.errors import UserError

_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


def output_format(path: Path) -> str:
    """Return the format (of the API's field output_format) that a file name asks for. Raises UserError."""
    known = _FORMATS.get(path.suffix.lower())
    if known is None:
        raise UserError(f"--out {path}: the name must end in one of {', '.join(_FORMATS)}.")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--out {path}: the folder {path.parent} does not exist.")
    return known


def read_picture(path: Path) -> tuple[str, bytes]:
    """Return a file's name and content, as a multipart field takes them. Raises UserError."""
    try:
        return path.name, path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def save_pictures(result: dict[str, Any], out: Path) -> list[Path]:
    """Write every picture of an ImagesResponse: ``out.png``, ``out-1.png``, ... Raises UserError."""
    pictures = [base64.b64decode(item["b64_json"]) for item in result["data"]]
    paths = [out if i == 0 else out.with_stem(f"{out.stem}-{i}") for i in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        try:
            path.write_bytes(picture)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}.") from error
    return paths
