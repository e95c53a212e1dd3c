"""Attacks with bodies that are long to read, and with images that are large once decoded."""

import io
import random
import struct
import zlib
from collections import Counter

import httpx2
from PIL import Image

from tests.attack.target import ATTACKER
from tests.security.bodies import FORM_BOUNDARY, MIB, hostile_forms, hostile_json
from tests.support.service import Service

_TIMEOUT_S = 60.0
_KEY = {"Authorization": f"Bearer {ATTACKER}"}


def json_of_many_parts(service: Service, chosen: random.Random) -> Counter[int | None]:
    found: Counter[int | None] = Counter()
    bodies = hostile_json(chosen.choice([MIB * 9 // 10, 13_600_000]))
    for name in chosen.sample(sorted(bodies), 5):
        found[_post(service, chosen.choice(["generations", "edits", "jobs"]), bodies[name], "application/json")] += 1
    return found


def forms_of_any_shape(service: Service, chosen: random.Random) -> Counter[int | None]:
    content = chosen.choice(list(hostile_forms().values()))
    return Counter([_post(service, "edits", content, f"multipart/form-data; boundary={FORM_BOUNDARY}")])


def large_base64(service: Service, chosen: random.Random) -> Counter[int | None]:
    body = b'{"prompt":"a","images":[{"image_url":"data:image/png;base64,' + b"A" * chosen.randint(MIB, 60 * MIB)
    return Counter([_post(service, "edits", body + b'"}]}', "application/json")])


def bodies_without_a_key(service: Service, chosen: random.Random) -> Counter[int | None]:
    """The service may answer, and close, before it has read them."""
    body = b" " * (20 * MIB)
    try:
        status = _post(service, chosen.choice(["edits", "jobs"]), body, "application/json", key="wrong")
    except httpx2.WriteError:
        return Counter([None])
    assert status in (401, 429), status
    return Counter([status])


def hostile_images(service: Service, chosen: random.Random) -> Counter[int | None]:
    """Small files, far larger ones when they are decoded; some of them are refused, some are drawn."""
    found: Counter[int | None] = Counter()
    for _ in range(4):
        image = chosen.choice(_IMAGES)(chosen)
        answer = httpx2.post(
            f"{service.url}/v3/images/edits",
            data={"prompt": "a red circle"},
            files={"image": ("image.png", image)},
            headers=_KEY,
            timeout=_TIMEOUT_S,
        )
        found[answer.status_code] += 1
    return found


def _png(width: int, height: int) -> bytes:
    """Return a PNG of black pixels with one bit each."""
    rows = zlib.compress(b"\0" * ((width + 7) // 8 + 1) * height, 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _encoded(kind: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, kind)
    return buffer.getvalue()


_IMAGES = (
    lambda chosen: _png(chosen.randint(10_000, 25_000), chosen.randint(10_000, 25_000)),
    lambda chosen: _png(60_000, chosen.randint(1, 16)),
    lambda chosen: _png(1, 60_000),
    lambda chosen: _encoded("JPEG", (4096, 4096)),
    lambda chosen: _encoded("WEBP", (4096, chosen.randint(1000, 4096))),
    lambda chosen: _png(64, 64)[: chosen.randint(8, 60)],
)


def _post(service: Service, path: str, body: bytes, content_type: str, key: str = ATTACKER) -> int:
    headers = {"Content-Type": content_type, "Authorization": f"Bearer {key}"}
    url = f"{service.url}/v3/images/{path}"
    return httpx2.post(url, content=body, headers=headers, timeout=_TIMEOUT_S).status_code
