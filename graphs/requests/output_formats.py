"""The formats that images are encoded in. A new format is one value of ``OutputFormat`` and one entry of the table."""

from dataclasses import dataclass
from typing import Any, Literal

OutputFormat = Literal["png", "jpeg", "webp"]


@dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """One format: its Content-Type, the suffixes of its files, and whether it has a quality from 0 to 100.

    Pillow knows each format by the name that clients send.
    """

    content_type: str
    suffixes: tuple[str, ...]
    has_quality: bool


OUTPUT_FORMATS: dict[OutputFormat, ImageFormat] = {
    "png": ImageFormat(content_type="image/png", suffixes=(".png",), has_quality=False),
    "jpeg": ImageFormat(content_type="image/jpeg", suffixes=(".jpg", ".jpeg"), has_quality=True),
    "webp": ImageFormat(content_type="image/webp", suffixes=(".webp",), has_quality=True),
}


def format_name(value: Any) -> Any:
    """Return the format that a client means by a name such as ``PNG`` or ``jpg``; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    return {"jpg": "jpeg"}.get(value.lower(), value.lower())
