"""One POST to a client's server: to a checked address, without redirects or proxies, within a bounded time."""

import asyncio
import email.utils
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from ssl import SSLContext

import httpx

from config.settings import WebhookSettings
from workers.net.public_address import PrivateAddress, Resolver
from workers.webhooks.url_check import TargetRefused, check_url, checked_addresses

_MOST_BODY_BYTES = 64 * 1024
_TRY_AGAIN = frozenset({408, 429})
_CONTENT = {"Content-Type": "application/json", "User-Agent": "imagegen-server", "Accept": "*/*"}


class Verdict(Enum):
    """What came of an attempt."""

    DELIVERED = "delivered"
    TRY_AGAIN = "try again"
    REFUSED = "refused"


@dataclass(frozen=True)
class Answer:
    """``reason`` is for the log; ``retry_after_s`` what the server asked for, None if nothing."""

    verdict: Verdict
    reason: str
    retry_after_s: float | None = None


class Sender:
    """Sends bodies; safe to use from several threads."""

    def __init__(
        self,
        settings: WebhookSettings,
        *,
        resolver: Resolver | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        ssl_context: SSLContext | None = None,
    ) -> None:
        """The last three are for tests: how names are resolved, what carries requests, which certificates count."""
        self._settings, self._resolver, self._transport = settings, resolver, transport
        self._ssl_context = ssl_context or httpx.create_ssl_context()

    def send(self, url: str, body: str, headers: dict[str, str]) -> Answer:
        """POST the body and return what came of it."""
        return asyncio.run(self._send(url, body, headers))

    async def _send(self, text: str, body: str, headers: dict[str, str]) -> Answer:
        answer: Answer | None = None
        try:
            # One limit for all of it: a server that sends a byte now and then would never reach httpx's own.
            async with asyncio.timeout(self._settings.timeout_s):
                url = check_url(text, allow_private=self._settings.allow_private)
                addresses = await asyncio.to_thread(
                    checked_addresses, url, allow_private=self._settings.allow_private, resolver=self._resolver
                )
                async with self._client(len(addresses)) as client:
                    response = await _post(client, url, addresses, body.encode(), headers)
                    answer = _judged(response)
                    await _read_a_little(response)
        except (TargetRefused, PrivateAddress, httpx.InvalidURL) as error:
            return Answer(Verdict.REFUSED, str(error))
        except TimeoutError:
            return answer or Answer(Verdict.TRY_AGAIN, f"no answer within {self._settings.timeout_s:g} s")
        except (httpx.TransportError, OSError) as error:
            return answer or Answer(Verdict.TRY_AGAIN, str(error) or type(error).__name__)
        return answer

    def _client(self, addresses: int) -> httpx.AsyncClient:
        # Without the environment's proxies: they would resolve the name themselves, after it was checked.
        return httpx.AsyncClient(
            verify=self._ssl_context,
            trust_env=False,
            follow_redirects=False,
            transport=self._transport,
            timeout=httpx.Timeout(self._settings.timeout_s, connect=self._settings.timeout_s / addresses),
        )


async def _post(
    client: httpx.AsyncClient, url: httpx.URL, addresses: list[str], body: bytes, headers: dict[str, str]
) -> httpx.Response:
    """Ask the first address that takes a connection; its body is unread."""
    name = url.raw_host.decode()
    for address in addresses:
        # The connection goes to the checked address, the certificate is checked for the name.
        request = client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers={"Host": url.netloc.decode(), **_CONTENT, **headers},
            extensions={"sni_hostname": name},
        )
        try:
            return await client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            if address == addresses[-1]:
                raise
    raise OSError(f"{name} has no address")


def _judged(response: httpx.Response) -> Answer:
    status = response.status_code
    reason = f"status {status}"
    if response.is_success:
        return Answer(Verdict.DELIVERED, reason)
    if status in _TRY_AGAIN or status >= 500:
        return Answer(Verdict.TRY_AGAIN, reason, _retry_after_s(response.headers.get("retry-after", "")))
    return Answer(Verdict.REFUSED, reason)


async def _read_a_little(response: httpx.Response) -> None:
    """Nothing in it matters; but a server that is cut off while it answers takes that for a failure."""
    size = 0
    with suppress(httpx.TransportError):
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size >= _MOST_BODY_BYTES:
                break
    await response.aclose()


def _retry_after_s(text: str) -> float | None:
    """Read a Retry-After header: seconds, or a date (RFC 9110, 10.2.3)."""
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
