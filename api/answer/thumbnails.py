"""Small copies of artifacts, for pages that show many of them."""

from io import BytesIO

from PIL import Image

from api.decoding_turns import DecodingTurns
from workers.jobs.job import Job

_QUALITY = 85
# RGB, and once more for what is scaled from it.
_BYTES_PER_PIXEL = 6


async def thumbnail(turns: DecodingTurns, job: Job, artifact: bytes, width: int) -> bytes:
    """Return one of the job's encoded images at this width, in its own format and shape; a smaller one as it is.

    It is decoded in the owner's turn, as input images are. Raises QueueFull where too many images of the owner wait.
    """
    needed_bytes = min(job.request.width * job.request.height * _BYTES_PER_PIXEL, turns.max_bytes)
    async with turns.turn(job.options.owner, needed_bytes) as turn:
        return await turn.run(lambda: _scaled(artifact, width), len)


def _scaled(artifact: bytes, width: int) -> bytes:
    with Image.open(BytesIO(artifact)) as image:
        if image.width <= width:
            return artifact
        height = max(1, round(image.height * width / image.width))
        small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
        encoded = BytesIO()
        small.save(encoded, format=image.format, quality=_QUALITY, icc_profile=image.info.get("icc_profile"))
    return encoded.getvalue()
