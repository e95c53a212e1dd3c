"""Sends a webhook: one POST to a checked address of the client's server, without redirects or proxies."""

import asyncio
import email.utils
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from ssl import SSLContext

import httpx2

from config.settings import WebhookSettings
from workers.net.proxies import proxy_for, without_password
from workers.net.public_address import Resolver
from workers.webhooks.url_check import UrlRefused, check_url, resolve_url

_MOST_BODY_BYTES = 64 * 1024
# More than attempts at a time: the system's resolver gives a silent name server up later than an attempt ends.
_MOST_RESOLUTIONS = 128
_TRY_AGAIN = frozenset({408, 429})  # besides every 5xx
_CONTENT = {"Content-Type": "application/json", "User-Agent": "imagegen-server", "Accept": "*/*"}


class Verdict(Enum):
    """The result of an attempt."""

    DELIVERED = "delivered"
    TRY_AGAIN = "try again"
    REFUSED = "refused"


@dataclass(frozen=True)
class Answer:
    """The result of one POST. ``reason`` is for the log; ``retry_after_s`` is None without a Retry-After header."""

    verdict: Verdict
    reason: str
    retry_after_s: float | None = None


class WebhookSender:
    """Sends signed events; safe to use from several threads."""

    def __init__(
        self,
        settings: WebhookSettings,
        *,
        resolver: Resolver | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        ssl_context: SSLContext | None = None,
    ) -> None:
        """Tests replace the last three: the name resolution, the HTTP transport and the trusted certificates."""
        self._settings = settings
        self._resolver = resolver
        self._transport = transport
        # A pool of its own: asyncio.run waits for the threads of its loop, also for one whose name server is silent.
        self._resolvers = ThreadPoolExecutor(_MOST_RESOLUTIONS, thread_name_prefix="resolve")
        self._ssl_context = ssl_context or httpx2.create_ssl_context()

    def send(self, url: str, body: str, headers: dict[str, str]) -> Answer:
        """POST the body to ``url`` and return the result. It takes at most ``timeout_s`` of the settings."""
        return asyncio.run(self._send(url, body, headers))

    async def _send(self, text: str, body: str, headers: dict[str, str]) -> Answer:
        answer: Answer | None = None
        proxy: str | None = None
        try:
            # One time limit for the whole POST: a server that sends a byte now and then never exceeds the client's.
            async with asyncio.timeout(self._settings.timeout_s):
                url = check_url(text, allow_private=self._settings.allow_private)
                proxy = proxy_for(url) if self._settings.use_proxy else None
                # A proxy finds the name itself, and often no one else can.
                addresses = [url.host] if proxy else await self._resolved(url)
                async with self._client(len(addresses), proxy) as client:
                    response = await _post(client, url, addresses, body.encode(), headers)
                    answer = _answer(response)
                    await _discard_body(response)
        except (UrlRefused, httpx2.InvalidURL) as error:
            return Answer(Verdict.REFUSED, str(error))
        except TimeoutError:
            return answer or Answer(Verdict.TRY_AGAIN, f"no answer within {self._settings.timeout_s:g} s")
        except (httpx2.TransportError, OSError) as error:
            through = f", through the proxy {without_password(proxy)}" if proxy else ""
            return answer or Answer(Verdict.TRY_AGAIN, (str(error) or type(error).__name__) + through)
        return answer

    async def _resolved(self, url: httpx2.URL) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(self._resolvers, self._resolve, url)

    def _resolve(self, url: httpx2.URL) -> list[str]:
        return resolve_url(url, allow_private=self._settings.allow_private, resolver=self._resolver)

    def _client(self, addresses: int, proxy: str | None) -> httpx2.AsyncClient:
        # Without the environment's own choice: a proxy resolves the name again, after it was checked.
        return httpx2.AsyncClient(
            verify=self._ssl_context,
            trust_env=False,
            proxy=proxy,
            follow_redirects=False,
            transport=self._transport,
            timeout=httpx2.Timeout(self._settings.timeout_s, connect=self._settings.timeout_s / addresses),
        )


async def _post(
    client: httpx2.AsyncClient, url: httpx2.URL, addresses: list[str], body: bytes, headers: dict[str, str]
) -> httpx2.Response:
    """Send the request to the first address that accepts a connection, and return the response with its body unread."""
    name = url.raw_host.decode()
    for address in addresses:
        # Connect to the checked address, but verify the certificate for the name.
        request = client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers={"Host": url.netloc.decode(), **_CONTENT, **headers},
            extensions={"sni_hostname": name},
        )
        try:
            return await client.send(request, stream=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            if address == addresses[-1]:
                raise
    raise OSError(f"{name} has no address")


def _answer(response: httpx2.Response) -> Answer:
    status = response.status_code
    reason = f"status {status}"
    if response.is_success:
        return Answer(Verdict.DELIVERED, reason)
    if status in _TRY_AGAIN or status >= 500:
        return Answer(Verdict.TRY_AGAIN, reason, _retry_after_s(response.headers.get("retry-after", "")))
    return Answer(Verdict.REFUSED, reason)


async def _discard_body(response: httpx2.Response) -> None:
    """Read a bounded part of the body and drop it: a server whose answer is cut off records a failed delivery."""
    size = 0
    with suppress(httpx2.TransportError):
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size >= _MOST_BODY_BYTES:
                break
    await response.aclose()


def _retry_after_s(text: str) -> float | None:
    """Return the seconds of a Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3); None if neither."""
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
