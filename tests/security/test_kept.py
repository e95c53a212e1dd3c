"""Attacks of one key on the memory of Redis; another key's images are drawn meanwhile, and its jobs are kept."""

import re
import threading
from collections import Counter
from collections.abc import Callable

import httpx2
import pytest
from redis import Redis

from cli.local.embedded_redis import prepared_url
from tests.security.conftest import KEY, OTHER_KEY, SMALL_REDIS_BYTES
from tests.security.honest import honest_clients
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.support.service import Service

_ATTACKER, _OTHER = ({"Authorization": f"Bearer {key}"} for key in (KEY, OTHER_KEY))
_JOBS = "/v3/images/jobs"
_PROMPT = "\u0436" * 32_000
_BODY = {"prompt": _PROMPT, "negative_prompt": _PROMPT, "metadata": {str(number): "m" * 512 for number in range(16)}}
_BODY_BYTES = 136_000
_THREADS = 4
# All of them together have twice the memory of Redis.
_REQUESTS = 2 * SMALL_REDIS_BYTES // _BODY_BYTES


_EVICTED = 'imagegen_jobs_evicted_total{reason="owner_bytes"}'


def _cancel(http: httpx2.Client, number: int) -> int:
    answer = http.post(_JOBS, json=_BODY)
    if answer.status_code == 202:
        http.post(f"{_JOBS}/{answer.json()['id']}/cancel")
    return answer.status_code


def _name_and_erase(http: httpx2.Client, number: int) -> int:
    answer = http.put(f"{_JOBS}/job-{number}", json=_BODY, headers={"Idempotency-Key": f"{number}" * 20})
    if number % 2:
        http.delete(f"{_JOBS}/job-{number}")
    return answer.status_code


def _leave(http: httpx2.Client, number: int) -> int:
    return http.post(_JOBS, json={**_BODY, "n": 4}).status_code


@pytest.mark.parametrize("attack", [_cancel, _name_and_erase, _leave])
def test_one_key_cannot_fill_redis(small_service: Service, attack: Callable[[httpx2.Client, int], int]) -> None:
    kept = httpx2.post(f"{small_service.url}{_JOBS}", json={"prompt": "a red circle"}, headers=_OTHER).json()["id"]
    wait_until(lambda: _get(small_service, kept).json()["status"] == "completed", "the other key's job is drawn")
    evicted = _metric(small_service, _EVICTED)
    statuses: Counter[int] = Counter()
    most: list[float] = []

    def attacking(first: int) -> None:
        with httpx2.Client(base_url=small_service.url, headers=_ATTACKER, timeout=60) as http:
            statuses.update(attack(http, number) for number in range(first, _REQUESTS, _THREADS))

    with honest_clients(small_service, OTHER_KEY):
        threads = [threading.Thread(target=attacking, args=(first,)) for first in range(_THREADS)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            most.append(_metric(small_service, "imagegen_redis_memory_bytes"))
            threads[0].join(0.5)
    print(f"{attack.__name__}: answers {dict(statuses)}; Redis at most {max(most) / 2**20:.1f} MiB of 32")
    assert set(statuses) <= {202, 429}
    assert statuses[202] > 0
    assert max(most) < SMALL_REDIS_BYTES * 3 // 4
    assert _get(small_service, f"{kept}/content").status_code == 200
    with Redis.from_url(prepared_url(small_service.log.parent / "data") or "") as raw:
        assert raw.llen(keys.messages("shapes")) <= raw.zcard("imagegen:queued:shapes") + _THREADS
    if attack is not _name_and_erase:
        assert _metric(small_service, _EVICTED) > evicted


def _get(service: Service, path: str) -> httpx2.Response:
    return httpx2.get(f"{service.url}{_JOBS}/{path}", headers=_OTHER)


def _metric(service: Service, name: str) -> float:
    page = httpx2.get(f"{service.url}/metrics", headers=_OTHER).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
    assert found is not None, page
    return float(found[1])
