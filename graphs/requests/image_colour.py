"""Brings the colours of input images to sRGB, as the ICC profile that they carry says.

A profile that cannot be used is left out, and the numbers are taken as those of sRGB: so do browsers. An image whose
profile is sRGB keeps its numbers exactly. The conversion is littleCMS's, relative colorimetric with black point
compensation, as photographs are usually converted for screens.
"""

import io
import zlib
from collections.abc import Callable

from PIL import Image, ImageCms

from graphs.requests.formats.image_structure import png_chunks

# Profiles of displays have 500 bytes to 4 kB, those of printing presses 0.5 to 3 MB.
MOST_PROFILE_BYTES = 4 * 2**20

Conversion = Callable[[Image.Image], Image.Image]
"""Takes 8-bit pixels, and returns those of sRGB: RGB, and RGBA where the alpha channel is kept."""

_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_MODES = {
    "RGB": {"RGB", "RGBA", "RGBX", "P", "PA"},
    "L": {"L", "LA", "1", "I", "I;16", "I;16B", "I;16L"},
    "CMYK": {"CMYK"},
}
# Of inputs, displays, printers and colour spaces; links of devices and named colours say nothing of a picture.
_CLASSES = {"scnr", "mntr", "prtr", "spac"}
_STEPS = range(0, 256, 17)  # of each channel: 4096 colours
# What sRGB profiles of several makers differ by in 8 bits.
_SAME = 2


def png_profile(content: bytes) -> bytes | None:
    """Return the ICC profile of a PNG: name, 0, method, and the packed profile. None if there is none to be used.

    At most ``MOST_PROFILE_BYTES`` are unpacked. The source is the PNG specification, section 11.3.2.3.
    """
    for part in png_chunks(content):
        if part.name == b"IDAT":
            return None
        if part.name == b"iCCP":
            _, _, packed = content[part.data].partition(b"\0")
            unpacking = zlib.decompressobj()
            try:
                profile = unpacking.decompress(packed[1:], MOST_PROFILE_BYTES + 1)
            except zlib.error:
                return None
            return profile if len(profile) <= MOST_PROFILE_BYTES else None
    return None


def conversion_to_srgb(profile: bytes | None, mode: str) -> Conversion | None:
    """Return what converts an image of Pillow's mode with this ICC profile, None if its numbers stay as they are."""
    if not profile or len(profile) > MOST_PROFILE_BYTES:
        return None
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = _SPACES.get(opened.profile.xcolor_space)
        if space is None or mode not in _MODES[space] or opened.profile.device_class not in _CLASSES:
            return None
        transform = _transform(opened, space)
        if space == "RGB" and _is_srgb(transform):
            return None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # littleCMS cannot use it
    return lambda image: _converted(image, space, transform)


def _transform(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.ImageCmsTransform(
        profile,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _is_srgb(transform: ImageCms.ImageCmsTransform) -> bool:
    colours = bytes(value for red in _STEPS for green in _STEPS for blue in _STEPS for value in (red, green, blue))
    converted = transform.apply(Image.frombytes("RGB", (64, 64), colours)).tobytes()
    return all(abs(first - second) <= _SAME for first, second in zip(colours, converted, strict=True))


def _converted(image: Image.Image, space: str, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    # A transparent colour of an image without an alpha channel is known to its own mode only.
    plain = image.convert("RGBA").convert(space) if alpha is not None and image.mode != "LA" else image.convert(space)
    converted = transform.apply(plain)
    if alpha is not None:
        converted.putalpha(alpha)
    return converted
