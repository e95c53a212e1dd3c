"""The access log: one line for each HTTP request, counted for ``/metrics`` at the same place. Plain ASGI."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.metrics import HttpMetrics
from api.http.proxies import path_here
from config.log_context import log_from_here_with

# The prefixes of the routers' paths.
PREFIXES = ("/v3", "/v1")

log = logging.getLogger("api.access")

# Machines request these every few seconds; they are logged as DEBUG.
_PROBES = ("/v2/health/", "/metrics")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# nginx's status for a client that disconnected before it got an answer.
_CLIENT_DISCONNECTED = 499


class AccessLogMiddleware:
    """Logs and counts each request once its answer is sent. The route's template is logged instead of the path, which
    may hold a secret (signed URLs)."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = _CLIENT_DISCONNECTED

        async def send_and_keep_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_keep_status)
        finally:
            self._record(scope, status, time.perf_counter() - began)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = route_of(scope)
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.seconds.labels(method, route).observe(seconds)
        if job_id := scope.get("path_params", {}).get("job_id"):
            log_from_here_with(job_id=str(job_id)[:64])
        level = logging.DEBUG if route.startswith(_PROBES) else logging.INFO
        fields = {"method": method, "route": route, "status": status, "duration_s": round(seconds, 6)}
        request_id = scope["state"]["request_id"]
        log.log(level, "%s %s %d in %.3f s (%s)", method, route, status, seconds, request_id, extra=fields)


def route_of(scope: Scope) -> str:
    """Return the path of the route with the names of its parameters, such as ``/v3/images/jobs/{job_id}``."""
    path = getattr(scope.get("route"), "path", None)
    if not isinstance(path, str):
        return "none"
    here = path_here(scope)
    prefix = next((prefix for prefix in PREFIXES if here.startswith(f"{prefix}/")), "")
    return path if path.startswith(f"{prefix}/") else prefix + path
