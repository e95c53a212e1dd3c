"""Where the API listens: lists of addresses, IPv6, and how both are shown."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cli.errors import UserError
from cli.local.api_address import base_url, close, listen, shown, url_of, urls, warning_of_open_server
from config.environment import SettingsError, load_settings
from config.http_settings import HttpSettings

OPEN = "The API listens on {} and needs no key: everyone who reaches it may use it."


@contextmanager
def listening(addresses: str, port: int) -> Iterator[list[socket.socket]]:
    opened = listen(HttpSettings(rest_bind_address=addresses, rest_port=port))
    try:
        yield opened
    finally:
        close(opened)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("addresses", "where", "reached"),
    [
        ("127.0.0.1", "http://127.0.0.1:{}", (True, False)),
        ("::1", "http://[::1]:{}", (False, True)),
        ("[::1]", "http://[::1]:{}", (False, True)),
        ("127.0.0.1, ::1,127.0.0.1", "http://127.0.0.1:{} http://[::1]:{}", (True, True)),
        ("0.0.0.0", "http://0.0.0.0:{}", (True, False)),
        ("0.0.0.0,127.0.0.1", "http://0.0.0.0:{}", (True, False)),
        ("::", "http://[::]:{} (IPv4 too)", (True, True)),
        ("::,0.0.0.0", "http://[::]:{} http://0.0.0.0:{}", (True, True)),
        ("::1,::", "http://[::]:{} (IPv4 too)", (True, True)),
        ("::,127.0.0.1", "http://[::]:{} http://127.0.0.1:{}", (True, True)),
    ],
)
def test_each_address_of_the_list_is_taken(
    addresses: str, where: str, reached: tuple[bool, bool], free_port: int
) -> None:
    with listening(addresses, free_port) as opened:
        assert " ".join(map(shown, opened)) == where.format(*(free_port,) * 2)
        assert (_answers("127.0.0.1", free_port), _answers("::1", free_port)) == reached


@pytest.mark.parametrize("ipv6", ["::1", "2001:db8::7"], ids=["both are here", "IPv6 is not here"])
def test_each_address_of_a_name_that_is_here_is_taken(
    ipv6: str, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        places = ((socket.AF_INET6, (ipv6, port, 0, 0)), (socket.AF_INET, ("127.0.0.1", port)))
        return [(family, socket.SOCK_STREAM, 6, "", place) for family, place in places]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with listening("box.example", free_port) as opened:
        assert [one.getsockname()[0] for one in opened] == (["::1"] if ipv6 == "::1" else []) + ["127.0.0.1"]


@pytest.mark.parametrize(
    ("addresses", "sentence"),
    [
        ("127.0.0.1,2001:db8::7", r"cannot listen on \[2001:db8::7\]:\d+: "),
        ("127.0.0.1,a b", r"cannot listen on a b:\d+: --rest_bind_address is not an address of here"),
        ("::1,127.0.0.1:80", r"cannot listen on \[127.0.0.1:80\]:\d+: --rest_bind_address is not an address of here"),
    ],
)
def test_one_that_cannot_be_taken_is_named_and_the_others_are_given_back(
    addresses: str, sentence: str, free_port: int
) -> None:
    with pytest.raises(UserError, match=sentence):
        listen(HttpSettings(rest_bind_address=addresses, rest_port=free_port))
    assert not _answers("127.0.0.1", free_port) and not _answers("::1", free_port)


def test_a_port_that_is_in_use_for_ipv6() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} is in use on \[::1\]:{port}; give another with --rest_port"):
            listen(HttpSettings(rest_bind_address="127.0.0.1,::1", rest_port=port))


@pytest.mark.parametrize("addresses", ["", "127.0.0.1,", ",::1", " "])
def test_a_list_with_an_empty_place_is_refused(addresses: str) -> None:
    with pytest.raises(SettingsError, match=r"REST_BIND_ADDRESS: .*write an address, or several with a comma"):
        load_settings(http={"rest_bind_address": addresses})


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ("127.0.0.1,::1", ["http://127.0.0.1:8000", "http://[::1]:8000"]),
        ("192.0.2.7,::1", ["http://[::1]:8000", "http://192.0.2.7:8000"]),
        ("0.0.0.0,::", ["http://127.0.0.1:8000", "http://[::1]:8000"]),
        ("fe80::1%eth0", ["http://[fe80::1%25eth0]:8000"]),
        ("box.example,[::]", ["http://[::1]:8000", "http://box.example:8000"]),
    ],
)
def test_the_addresses_at_which_this_machine_reaches_it(addresses: str, expected: list[str]) -> None:
    http = HttpSettings(rest_bind_address=addresses)
    assert (urls(http), base_url(http)) == (expected, expected[0])


@pytest.mark.parametrize(
    ("addresses", "named"),
    [("127.0.0.1,::1", None), ("::ffff:127.0.0.1", None), ("127.0.0.1,::", "::"), ("0.0.0.0,::", "0.0.0.0, ::")],
)
def test_the_warning_names_the_addresses_that_others_reach(addresses: str, named: str | None, free_port: int) -> None:
    with listening(addresses, free_port) as opened:
        assert warning_of_open_server(opened) == (OPEN.format(named) if named else None)


def test_a_socket_that_is_no_tcp_socket(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("s") / "api")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path)
        assert shown(one) == path
    assert url_of("box", 80) == "http://box:80"
