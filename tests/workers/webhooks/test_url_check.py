"""The URLs that a webhook may have."""

import pytest

from api.service import check_webhook
from config.settings import WebhookSettings
from graphs.errors import InvalidRequest
from tests.workers.webhooks.webhook_support import (
    SECRET,
)
from workers.jobs.job_options import Webhook
from workers.webhooks.url_check import UrlRefused, check_url

PRIVATE_URLS = [
    *("https://127.0.0.1/", "https://127.1/", "https://0x7f000001/", "https://2130706433/", "https://localhost/"),
    *("https://169.254.169.254/latest/meta-data", "https://10.0.0.1:8443/", "https://100.64.0.1/", "https://0.0.0.0/"),
    *("https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[fe80::1]/", "https://[64:ff9b::7f00:1]/"),
    *("https://localhost./", "https://127.0.0.1./", "https://user:secret@192.168.0.1/"),
]
WRONG_URLS = ["ftp://a.example/", "file:///etc/passwd", "a.example", "https://", "https://h:x/", "https://h:0/", "//h/"]


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


def refusal(url: str, settings: WebhookSettings) -> tuple[str | None, str]:
    with pytest.raises(InvalidRequest) as caught:
        check_webhook(Webhook(url=url), settings)
    return caught.value.param, caught.value.message


def test_without_a_secret_no_job_may_have_a_webhook() -> None:
    param, message = refusal("https://a.example/", WebhookSettings())
    assert param == "webhook"
    assert "IMAGEGEN_WEBHOOKS__SECRET" in message


@pytest.mark.parametrize("url", [*PRIVATE_URLS, *WRONG_URLS])
def test_the_error_for_a_refused_url_names_the_parameter(url: str) -> None:
    assert refusal(url, WebhookSettings(secret=SECRET))[0] == "webhook.url"
