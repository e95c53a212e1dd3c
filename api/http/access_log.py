"""What every HTTP request leaves behind: a line in the log, and counts for ``/metrics``. Plain ASGI."""

import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.log_context import log_from_here_with
from workers.jobs.observe.metrics import DURATION_BOUNDS_S

# Where the routers stand.
PREFIXES = ("/v3", "/v1")

log = logging.getLogger("api.access")

# Twice as many series, for what Prometheus sees itself.
disable_created_metrics()  # type: ignore[no-untyped-call]

# Asked every few seconds by machines; no news.
_PROBES = ("/v2/health/", "/metrics")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# nginx's number for a client that left before it was answered.
_CLIENT_LEFT = 499
_BUCKETS = (0.005, 0.025, *DURATION_BOUNDS_S)


class HttpMetrics:
    """What this process counts itself: Redis may be away, and never sees a request that was refused.

    With ``PROMETHEUS_MULTIPROC_DIR`` set (prometheus-client's own variable; ``shared`` is its value), the API processes
    of one machine count in files there, and each of them tells the sum.
    """

    def __init__(self, shared: Path | None) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "imagegen_http_requests",
            "Answers by route and status.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "imagegen_http_request_seconds",
            "From a request's first byte to its answer's last, waiting for the picture included.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.errors = Counter(
            "imagegen_http_errors",
            "Requests that were refused or failed, by error code.",
            ("code",),
            registry=self._registry,
        )
        self._told: Any = self._registry
        if shared is None:
            ProcessCollector(registry=self._registry)
        else:
            self._told = MultiProcessCollector(CollectorRegistry(), path=str(shared))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        """Yield the families of metrics, as prometheus-client has them."""
        yield from self._told.collect()


class AccessLog:
    """Logs and counts each request once its answer is sent. Routes are logged as they are written in the code: an
    address may be a secret (signed URLs)."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), _CLIENT_LEFT

        async def send_noting_the_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting_the_status)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
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


def route_of(scope: Mapping[str, Any]) -> str:
    """Return the route's path with its parameters' names, such as ``/v3/images/jobs/{job_id}``."""
    path = getattr(scope.get("route"), "path", None)
    if not isinstance(path, str):
        return "none"
    prefix = next((prefix for prefix in PREFIXES if scope["path"].startswith(f"{prefix}/")), "")
    return path if path.startswith(f"{prefix}/") else prefix + path
