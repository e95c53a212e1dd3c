"""Decodes the images that clients send, turns them upright and converts them to what a pipeline takes.

Their headers have been judged before (image_headers.py). An image is converted strip by strip, so that there are at
most two of its size in memory.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import ExifTags, Image, ImageOps

from graphs.errors import InvalidRequest
from graphs.requests.image_colour import Conversion, conversion_to_srgb
from graphs.requests.image_fit import ImageFit, fitted_image, fitted_mask
from graphs.requests.image_headers import ImageHeader, InputHeaders, incomplete, unreadable
from graphs.requests.opened_images import check_whole, decode_image, open_image, profile_of, strips
from graphs.requests.transparency import Transparency
from graphs.resolution import Resolution

# The limits are judged by image_headers.py; Pillow's own only warns up to twice its value.
Image.MAX_IMAGE_PIXELS = None

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THEIR_SIDE = (5, 6, 7, 8)
"""The values of EXIF's Orientation, and those of them that exchange width and height."""


@dataclass(frozen=True)
class EncodedInputs:
    """The input of an edit as PNG bytes: the image in RGB, the mask in grey (white = repaint), and the image's size.

    The mask is that of the client, which had ``mask_size``, or the image's own hole. ``is_flattened``: pixels of the
    image that are transparent and no hole were laid over white.
    """

    image: bytes
    mask: bytes | None
    size: Resolution
    is_flattened: bool = False
    mask_size: Resolution | None = None


Fitting = Callable[[Resolution], tuple[Resolution, ImageFit]]
"""Takes the upright size of an image, and returns the size that is drawn and how the image is brought to it."""


def encode_inputs(headers: InputHeaders, fitting: Fitting, *, reads_holes: bool = False) -> EncodedInputs:
    """Decode an image and, if given, its mask, and return them as PNG.

    Where neither side that is drawn is longer than that of the image, both have the size that is drawn; a worker
    enlarges others. ``reads_holes``: an image without a mask, of which pixels have the alpha 0, is repainted there.
    ``fitting`` is called before anything is decoded; what it raises is raised here.
    Raises InvalidImage, which names ``image`` or ``mask``.
    """
    orientation, size, (drawn, fit) = _checked(headers.image, fitting)
    shrinks = drawn.fits(size)
    transparency = Transparency()

    def converted(image: Image.Image, to_srgb: Conversion | None) -> Image.Image:
        return _as_rgb(image, to_srgb, transparency)

    def mask_fitted(mask: Image.Image) -> Image.Image:
        return fitted_mask(mask, size, drawn, fit) if shrinks else mask

    image = _decoded(headers.image, converted, lambda one: fitted_image(one, drawn, fit) if shrinks else one)
    if headers.mask is not None:
        sizes: list[Resolution] = []
        mask = _decoded(headers.mask, _as_mask, lambda one: mask_fitted(_noted(one, sizes)))
        return EncodedInputs(image, mask, size, is_flattened=not transparency.is_opaque, mask_size=sizes[0])
    hole = transparency.hole() if reads_holes else None
    if hole is None:
        return EncodedInputs(image, None, size, is_flattened=not transparency.is_opaque)
    return EncodedInputs(image, _png(mask_fitted(_upright(hole, orientation))), size)


def _checked(header: ImageHeader, fitting: Fitting) -> tuple[int, Resolution, tuple[Resolution, ImageFit]]:
    """Return the image's orientation, its upright size, and what is drawn. Only the header is read."""
    with _readable(header):
        if header.decoder is not None:
            size = Resolution(header.width, header.height)
            return 1, size, fitting(size)
        opened = open_image(header)
        orientation = _orientation(opened)
        size = Resolution(*(reversed(opened.size) if orientation in _ON_THEIR_SIDE else opened.size))
    return orientation, size, fitting(size)


def _decoded(
    header: ImageHeader,
    convert: Callable[[Image.Image, Conversion | None], Image.Image],
    fit: Callable[[Image.Image], Image.Image],
) -> bytes:
    """Return the image converted, turned upright and fitted, as PNG."""
    with _readable(header):
        opened = open_image(header) if header.decoder is None else decode_image(header)
        orientation = _orientation(opened)
        to_srgb = conversion_to_srgb(profile_of(header, opened), opened.mode)
        check_whole(header)
        opened.load()
        image = _replaced(opened, lambda one: convert(one, to_srgb))
        del opened
        image = _replaced(image, lambda one: _upright(one, orientation))
        image = _replaced(image, fit)
        return _png(image)


@contextmanager
def _readable(header: ImageHeader) -> Iterator[None]:
    """Raise InvalidImage for all that Pillow raises."""
    try:
        yield
    except InvalidRequest:
        raise
    except Exception as error:
        if not header.has_end:
            raise incomplete(header.param) from error
        raise unreadable(header.param, error) from error


def _orientation(opened: Image.Image) -> int:
    try:
        # The method of all images: that of PNG decodes the pixels first.
        return int(Image.Image.getexif(opened).get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - Pillow raises many types; broken EXIF data do not affect the pixels
        return 1


def _replaced(image: Image.Image, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return the changed image, and free the pixels of the first one before another of this size is made."""
    changed = change(image)
    if changed is not image:
        image.close()
    return changed


def _noted(image: Image.Image, sizes: list[Resolution]) -> Image.Image:
    """Return the image, and add its size to the list."""
    sizes.append(Resolution(*image.size))
    return image


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image, to_srgb: Conversion | None, transparency: Transparency) -> Image.Image:
    """Return the image in RGB, over white; what its alpha says is added to ``transparency``."""

    def seen(strip: Image.Image) -> Image.Image:
        transparency.add(_alpha(strip))
        return strip

    if to_srgb is not None:
        look = seen if image.has_transparency_data else (lambda strip: strip)
        return _by_strips(image, "RGB", lambda strip: _without_alpha(to_srgb(_eight_bit(look(strip)))))
    # An opened WebP holds libwebp's canvases for as long as it is there.
    if image.mode == "RGB" and image.format != "WEBP" and not image.has_transparency_data:
        return image
    if image.has_transparency_data:
        return _by_strips(image, "RGB", lambda strip: _on_white(seen(strip)))
    return _by_strips(image, "RGB", _rgb)


def _as_mask(image: Image.Image, _: Conversion | None) -> Image.Image:
    """Return the mask with white for what is repainted. Its numbers are no colours; a profile changes none of them.

    If a pixel is transparent, OpenAI's rule holds (transparent = repaint), else OVMS's (white = repaint).
    """
    if image.has_transparency_data and not image.mode.startswith("I"):
        alpha = _by_strips(image, "L", _alpha)
        if alpha.histogram()[255] < alpha.width * alpha.height:
            return ImageOps.invert(alpha)
        return _by_strips(image, "L", lambda strip: strip.convert("RGBA").convert("L"))
    return _by_strips(image, "L", lambda strip: _eight_bit(strip).convert("L"))


def _by_strips(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return a new image of the mode, each strip of which is converted by itself.

    Only one strip stands in memory in a third form, and other threads run between two strips.
    """
    result = Image.new(mode, image.size)
    for box in strips(image):
        result.paste(convert(image.crop(box)), box)
    return result


def _without_alpha(strip: Image.Image) -> Image.Image:
    return _on_white(strip) if strip.mode == "RGBA" else strip


def _rgb(strip: Image.Image) -> Image.Image:
    return _eight_bit(strip).convert("RGB")


def _on_white(strip: Image.Image) -> Image.Image:
    strip = _eight_bit(strip)
    white = Image.new("RGBA", strip.size, "white")
    return Image.alpha_composite(white, strip.convert("RGBA")).convert("RGB")


def _alpha(strip: Image.Image) -> Image.Image:
    strip = _eight_bit(strip)
    return strip.convert("RGBA").getchannel("A")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Convert 16-bit grey to 8 bits; Pillow's own conversion turns every value above 255 to white."""
    if not image.mode.startswith("I"):
        return image
    # The second of four little-endian bytes is the value divided by 256.
    return Image.frombytes("L", image.size, image.convert("I").tobytes()[1::4])


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, icc_profile=None)
    return buffer.getvalue()
