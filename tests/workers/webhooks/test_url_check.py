"""The URLs that a webhook may have."""

import pytest

from tests.workers.webhooks.webhook_support import PRIVATE_URLS, WRONG_URLS
from workers.webhooks.url_check import UrlRefused, check_url


@pytest.mark.parametrize("url", [*PRIVATE_URLS, *WRONG_URLS, "http://a.example/"])
def test_private_addresses_and_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(UrlRefused, match=r"^A webhook.*\.$"):
        check_url(url, allow_private=False)


@pytest.mark.parametrize("url", [*PRIVATE_URLS, "http://a.example/"])
def test_allow_private_allows_private_addresses_and_http(url: str) -> None:
    assert check_url(url, allow_private=True).host


@pytest.mark.parametrize("url", WRONG_URLS)
def test_allow_private_does_not_allow_other_schemes(url: str) -> None:
    with pytest.raises(UrlRefused):
        check_url(url, allow_private=True)
