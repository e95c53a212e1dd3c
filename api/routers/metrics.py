"""``/metrics`` for Prometheus: the queue's figures out of Redis, and this process's own."""

import asyncio
import logging
from collections.abc import Iterator
from itertools import chain

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.http.access_log import HttpMetrics
from api.http.auth import KeyOwner
from api.http.dependencies import Service
from api.http.errors import documented
from api.http.metrics import QueueMetrics
from api.service import ImageService
from graphs.errors import AuthenticationFailed, ServiceUnavailable
from workers.jobs.observe.metrics import Snapshot

log = logging.getLogger(__name__)

router = APIRouter(tags=["health"])

# Prometheus gives up after 10 s: without Redis the process's own figures are there sooner.
_PATIENCE_S = 2.0


@router.get("/metrics", response_class=PlainTextResponse, responses=documented(AuthenticationFailed))
async def metrics(request: Request, _: KeyOwner, service: Service) -> Response:
    """Tell Prometheus how the service does. Where the server has API keys, this needs one."""
    http: HttpMetrics = request.app.state.http_metrics
    queue = QueueMetrics(await _snapshot(service), service.devices)
    # Both are written in a thread: sums over processes are read from files.
    text = await asyncio.to_thread(generate_latest, _Both(queue, http))
    return Response(text, media_type=None, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


async def _snapshot(service: ImageService) -> Snapshot | None:
    """What Redis tells, or None where it does not answer soon."""
    looking = asyncio.create_task(service.metrics.read(list(service.devices)))
    await asyncio.wait({looking}, timeout=_PATIENCE_S)
    if not looking.done():
        looking.add_done_callback(lambda late: late.cancelled() or late.exception())
        looking.cancel()
        return None
    try:
        return looking.result()
    except ServiceUnavailable as error:
        log.debug("metrics without Redis: %s", error)
        return None


class _Both(Collector):
    def __init__(self, queue: QueueMetrics, http: HttpMetrics) -> None:
        self._queue, self._http = queue, http

    def collect(self) -> Iterator[Metric]:
        return chain(self._queue.collect(), self._http.collect())
