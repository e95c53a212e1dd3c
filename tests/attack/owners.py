"""Attacks on what belongs to others: jobs, images, and what only administrators or pages of the server may."""

import random
import string
from collections import Counter
from typing import Any

import httpx2

from tests.attack.target import ATTACKER, HONEST
from tests.support.service import Service

_TIMEOUT_S = 60.0
_NAMES = 12


def job_name(key: str, number: int) -> str:
    """Return the name of an honest client's job; the attacker can guess it."""
    return f"{key}-job-{number % _NAMES}"


def jobs_of_others(service: Service, chosen: random.Random) -> Counter[int | None]:
    """Ask for, and try to take over and delete, the jobs of honest clients. An answer of 200 is the attacker's own."""
    found: Counter[int | None] = Counter()
    with _client(service) as http:
        for _ in range(30):
            path = f"/images/jobs/{job_name(chosen.choice(HONEST), chosen.randrange(_NAMES))}"
            method, more = chosen.choice(
                [
                    ("GET", ""),
                    ("GET", "/result"),
                    ("GET", "/content"),
                    ("GET", "/events"),
                    ("DELETE", ""),
                    ("POST", "/cancel"),
                    ("PUT", ""),
                ]
            )
            body: Any = {"json": {"prompt": "stolen"}} if method == "PUT" else {}
            answer = http.request(method, path + more, **body)
            found[answer.status_code] += 1
            assert b"a green star" not in answer.content, path + more
            if answer.status_code == 200 and more in ("/result", "/content"):
                assert http.get(path).json().get("prompt", "stolen") == "stolen", path
    return found


def forged_addresses(service: Service, chosen: random.Random) -> Counter[int | None]:
    found: Counter[int | None] = Counter()
    with _client(service) as http:
        for _ in range(30):
            token = "".join(chosen.choices(string.ascii_letters + string.digits + "._-", k=chosen.randint(1, 200)))
            found[http.get(f"/images/files/{token}.png").status_code] += 1
    assert 200 not in found
    return found


def pages_of_other_origins(service: Service, chosen: random.Random) -> Counter[int | None]:
    found: Counter[int | None] = Counter()
    headers = chosen.choice(
        [
            {"Origin": "https://evil.example", "Content-Type": "text/plain"},
            {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"},
            {"Referer": "https://evil.example/", "Content-Type": "application/x-www-form-urlencoded"},
        ]
    )
    with _client(service) as http:
        for _ in range(20):
            path = chosen.choice(["/images/generations", "/images/jobs", "/lora_adapters"])
            found[http.post(path, content=b'{"prompt":"a"}', headers=headers).status_code] += 1
    assert not {200, 202} & found.keys(), found
    return found


def what_only_administrators_may(service: Service, chosen: random.Random) -> Counter[int | None]:
    source = chosen.choice(["/etc/passwd", "http://127.0.0.1:6379/a.safetensors", "file:///etc/shadow", "a/b"])
    with _client(service) as http:
        found = Counter[int | None](
            [
                http.post("/lora_adapters", json={"alias": "a", "source": source}).status_code,
                http.delete("/lora_adapters/a").status_code,
                http.post("/lora_adapters/refresh").status_code,
            ]
        )
    assert found.keys() == {403}, found
    return found


def webhooks_to_forbidden_addresses(service: Service, chosen: random.Random) -> Counter[int | None]:
    found: Counter[int | None] = Counter()
    with _client(service) as http:
        for _ in range(10):
            host = chosen.choice(
                ["127.0.0.1", "[::1]", "localhost", "169.254.169.254", "10.0.0.1", "xn--a.example", "a..b", "0x7f.1"]
            )
            body = {
                "prompt": "a",
                "webhook": {"url": f"https://{host}/", "events": ["completed"] * chosen.randint(1, 9)},
            }
            found[http.post("/images/jobs", json=body).status_code] += 1
    assert not {200, 202} & found.keys(), found
    return found


def _client(service: Service) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {ATTACKER}"}
    return httpx2.Client(base_url=f"{service.url}/v3", headers=headers, timeout=_TIMEOUT_S)
