"""Pictures of a few kilobytes that take much to decode, sent by one owner while another one edits an image."""

import base64
import struct
import threading
import zlib
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.fuzz.hostile_images import PICTURES, chunk, png
from tests.security.conftest import KEY, OTHER_KEY
from tests.security.honest import honest_clients
from tests.support.heif_files import coded_picture, heif_file, with_size
from tests.support.images import image_bytes
from tests.support.polling import wait_until
from tests.support.service import Service

MIB = 2**20
SMALL = image_bytes(Image.effect_noise((24, 24), 60).convert("RGB"))
# images.max_decoding_bytes of the service, and what the honest clients themselves take.
MEMORY_BYTES = 700 * MIB


def _flat_png(width: int, height: int, depth: int, colour: int) -> bytes:
    """A PNG of one value: four kilobytes for 40 million pixels of one bit."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    row_bytes = 1 + (width * channels * depth + 7) // 8
    packer = zlib.compressobj(9)
    whole, rest = divmod(row_bytes * height, MIB)
    data = b"".join(
        [*(packer.compress(bytes(MIB)) for _ in range(whole)), packer.compress(bytes(rest)), packer.flush()]
    )
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _scans(image: Image.Image, count: int) -> bytes:
    """A progressive JPEG whose last scan is there again and again."""
    whole = image_bytes(image, "JPEG", progressive=True, subsampling=0)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + scan * count + whole[-2:]


def _noisy_exif(entries: int) -> bytes:
    """A JPEG with so many EXIF entries that lie about where their data stands, and that way is up."""
    directory = b"".join(struct.pack("<HHII", 2000 + n, 7, 60_000, 2**31) for n in range(entries))
    exif = b"II*\0" + struct.pack("<IH", 8, entries) + directory + bytes(4)
    whole = image_bytes(Image.new("RGB", (16, 16), "red"), "JPEG")
    part = b"Exif\0\0" + exif
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part + whole[2:]


# What is decoded: within the limits, at their edge, and costly.
COSTLY: dict[str, Callable[[], bytes]] = {
    "png of 40 million bits": lambda: _flat_png(8000, 5000, 1, 0),
    "png with alpha": lambda: _flat_png(8000, 5000, 8, 6),
    "png with alpha of 16 bits": lambda: _flat_png(8000, 5000, 16, 6),
    "grey png of 16 bits": lambda: _flat_png(8000, 5000, 16, 0),
    "webp": lambda: image_bytes(Image.new("RGB", (6000, 5000), "red"), "WEBP", lossless=True),
    "gif": lambda: image_bytes(Image.new("P", (8000, 5000), 3), "GIF"),
    "heic": lambda: (PICTURES / "large.heic").read_bytes(),
    "jpeg of 45 scans": lambda: _scans(Image.new("RGB", (5000, 4000), "red"), 35),
}
# What is not: the status and the code of the refusal.
REFUSED: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "a column of 40 million pixels": (lambda: _flat_png(1, 40_000_000, 8, 0), 400, "invalid_image_ratio"),
    "a row of 40 million pixels": (lambda: png(40_000_000, 1, bytes(40_000_001), colour=0), 400, "invalid_image_ratio"),
    "60 million pixels": (lambda: _flat_png(10_000, 6000, 1, 0), 413, "image_too_large"),
    "a webp of 50 million pixels": (
        lambda: image_bytes(Image.new("RGB", (8192, 6144)), "WEBP", lossless=True),
        413,
        "image_too_large",
    ),
    "a gif of 60 million pixels": (
        lambda: image_bytes(Image.new("P", (10_000, 6000), 3), "GIF"),
        413,
        "image_too_large",
    ),
    "an avif of 3.6 thousand million pixels": (
        lambda: heif_file([with_size(coded_picture(image_bytes(Image.new("RGB", (16, 16)), "AVIF")), 60_000, 60_000)]),
        413,
        "image_too_large",
    ),
    "a heic of 36 million pixels that states 64": (
        lambda: heif_file([with_size(coded_picture((PICTURES / "large.heic").read_bytes()), 64, 64)]),
        400,
        "invalid_image_format",
    ),
    "a bmp of 4 thousand million pixels": (
        lambda: image_bytes(Image.new("RGB", (16, 16)), "BMP")[:18] + struct.pack("<ii", 65535, -65535) + bytes(700),
        413,
        "image_too_large",
    ),
    "60 scans": (lambda: _scans(Image.new("L", (3000, 3000), 9), 55), 400, "invalid_image_format"),
}


def _edit(service: Service, content: bytes, key: str = "unused", **more: Any) -> httpx2.Response:
    files = {"image": ("a.png", content), **{name: ("b.png", mask) for name, mask in more.pop("files", {}).items()}}
    data = {"prompt": "a star", "size": "32x32", **more}
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.post(f"{service.url}/v3/images/edits", data=data, files=files, headers=headers, timeout=300)


@pytest.mark.parametrize("name", list(COSTLY))
def test_what_is_costly_to_decode_holds_no_one_up(keyed_service: Service, name: str) -> None:
    """Four at a time: two are decoded, or as many as have room in memory. The other owner's edits go on."""
    content = COSTLY[name]()
    assert len(content) < MIB
    answers: list[httpx2.Response] = []
    attackers = [
        threading.Thread(target=lambda: answers.append(_edit(keyed_service, content, KEY, files={"mask": content})))
        for _ in range(4)
    ]
    with honest_clients(keyed_service, OTHER_KEY, MEMORY_BYTES, image=SMALL) as record:
        for attacker in attackers:
            attacker.start()
        drawn = record.images
        wait_until(lambda: record.failures or record.images > drawn + 1, "an edit while others are decoded")
        for attacker in attackers:
            attacker.join(300)
    assert record.memory_after < record.memory_before + 96 * MIB, record
    assert [answer.status_code for answer in answers] == [200] * 4, [answer.text[:300] for answer in answers]


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_is_too_large_is_refused_by_its_header(keyed_service: Service, name: str) -> None:
    """Its memory would be several times that of the whole attack here."""
    make, status, code = REFUSED[name]
    content = make()
    assert len(content) < MIB
    with honest_clients(keyed_service, OTHER_KEY, 48 * MIB, image=SMALL):
        for _ in range(3):
            for answer in (
                _edit(keyed_service, content, KEY),
                _edit(keyed_service, SMALL, KEY, files={"mask": content}),
            ):
                assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_the_limits_of_the_graph_are_judged_before_anything_is_decoded(keyed_service: Service) -> None:
    """Without a size, the image's own would be drawn here, if the graph had no default; a wrong one is refused."""
    content = COSTLY["png with alpha"]()
    with honest_clients(keyed_service, OTHER_KEY, 48 * MIB, image=SMALL):
        for _ in range(5):
            answer = _edit(keyed_service, content, KEY, size="6400x6400")
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "size"), answer.text


@pytest.mark.parametrize("how", ["form", "data URL"])
def test_odd_exif_data_reach_no_log(open_service: Service, how: str) -> None:
    content = _noisy_exif(5000)
    before = len(open_service.log.read_text())
    if how == "form":
        answer = _edit(open_service, content)
    else:
        url = "data:image/jpeg;base64," + base64.b64encode(content).decode()
        body = {"prompt": "a star", "size": "32x32", "images": [{"image_url": url}]}
        answer = httpx2.post(f"{open_service.url}/v3/images/edits", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    logged = open_service.log.read_text()[before:]
    assert "accepted" in logged
    for noise in ("EXIF", "Tag data", "PIL", "Warning"):
        assert noise not in logged, logged[:2000]


def test_a_photograph_of_fifty_megapixels_is_drawn(open_service: Service) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph = image_bytes(Image.linear_gradient("L").resize((8192, 6144)).convert("RGB"), "JPEG", exif=exif)
    answer = _edit(open_service, photograph)
    assert answer.status_code == 200, answer.text
