"""The wrong keys of each address, without a network; tests/security sends them over HTTP."""

import asyncio
from collections import Counter

import pytest

from api.http.wrong_keys import WrongKeyAnswer, WrongKeys, wait_after

REMEMBERED_AT_MOST = 10_000


def test_each_wrong_key_of_an_address_waits_longer_up_to_a_bound() -> None:
    waits = [wait_after(sent) for sent in range(1, 41)]
    assert waits[:10] == [0.0] * 10
    assert waits[10:14] == [0.25, 0.5, 1.0, 2.0]
    assert set(waits[14:]) == {4.0}


@pytest.mark.parametrize(
    ("addresses", "clients"),
    [
        (["203.0.113.5", "::ffff:203.0.113.5"], 1),
        (["2001:db8::1", "2001:db8::ffff:1", "2001:db8::2"], 1),
        (["2001:db8:0:1::1", "2001:db8:0:2::1"], 2),
        (["", "testclient"], 2),
    ],
)
def test_an_ipv6_client_is_counted_by_its_network(addresses: list[str], clients: int) -> None:
    wrong_keys = WrongKeys(8, lambda _: None)
    for address in addresses:
        asyncio.run(wrong_keys.slow_down(address))
    assert len(wrong_keys) == clients


def test_a_bounded_number_of_addresses_is_remembered() -> None:
    counts: Counter[WrongKeyAnswer] = Counter()
    wrong_keys = WrongKeys(8, lambda answer: counts.update([answer]))

    async def attack() -> None:
        for number in range(REMEMBERED_AT_MOST + 2000):
            await wrong_keys.slow_down(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")

    asyncio.run(attack())
    assert len(wrong_keys) == REMEMBERED_AT_MOST
    assert counts == {WrongKeyAnswer.AT_ONCE: REMEMBERED_AT_MOST + 2000}
