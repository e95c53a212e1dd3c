"""The bounds of connections by their number and address; tests/security attacks them over the network."""

import pytest

from api.http.connections import Connections
from api.http.proxies import TrustedProxies, plain_address
from config.http_settings import ConnectionSettings

LIMITS = ConnectionSettings(max_open=8, max_open_per_address=2, trusted_proxies="192.0.2.1, 198.51.100.0/24, name")


class _Opened:
    """A connection of an address, without a network."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.is_aborted = False
        self.is_slow = False

    def close_if_overdue(self, now: float) -> None: ...

    def is_sending(self) -> bool:
        return self.is_slow

    def abort(self) -> None:
        self.is_aborted = True


@pytest.mark.parametrize("address", ["203.0.113.5", "2001:db8::5", "::ffff:203.0.113.5", ""])
def test_one_address_has_a_bound_of_its_own(address: str) -> None:
    connections = Connections(LIMITS, lambda _: None)
    first = _Opened(address)
    assert connections.opened(first)
    assert connections.opened(_Opened(address))
    assert not connections.opened(_Opened(address))
    assert connections.opened(_Opened("203.0.113.6"))
    assert connections.opened(_Opened("2001:db8:0:1::5"))
    connections.closed(first)
    connections.closed(first)
    assert connections.opened(_Opened(address))
    assert not connections.opened(_Opened(address))


def test_all_addresses_of_a_network_of_ipv6_count_as_one() -> None:
    connections = Connections(LIMITS, lambda _: None)
    first, second = _Opened("2001:db8::5"), _Opened("2001:db8::ffff:1")
    assert connections.opened(first) and connections.opened(second)
    assert not connections.opened(_Opened("2001:db8::6"))
    connections.closed(second)
    assert connections.opened(_Opened("2001:db8::6"))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1", "192.0.2.1", "198.51.100.77", "::ffff:192.0.2.1"])
def test_this_machine_and_trusted_proxies_have_none(address: str) -> None:
    connections = Connections(LIMITS, lambda _: None)
    assert all(connections.opened(_Opened(address)) for _ in range(8))


def test_at_the_bound_silent_connections_make_room_before_kept_ones() -> None:
    refused: list[str] = []
    connections = Connections(LIMITS, refused.append)
    opened = [_Opened("127.0.0.1") for _ in range(8)]
    assert all(connections.opened(connection) for connection in opened)
    connections.is_asked(opened[0])
    connections.is_asked(opened[1])
    connections.waits(opened[1])  # its request has been answered
    connections.waits(opened[0])
    displaced: list[int] = []
    for _ in range(8):
        latest = _Opened("127.0.0.1")
        assert connections.opened(latest)
        connections.is_asked(latest)
        displaced += [n for n, connection in enumerate(opened) if connection.is_aborted and n not in displaced]
    assert displaced == [2, 3, 4, 5, 6, 7, 1, 0]
    assert refused == ["connection_displaced"] * 8


def test_where_none_waits_the_oldest_that_still_sends_its_body_makes_room() -> None:
    connections = Connections(LIMITS, lambda _: None)
    opened = [_Opened("127.0.0.1") for _ in range(8)]
    for connection in opened:
        assert connections.opened(connection)
        connections.is_asked(connection)
    opened[3].is_slow = True
    opened[5].is_slow = True
    assert connections.opened(_Opened("127.0.0.1"))
    assert [number for number, connection in enumerate(opened) if connection.is_aborted] == [3]


def test_where_all_wait_for_answers_a_new_one_is_refused() -> None:
    connections = Connections(LIMITS, lambda _: None)
    for _ in range(8):
        connection = _Opened("127.0.0.1")
        assert connections.opened(connection)
        connections.is_asked(connection)
    assert not connections.opened(_Opened("127.0.0.1"))


def test_all_addresses_may_be_trusted() -> None:
    assert "203.0.113.5" in TrustedProxies("*")
    assert "203.0.113.5" not in TrustedProxies("")
    assert "name" not in TrustedProxies("name")


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("x", "x"),
        ("", ""),
    ],
)
def test_ipv4_inside_of_ipv6_is_ipv4(address: str, plain: str) -> None:
    assert plain_address(address) == plain
