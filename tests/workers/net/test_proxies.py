"""Which proxy the environment names for an address."""

import httpx2
import pytest

from workers.net.proxies import ProxyError, proxy_for, without_password

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def _proxy(url: str) -> str | None:
    return proxy_for(httpx2.URL(url))


@pytest.mark.parametrize(
    ("variable", "https", "http"),
    [
        ("HTTPS_PROXY", PROXY, None),
        ("https_proxy", PROXY, None),
        ("HTTP_PROXY", None, PROXY),
        ("ALL_PROXY", PROXY, PROXY),
    ],
)
def test_the_variable_of_the_scheme_counts(
    monkeypatch: pytest.MonkeyPatch, variable: str, https: str | None, http: str | None
) -> None:
    monkeypatch.setenv(variable, PROXY)
    assert _proxy("https://hub.example/x") == https
    assert _proxy("http://hub.example/x") == http


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.1", "localhost", "a.localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"]
)
def test_this_machine_has_none(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    assert _proxy(f"http://{host}:8000/v3") is None


@pytest.mark.parametrize(
    ("no_proxy", "excluded", "others"),
    [
        ("*", ["https://hub.example", "https://10.1.2.3"], []),
        ("hub.example", ["https://hub.example", "https://eu.hub.example:8443"], ["https://myhub.example"]),
        (" .example , b.test", ["https://a.example", "https://b.test"], ["https://a.test"]),
        ("*.example", ["https://a.example"], ["https://example.com"]),
        ("hub.example:8443", ["https://hub.example:8443"], ["https://hub.example"]),
        ("hub.example:443", ["https://hub.example"], ["http://hub.example"]),
        ("10.0.0.0/8", ["https://10.1.2.3"], ["https://11.1.2.3", "https://hub.example"]),
        ("192.0.2.1", ["https://192.0.2.1"], ["https://192.0.2.10"]),
        ("[::1],[2001:db8::1]", ["https://[2001:db8::1]"], ["https://[2001:db8::2]"]),
        ("[2001:db8::1]:8443", ["https://[2001:db8::1]:8443"], ["https://[2001:db8::1]"]),
        ("2001:db8::/32", ["https://[2001:db8::7]"], ["https://[2001:db9::7]"]),
        (",,[::1", [], ["https://hub.example"]),
    ],
)
def test_no_proxy_names_what_is_reached_directly(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, excluded: list[str], others: list[str]
) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert [_proxy(url) for url in excluded] == [None] * len(excluded)
    assert [_proxy(url) for url in others] == [PROXY] * len(others)


def test_a_proxy_without_a_scheme_speaks_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    assert _proxy("https://hub.example") == PROXY


@pytest.mark.parametrize(
    "named", ["socks4://proxy.example:1080", "ftp://u:secret@proxy.example", "http://", "http://proxy.example:port"]
)
def test_what_is_no_proxy_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", named)
    with pytest.raises(ProxyError, match=r"^HTTPS_PROXY") as refused:
        _proxy("https://hub.example")
    assert "secret" not in str(refused.value)


def test_a_password_is_not_shown() -> None:
    assert without_password("http://user:p@ss@proxy.example:3128") == PROXY
