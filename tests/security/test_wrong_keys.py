"""Wrong API keys are counted, and slowed by address; a right key never waits, and no other address does."""

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.api.api_support import Api, error_of, serving, settings_for
from tests.security.owners import KEYS, ONE, write_keys
from tests.support.polling import wait_until
from tests.support.redis_server import RunningRedis

MODELS = "/v3/models"
WRONG = {"Authorization": "Bearer wrong"}
ATTACKER, OTHER = {"X-Forwarded-For": "203.0.113.5"}, {"X-Forwarded-For": "203.0.113.6"}


@pytest.fixture
def keyed(redis_server: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    key_file = write_keys(tmp_path_factory.mktemp("keys") / "keys", *KEYS)
    with serving(settings_for(redis_server.settings, {"api_key_file": key_file})) as running:
        yield running


def counted(api: Api) -> dict[str, int]:
    """Return how many wrong keys were answered in which way."""
    page = api.http.get("/metrics", headers=ONE).text
    found = re.findall(r'^imagegen_wrong_keys_total{answer="(\w+)"} (\S+)$', page, re.MULTILINE)
    return {answer: int(float(count)) for answer, count in found}


def ask(api: Api, headers: dict[str, str]) -> httpx2.Response:
    return api.http.get(MODELS, headers=headers)


def test_a_right_key_and_other_addresses_do_not_wait_beside_an_attack(keyed: Api) -> None:
    assert counted(keyed) == {"at_once": 0, "slowed": 0, "refused": 0}
    with ThreadPoolExecutor(40) as pool:
        attack = list(pool.map(lambda _: ask(keyed, {**WRONG, **ATTACKER}), range(60)))
        seen = counted(keyed)
        assert sum(seen.values()) == 60
        assert seen["at_once"] == 10
        statuses = Counter(answer.status_code for answer in attack)
        assert statuses == {401: seen["at_once"] + seen["slowed"], 429: seen["refused"]}
        assert seen["slowed"] and seen["refused"]
        refused = next(answer for answer in attack if answer.status_code == 429)
        assert error_of(refused, 429)["code"] == "too_many_wrong_keys"
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("30", "close")

        slowed = pool.submit(ask, keyed, {**WRONG, **ATTACKER})
        wait_until(lambda: counted(keyed)["slowed"] == seen["slowed"] + 1)
        assert ask(keyed, {**ONE, **ATTACKER}).status_code == 200  # behind the same address
        assert ask(keyed, {**ONE, **OTHER}).status_code == 200
        assert error_of(ask(keyed, {**WRONG, **OTHER}), 401)["message"] == "This API key is not known here."
        assert keyed.http.get("/v2/health/live").status_code == 200
        assert counted(keyed)["at_once"] == 11
        assert not slowed.done()  # the others were answered while this one waits
        assert slowed.result().status_code == 401


def test_a_key_that_is_missing_is_no_wrong_one(keyed: Api) -> None:
    for _ in range(30):
        error_of(ask(keyed, ATTACKER), 401)
    assert sum(counted(keyed).values()) == 0
