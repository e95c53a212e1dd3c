"""Which web pages may use the API: browsers send requests of any page, so the server must tell whose they are.

Two things are checked. Without API keys, the name under which the server is asked (Host): a page whose name is made to
point at this machine (DNS rebinding) counts as a page of this server for the browser, but its name shows in Host. And,
for requests that change something, the page's origin: browsers send some of them without asking (CORS "simple
requests"), and though the page cannot read the answer, the work is done. Browsers say in Sec-Fetch-Site (W3C Fetch
Metadata) or Origin (RFC 6454) whose page it is. Clients that are no browsers send neither and are not affected.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.errors import HeadersTooLarge, HostNotAllowed, OriginNotAllowed, error_response
from config.http_settings import ConnectionSettings, HttpSettings
from config.settings import Settings
from graphs.errors import ImagegenError

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_OWN_PAGES = (b"same-origin", b"none")
_EXPOSED = ("X-Request-Id", "Location", "Retry-After", "openai-poll-after-ms", "x-imagegen-warnings")
# Names that no one can register, so that no page on the internet has one of them (RFC 6762, RFC 8375, ICANN's
# .internal, and what container platforms and home routers use).
_LOCAL_ENDINGS = (".localhost", ".local", ".internal", ".lan", ".svc", ".home.arpa")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class HostRules:
    """The names under which a server without keys answers."""

    def __init__(self, allowed: str | None, http: HttpSettings) -> None:
        """``allowed``: names separated by commas, of which ``*.NAME`` and ``*`` stand for several."""
        own = (host.lower() for host in http.bind_addresses)
        names = [*_listed(allowed), *own, urlsplit(http.public_url or "").hostname or ""]
        self._all = "*" in names
        self._names = frozenset(names)
        self._endings = tuple(name[1:] for name in names if name.startswith("*."))

    def allow(self, host: str) -> bool:
        """Return whether the server answers under this Host header; an absent one comes from no browser."""
        if not host or self._all:
            return True
        name = _host_name(host)
        return (
            "." not in name
            or name.endswith(_LOCAL_ENDINGS)
            or name in self._names
            or (bool(self._endings) and name.endswith(self._endings))
            or _is_address(name)
        )


class OriginRules:
    """The origins whose pages may change something."""

    def __init__(self, allowed: str | None, public_url: str | None) -> None:
        """``allowed``: origins separated by commas, or ``*``."""
        self._allowed = frozenset(_listed(allowed))
        self._public_host = urlsplit(public_url).netloc.lower() if public_url else ""

    def allow(self, headers: Mapping[bytes, bytes], *, is_from_proxy: bool) -> bool:
        """Return whether a request with these headers may change something; from a proxy its X-Forwarded-Host counts.

        A request without Sec-Fetch-Site and Origin comes from no browser.
        """
        site = headers.get(b"sec-fetch-site")
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if site in _OWN_PAGES or "*" in self._allowed or origin in self._allowed:
            return True
        if site == b"cross-site":
            return False
        if not origin:
            return site is None
        hosts = [headers.get(b"host", b"").decode("latin-1").lower(), self._public_host]
        if is_from_proxy:
            hosts.append(headers.get(b"x-forwarded-host", b"").decode("latin-1").lower().partition(",")[0].strip())
        return _is_one_of(origin, hosts)


class WebMiddleware:
    """Refuses requests with too many headers, under foreign names, and of foreign pages."""

    def __init__(self, app: ASGIApp, settings: Settings, *, is_open: bool) -> None:
        """``is_open``: the server has no keys."""
        self._app = app
        self._limits: ConnectionSettings = settings.connections
        self._hosts = HostRules(settings.web.allowed_hosts, settings.http) if is_open else None
        self._origins = OriginRules(settings.web.allowed_origins, settings.http.public_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        error = self._refusal(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await error_response(error, scope)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ImagegenError | None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        size_bytes = len(scope["raw_path"]) + len(scope["query_string"])
        if len(headers) > self._limits.max_headers or size_bytes > self._limits.max_header_bytes:
            return HeadersTooLarge()
        if size_bytes + sum(len(name) + len(value) for name, value in headers) > self._limits.max_header_bytes:
            return HeadersTooLarge()
        found = dict(headers)
        if self._hosts is not None and not self._hosts.allow(found.get(b"host", b"").decode("latin-1")):
            return HostNotAllowed()
        if scope["method"] in _SAFE_METHODS:
            return None
        is_from_proxy = scope["state"].get("is_from_proxy", False)
        return None if self._origins.allow(found, is_from_proxy=is_from_proxy) else OriginNotAllowed()


def add_cors(app: FastAPI, settings: Settings) -> None:
    """Let pages of the allowed origins read answers, where there are any."""
    web = settings.web
    if web.allowed_origins is None:
        return
    app.add_middleware(
        CORSMiddleware,
        allow_origins=_listed(web.allowed_origins),
        allow_methods=[method.upper() for method in _listed(web.allowed_methods)],
        allow_headers=_listed(web.allowed_headers),
        allow_credentials=web.allow_credentials,
        expose_headers=_EXPOSED,
        allow_private_network=True,
    )


def _listed(text: str | None) -> list[str]:
    return [part.strip().lower().rstrip("/") for part in (text or "").split(",") if part.strip()]


def _host_name(host: str) -> str:
    """Return the name in a Host header, without its port and the dot at its end."""
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    return name.lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_one_of(origin: str, hosts: list[str]) -> bool:
    """Return whether an origin (``scheme://host:port``) is that of one of these hosts, with or without its port."""
    scheme, _, host = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    if port is None:
        return False
    return host.removesuffix(port) in [other.removesuffix(port) for other in hosts if other]
