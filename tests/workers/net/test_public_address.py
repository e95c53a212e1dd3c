"""Which addresses are public, and the resolution of names to them."""

import pytest

from workers.net.public_address import PrivateAddress, is_public, literal_address, public_addresses, resolve

PUBLIC = "93.184.216.34"


@pytest.mark.parametrize(
    "address", [PUBLIC, "8.8.8.8", "2606:2800:220:1::1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_hosts_on_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "100.127.255.255", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
        *("255.255.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "3fff::1", "100::1"),
        *("64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:1::1"),
    ],
)
def test_other_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        *(("127.0.0.1", "127.0.0.1"), ("127.0.0.1.", "127.0.0.1"), ("127.1", "127.0.0.1"), ("::1", "::1")),
        *(("0x7f000001", "127.0.0.1"), ("2130706433", "127.0.0.1"), ("0177.0.0.1", "127.0.0.1")),
        *(("fe80::1%eth0", "fe80::1"), ("localhost", None), ("a.example", None), ("", None), ("ж", None)),
    ],
)
def test_every_form_of_an_address_is_recognised(host: str, address: str | None) -> None:
    assert literal_address(host) == address


def test_one_private_address_among_others_refuses_them_all() -> None:
    with pytest.raises(PrivateAddress, match=r"a\.example is at 10\.0\.0\.1, which is no public address"):
        public_addresses("a.example", 443, allow_private=False, resolver=lambda *_: [PUBLIC, "10.0.0.1"])


def test_private_addresses_can_be_allowed() -> None:
    assert public_addresses("a", 80, allow_private=True, resolver=lambda *_: ["::1", PUBLIC]) == ["::1", PUBLIC]


def test_a_name_without_an_address_is_an_os_error() -> None:
    with pytest.raises(OSError, match="has no address"):
        public_addresses("a", 80, allow_private=True, resolver=lambda *_: [])


@pytest.mark.parametrize("host", ["no.such.name.invalid", "a" * 64 + ".example", "..", "\ud800"])
def test_an_unknown_name_is_an_os_error(host: str) -> None:
    with pytest.raises(OSError, match="cannot be found"):
        resolve(host, 443)


def test_the_system_resolves_names_and_addresses() -> None:
    assert "127.0.0.1" in resolve("localhost", 80)
    assert resolve("::1", 80) == ["::1"]
    assert resolve("127.1", 80) == ["127.0.0.1"]
