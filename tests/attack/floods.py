"""Attacks by number: keys, jobs, lists and streams."""

import random
import time
from collections import Counter
from contextlib import ExitStack

import httpx2

from tests.attack.target import ATTACKER
from tests.security.hostile import head, many_connections, send_all
from tests.support.polling import pause
from tests.support.service import Service

_TIMEOUT_S = 60.0
_STREAMS_S = 8.0
# Guessing goes on for this long.
_MOST_S = 15.0
_JOBS = "/v3/images/jobs"


def wrong_keys(service: Service, chosen: random.Random) -> Counter[int | None]:
    """The service answers each guess later than the one before."""
    found: Counter[int | None] = Counter()
    end = time.monotonic() + _MOST_S
    with httpx2.Client(base_url=service.url, timeout=_TIMEOUT_S) as http:
        while found.total() < 200 and time.monotonic() < end:
            key = chosen.randbytes(8).hex()
            found[http.get(_JOBS, headers={"Authorization": f"Bearer {key}"}).status_code] += 1
    assert found.keys() <= {401, 429}, found
    return found


def jobs_submitted_and_cancelled(service: Service, chosen: random.Random) -> Counter[int | None]:
    """Full prompts, so that each leaves as much as it may in Redis."""
    found: Counter[int | None] = Counter()
    with _client(service) as http:
        for _ in range(150):
            prompt = "".join(chosen.choices("abcdefghij \U0001f600\u4e2d", k=31_000))
            answer = http.post(_JOBS, json={"prompt": prompt, "negative_prompt": prompt})
            found[answer.status_code] += 1
            if answer.status_code == 202:
                job = answer.json()["id"]
                found[http.post(f"{_JOBS}/{job}/cancel").status_code] += 1
    return found


def lists_of_jobs(service: Service, chosen: random.Random) -> Counter[int | None]:
    found: Counter[int | None] = Counter()
    with _client(service) as http:
        after = ""
        for _ in range(20):
            query = {"limit": chosen.choice("19"), "status": chosen.choice(["queued", "completed", "failed"])}
            page = http.get(_JOBS, params=query | ({"after": after} if after else {}))
            found[page.status_code] += 1
            jobs = page.json().get("data") or [{}]
            after = jobs[-1].get("id", "")
    return found


def event_streams_not_read(service: Service, chosen: random.Random) -> Counter[int | None]:
    found: Counter[int | None] = Counter()
    with _client(service) as http, ExitStack() as stack:
        answer = http.post(_JOBS, json={"prompt": "a red circle", "num_inference_steps": 2})
        found[answer.status_code] += 1
        if answer.status_code == 202:
            path = f"{_JOBS}/{answer.json()['id']}/events"
            count = chosen.randint(20, 60)
            for attacker in stack.enter_context(many_connections(service, count)):
                send_all(attacker, [head("GET", path, f"Authorization: Bearer {ATTACKER}")])
            pause(_STREAMS_S)
    return found


def _client(service: Service) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {ATTACKER}"}
    return httpx2.Client(base_url=service.url, headers=headers, timeout=_TIMEOUT_S)
