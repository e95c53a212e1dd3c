"""Small copies of artifacts, for pages that show many of them."""

import asyncio
from io import BytesIO

from PIL import Image

# Each takes a core for some tens of milliseconds.
_AT_ONCE = asyncio.Semaphore(2)
_QUALITY = 85


async def thumbnail(artifact: bytes, width: int) -> bytes:
    """Return an encoded image at this width, in its own format and shape; a smaller one as it is."""
    async with _AT_ONCE:
        return await asyncio.to_thread(_scaled, artifact, width)


def _scaled(artifact: bytes, width: int) -> bytes:
    with Image.open(BytesIO(artifact)) as image:
        if image.width <= width:
            return artifact
        height = max(1, round(image.height * width / image.width))
        small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
        encoded = BytesIO()
        small.save(encoded, format=image.format, quality=_QUALITY)
    return encoded.getvalue()
