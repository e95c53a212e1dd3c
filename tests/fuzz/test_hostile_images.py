"""Images that are meant to hurt, sent to the running service as files and as data URLs."""

import base64
import math
from typing import Any

import httpx2
import pytest
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.fuzz_support import check_answer, examples, explore
from tests.fuzz.hostile_images import bombs, drawable, png, refused, truncated
from tests.support.images import image_bytes
from tests.support.service import Service

DRAWABLE, REFUSED, BOMBS = drawable(), refused(), bombs()
EDITS = "/v3/images/edits"
DRAWABLE_IMAGE = Image.effect_noise((24, 24), 60).convert("RGB")
KINDS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF", "HEIC", "TIFF"]
HALF_A_GIB_KB = 512 * 1024


def _edit(service: Service, how: str, content: bytes, field: str = "image") -> httpx2.Response:
    """Edit the image, or an ordinary one with it as the mask; every lying name and type may go with it."""
    whole = DRAWABLE["palette"]
    if how == "form":
        files = {"image": ("a.png", whole, "image/png"), field: ("a.jpeg", content, "text/html")}
        return service.http.post(EDITS, data={"prompt": "a star", "size": "32x32"}, files=files)
    url = {"image_url": "data:image/gif;base64," + base64.b64encode(content).decode()}
    ordinary = {"image_url": "data:image/png;base64," + base64.b64encode(whole).decode()}
    images: dict[str, Any] = {"images": [url]} if field == "image" else {"images": [ordinary], "mask": url}
    return service.http.post(EDITS, json={"prompt": "a star", "size": "32x32", **images})


def _check_refused(answer: httpx2.Response, param: str, *, status: int = 400) -> None:
    check_answer(answer.status_code, answer.headers["content-type"], answer.headers["x-request-id"], answer.content)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["message"].startswith(f"{param} ")


@pytest.mark.parametrize("how", ["form", "data URL"])
@pytest.mark.parametrize("name", list(DRAWABLE))
def test_an_odd_image_is_drawn(service: Service, how: str, name: str) -> None:
    answer = _edit(service, how, DRAWABLE[name])
    assert answer.status_code == 200, answer.text
    assert _edit(service, how, DRAWABLE[name], "mask").status_code == 200


@pytest.mark.parametrize("how", ["form", "data URL"])
@pytest.mark.parametrize("name", list(REFUSED))
def test_what_is_no_image_is_refused(service: Service, how: str, name: str) -> None:
    _check_refused(_edit(service, how, REFUSED[name]), "image")
    _check_refused(_edit(service, how, REFUSED[name], "mask"), "mask")


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_bomb_is_refused_at_little_cost(service: Service, name: str) -> None:
    bomb = BOMBS[name]()
    before = _most_memory_kb(service)
    for field in ("image", "mask"):
        answer = _edit(service, "form", bomb, field)
        _check_refused(answer, field, status=413 if " x " in name or "of one" in name else 400)
    # What a body of some megabytes itself takes, and no image.
    assert _most_memory_kb(service) - before < 100 * 1024 + 4 * len(bomb) // 1024


def test_the_largest_images_take_a_bounded_memory(service: Service) -> None:
    """Two images of 40 million pixels each, in the costliest kind of pixel."""
    largest = png(8000, 5000, bytes((8000 * 4 + 1) * 5000), colour=6)
    before = _most_memory_kb(service)
    files = {"image": ("a.png", largest), "mask": ("b.png", largest)}
    answer = service.http.post(EDITS, data={"prompt": "a star", "size": "32x32"}, files=files)
    assert answer.status_code == 200, answer.text
    grown = _most_memory_kb(service) - before
    print(f"{2 * len(largest)} bytes of image, {grown // 1024} MiB more memory")
    assert grown < 1.5 * HALF_A_GIB_KB


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_cut_anywhere_is_refused(service: Service, kind: str) -> None:
    for content in truncated(kind):
        _check_refused(_edit(service, "form", content), "image")


@examples(30, 125)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_image_is_drawn_or_refused(service: Service, kind: str, count: int) -> None:
    if kind in ("AVIF", "HEIC", "TIFF"):
        count = math.ceil(count / 3)  # a process is started for each
    whole = DRAWABLE["heic"]
    if kind != "HEIC":
        whole = image_bytes(DRAWABLE_IMAGE, kind, **({"progressive": True} if kind == "JPEG" else {}))

    def check(places: list[tuple[int, int]], field: str) -> None:
        damaged = bytearray(whole)
        for place, value in places:
            damaged[place] = value
        answer = _edit(service, "form", bytes(damaged), field)
        if answer.status_code != 200:
            _check_refused(answer, field, status=answer.status_code)
            assert answer.status_code in (400, 413)

    place = st.tuples(st.integers(0, min(len(whole) - 1, 400)), st.integers(0, 255))
    explore(check, count, places=st.lists(place, min_size=1, max_size=4), field=st.sampled_from(["image", "mask"]))


def _most_memory_kb(service: Service) -> int:
    """The largest resident set so far of the API's process, in kB as the kernel tells it."""
    (pid,) = [pid for pid, command in service.descendants().items() if command.endswith("-m cli api ")]
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
