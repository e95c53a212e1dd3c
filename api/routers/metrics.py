"""``/metrics`` for Prometheus: the metrics of the queue, read from Redis, and those of this process."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from itertools import chain

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.http.dependencies import KeyOwner, Service
from api.http.errors import documented
from api.http.metrics import HttpMetrics, QueueMetrics
from api.http.ovms_metrics import ovms_metrics
from api.service import ImageService
from graphs.errors import AuthenticationFailed, ServiceUnavailable
from workers.jobs.observe.metrics_view import GraphFigures, MetricsSnapshot

log = logging.getLogger(__name__)

router = APIRouter(tags=["health"])

# Prometheus waits for 10 s; without Redis, the process's own metrics must arrive before that.
_REDIS_TIMEOUT_S = 2.0


@router.get("/metrics", response_class=PlainTextResponse, responses=documented(AuthenticationFailed))
async def metrics(request: Request, _: KeyOwner, service: Service) -> Response:
    """Return the metrics for Prometheus. Where the server has API keys, this needs one."""
    http: HttpMetrics = request.app.state.http_metrics
    snapshot = await _snapshot(service)
    queue = QueueMetrics(snapshot, service.devices, service.queue_bounds, service.failed_count(snapshot))
    graphs = snapshot.graphs if snapshot and request.app.state.settings.http.ovms_metrics else None
    # In a thread, since the sums over several processes are read from files.
    text = await asyncio.to_thread(generate_latest, _All(queue, http, graphs))
    return Response(text, media_type=None, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


async def _snapshot(service: ImageService) -> MetricsSnapshot | None:
    """Return the figures in Redis, or None where it does not answer in time."""
    reading = asyncio.create_task(service.queue_figures())
    await asyncio.wait({reading}, timeout=_REDIS_TIMEOUT_S)
    if not reading.done():
        # The exception of a late answer must be retrieved, or asyncio logs it.
        reading.add_done_callback(lambda late: late.cancelled() or late.exception())
        reading.cancel()
        return None
    try:
        return reading.result()
    except ServiceUnavailable as error:
        log.debug("metrics without Redis: %s", error)
        return None


class _All(Collector):
    """All metrics; ``graphs``, if any, are those whose figures Model Server's series are made of."""

    def __init__(self, queue: QueueMetrics, http: HttpMetrics, graphs: Mapping[str, GraphFigures] | None) -> None:
        self._queue = queue
        self._http = http
        self._graphs = graphs

    def collect(self) -> Iterator[Metric]:
        ours = list(self._http.collect())
        yield from chain(self._queue.collect(), ours)
        if self._graphs is not None:
            yield from ovms_metrics(self._graphs, ours)
