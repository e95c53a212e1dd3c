"""Bodies that are small to send and long to read hold no one up."""

import httpx2
import pytest

from tests.api.api_support import DATA_URL
from tests.security.bodies import FORM_BOUNDARY, MIB, hostile_forms, hostile_json
from tests.security.conftest import KEY, MAX_BODY_BYTES, OTHER_KEY
from tests.security.honest import honest_clients
from tests.security.hostile import connected, head, status_of
from tests.support.polling import wait_until
from tests.support.service import Service

PATHS = ("generations", "edits", "jobs")
REPEATS = 3


def _post(service: Service, path: str, body: bytes, key: str = "unused") -> httpx2.Response:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    return httpx2.post(f"{service.url}/v3/images/{path}", content=body, headers=headers, timeout=60)


@pytest.mark.parametrize("size_bytes", [MIB * 9 // 10, 13_600_000], ids=["below the bound", "far above it"])
def test_json_of_many_parts_holds_no_one_up(open_service: Service, size_bytes: int) -> None:
    bodies = hostile_json(size_bytes)
    with honest_clients(open_service) as record:
        for path in PATHS:
            for name, body in bodies.items():
                answer = _post(open_service, path, body)
                assert answer.status_code in (400, 413), (name, path, answer.text[:200])
                assert len(answer.content) < 2000, name
        wait_until(lambda: record.failures or record.images > 1)


def test_a_data_url_of_many_parts_holds_no_one_up(open_service: Service) -> None:
    body = b'{"prompt":"a","images":[{"image_url":"data:' + b";a" * (6 * MIB) + b'"}]}'
    with honest_clients(open_service):
        for path in ("edits", "jobs"):
            answer = _post(open_service, path, body)
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "invalid_image_url"


def test_large_base64_holds_no_one_up(open_service: Service) -> None:
    """The body is read and decoded; it is no image."""
    body = b'{"prompt":"a","images":[{"image_url":"data:image/png;base64,' + b"A" * (60 * MIB) + b'"}]}'
    with honest_clients(open_service, memory_bytes=512 * MIB):
        answer = _post(open_service, "edits", body)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"].startswith("invalid_image")


@pytest.mark.parametrize("name", hostile_forms())
def test_hostile_forms_hold_no_one_up(open_service: Service, name: str) -> None:
    content = hostile_forms()[name]
    headers = {"Content-Type": f"multipart/form-data; boundary={FORM_BOUNDARY}"}
    with honest_clients(open_service):
        for _ in range(REPEATS):
            answer = httpx2.post(f"{open_service.url}/v3/images/edits", content=content, headers=headers, timeout=60)
            assert answer.status_code in (400, 413), answer.text[:200]


def test_six_full_prompts_are_no_attack(open_service: Service) -> None:
    """Each of their 32,000 characters may be written as two escapes."""
    names = ("prompt", "prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3")
    fields = ",".join(f'"{name}":"{chr(92)}ud83d{chr(92)}ude00' + "\\ud83d\\ude00" * 31_999 + '"' for name in names)
    answer = _post(open_service, "jobs", f"{{{fields}}}".encode())
    # The body was read: what is wrong is that this model has no second prompt.
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt_2"), answer.text


@pytest.mark.parametrize("slash", ["/", "\\/"], ids=["plain", "as PHP writes it"])
def test_an_image_is_taken_out_of_its_body(open_service: Service, slash: str) -> None:
    url = DATA_URL.replace("/", slash)
    for path, status in (("edits", 200), ("jobs", 202)):
        answer = _post(open_service, path, f'{{"prompt":"a", "images": [{{"image_url" :\n"{url}"}}]}}'.encode())
        assert answer.status_code == status, answer.text


def test_bodies_in_flight_are_bounded_and_small_ones_go_on(keyed_service: Service) -> None:
    """The attackers' bodies stay incomplete. Another key's prompts are drawn; its large body gets a Retry-After."""
    start = head(
        "POST",
        "/v3/images/edits",
        f"Content-Length: {MAX_BODY_BYTES}",
        f"Authorization: Bearer {KEY}",
        "Content-Type: application/json",
    )
    large = b'{"prompt":"a","images":[{"image_url":"data:image/png;base64,' + b"A" * (7 * MIB) + b'"}]}'
    with (
        honest_clients(keyed_service, OTHER_KEY),
        connected(keyed_service) as first,
        connected(keyed_service) as second,
    ):
        for attacker in (first, second):
            attacker.sendall(start + b" " * (MAX_BODY_BYTES * 3 // 4 - 1))
        refused: list[httpx2.Response] = []

        def is_refused() -> bool:
            refused.append(_post(keyed_service, "edits", large, OTHER_KEY))
            return refused[-1].status_code == 503

        wait_until(is_refused, "a large body is refused")
        assert refused[-1].json()["error"]["code"] == "too_many_bodies"
        assert refused[-1].headers["retry-after"] == "2"
        # Attackers that are still sending after ten seconds make room.
        wait_until(lambda: _post(keyed_service, "edits", large, OTHER_KEY).status_code == 400, "there is room again")
        assert status_of(first) == 503
