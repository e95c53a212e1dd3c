"""All metrics of ``/metrics``: those of HTTP, which each process counts itself, and those of the queue, from Redis.

docs/metrics.md explains every name.
"""

from collections import Counter as Counts
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from api.http.wrong_keys import WrongKeyAnswer
from workers.jobs.observe.metrics import DURATION_BOUNDS_S, STAGE_BOUNDS_S, STAGES, by_label, histogram
from workers.jobs.observe.metrics_view import GraphFigures, KeptFigures, MetricsSnapshot
from workers.jobs.observe.presence import STAGES_OF_WORKERS, WorkerPresence
from workers.jobs.queue_bounds import QueueBounds

# Drop the `_created` series, which double the number of series; Prometheus detects a restart without them.
disable_created_metrics()  # type: ignore[no-untyped-call]

_LONGEST_LABEL = 300
_REQUEST_BUCKETS = (0.005, 0.025, *DURATION_BOUNDS_S)
_LAG_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
# Reported from the start, as those below.
_REFUSALS = (
    "answer_not_taken",
    "body_after_answer",
    "connection_displaced",
    "headers_too_large",
    "headers_too_slow",
    "invalid_http",
    "silent",
    "too_many_connections",
)
# The counters that the Lua scripts keep for each graph: field -> (name, help).
_COUNTERS = {
    "submitted": ("imagegen_jobs_submitted", "Jobs that were accepted into the queue."),
    "joined": ("imagegen_jobs_joined", "Requests that joined a job that was there: retries, idempotency keys."),
    "attempts": ("imagegen_job_attempts", "Times that a worker began to run a job."),
    "completed": ("imagegen_jobs_completed", "Jobs that ended with their images."),
    "reaped": (
        "imagegen_jobs_reaped",
        "Times that a job whose lease ran out went back to its place in the queue.",
    ),
    "crashes": ("imagegen_worker_crashes", "Times that a worker's child process died while it ran a job."),
    "images": ("imagegen_images", "Images drawn."),
    "one_value_images": ("imagegen_one_value_jobs", "Completed jobs with an image of one single value."),
    "pixels": ("imagegen_pixels", "Pixels of these images."),
    "adapter_switches": ("imagegen_adapter_switches", "Jobs that wanted other adapters than the one before them."),
}
# Counters with a label, one field for each of its values: prefix of the fields -> (name, help, label).
_LABELLED = {
    "failed": ("imagegen_jobs_failed", "Jobs that ended with an error, by its code.", "code"),
    "cancelled": ("imagegen_jobs_cancelled", "Jobs that ended without an image and without an error.", "reason"),
    "device_faults": (
        "imagegen_device_faults",
        "Times that a device did not draw its known picture any more, by what a job met.",
        "trouble",
    ),
    "replaced": ("imagegen_worker_replacements", "Times that a worker ended its child to load a new one.", "reason"),
}
_DURATIONS = {
    "wait": ("imagegen_queue_wait_seconds", "From a job's submission to its first attempt."),
    "job": ("imagegen_job_seconds", "From a completed job's submission to its end."),
    "generate": ("imagegen_generate_seconds", "A completed job's time inside the runtime."),
}
# These values of the labels are reported from the start: an alert on a rate needs a zero to start from.
_ALWAYS = {
    "failed": ("generation_failed", "worker_crashed"),
    "cancelled": ("requested", "deadline_exceeded", "ended_in_step", "erased"),
    "replaced": ("step_grace", "memory", "device", "hanging"),
    "device_faults": ("runtime_error", "not_finite", "one_value"),
}


class HttpMetrics:
    """The metrics that this process counts itself: Redis may be away, and refused requests never reach it.

    With the setting ``http.metrics_folder`` (``shared``), the API processes of one machine count in files there, and
    each of them reports the sum.
    """

    def __init__(self, shared: Path | None) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter(
            "imagegen_http_requests", "Answers by route and status.", labels, registry=self._registry
        )
        self.connections_refused = Counter(
            "imagegen_connections_refused",
            "Connections that were refused or closed before their request was known, by reason.",
            ("reason",),
            registry=self._registry,
        )
        for reason in _REFUSALS:
            self.connections_refused.labels(reason)
        self.wrong_keys = Counter(
            "imagegen_wrong_keys", "Wrong API keys, by how they were answered.", ("answer",), registry=self._registry
        )
        for answer in WrongKeyAnswer:
            self.wrong_keys.labels(answer)
        self.ignored_parameters = Counter(
            "imagegen_ignored_parameters",
            "Parameters of other services that were left out of requests.",
            ("parameter",),
            registry=self._registry,
        )
        refused = "Requests for a graph that were refused."
        self.rejected = Counter("imagegen_requests_rejected", refused, ("graph",), registry=self._registry)
        self.loop_lag = Histogram(
            "imagegen_event_loop_lag_seconds",
            "By how much the event loop was late, twice a second.",
            buckets=_LAG_BUCKETS,
            registry=self._registry,
        )
        self.seconds = Histogram(
            "imagegen_http_request_seconds",
            "From a request's first byte to its answer's last, waiting for the image included.",
            ("method", "route"),
            buckets=_REQUEST_BUCKETS,
            registry=self._registry,
        )
        self.errors = Counter(
            "imagegen_http_errors",
            "Requests that were refused or failed, by error code.",
            ("code",),
            registry=self._registry,
        )
        self._reported: Any = self._registry
        if shared is None:
            ProcessCollector(registry=self._registry)
        else:
            self._reported = MultiProcessCollector(CollectorRegistry(), path=str(shared))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        yield from self._reported.collect()


@dataclass(frozen=True)
class QueueMetrics:
    """The queue's metrics of one scrape. ``devices``: by served graph; ``snapshot`` None: Redis did not answer.

    ``bounds`` are those of each graph's queue. ``failed`` is the number of configured models that cannot be served.
    """

    snapshot: MetricsSnapshot | None
    devices: Mapping[str, str]
    bounds: QueueBounds
    failed: int = 0

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families: without a snapshot only those that need no Redis."""
        failed = "Configured models that cannot be served; the API's log and `imagegen doctor` say why."
        yield GaugeMetricFamily("imagegen_models_failed", failed, value=self.failed)
        up = 0 if self.snapshot is None else 1
        yield GaugeMetricFamily("imagegen_redis_up", "Whether Redis answered this scrape.", value=up)
        if self.snapshot is None:
            return
        yield from _of_redis(self.snapshot)
        yield from _of_kept(self.snapshot.kept)
        yield from _of_workers(self.snapshot, self.devices)
        yield from _of_queues(self.snapshot.graphs, self.bounds)
        yield from _counters(self.snapshot.graphs)
        yield from _histograms(self.snapshot.graphs)


def _of_redis(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    used = snapshot.memory_bytes
    limit = snapshot.max_memory_bytes
    yield GaugeMetricFamily("imagegen_redis_memory_bytes", "Memory that Redis uses.", value=used)
    yield GaugeMetricFamily("imagegen_redis_memory_limit_bytes", "Its maxmemory; 0: none.", value=limit)
    pending = "Webhooks that are still to be delivered."
    yield GaugeMetricFamily("imagegen_webhook_deliveries_pending", pending, value=snapshot.deliveries)


def _of_kept(kept: KeptFigures) -> Iterator[Metric]:
    family = GaugeMetricFamily("imagegen_kept_bytes", "What Redis keeps of jobs, as it is counted.", labels=("state",))
    family.add_metric(("unfinished",), kept.unfinished_bytes)
    family.add_metric(("ended",), kept.ended_bytes)
    yield family
    yield GaugeMetricFamily("imagegen_kept_jobs", "Ended jobs whose records are kept.", value=kept.ended_jobs)
    largest = "Ended jobs of the owner who keeps the most."
    yield GaugeMetricFamily("imagegen_kept_largest_owner_bytes", largest, value=kept.largest_owner_bytes)
    evicted = CounterMetricFamily(
        "imagegen_jobs_evicted", "Ended jobs that went before their time.", labels=("reason",)
    )
    for reason, count in kept.evicted.items():
        evicted.add_metric((reason,), count)
    yield evicted


def _of_workers(snapshot: MetricsSnapshot, devices: Mapping[str, str]) -> Iterator[Metric]:
    live = Counts({served: 0 for served in devices.items()})
    live.update((worker.graph, worker.device) for worker in snapshot.workers if not worker.error)
    ready = Counts((worker.graph, worker.device) for worker in snapshot.workers if worker.ready)
    for name, documentation, counted in (
        ("imagegen_workers_live", "Workers that gave a sign of life in the last 15 s.", live),
        ("imagegen_workers_ready", "Of these, workers that have loaded their model.", ready),
    ):
        family = GaugeMetricFamily(name, documentation, labels=("graph", "device"))
        for labels in sorted(live):
            family.add_metric(labels, counted[labels])
        yield family
    yield from _of_children(snapshot.workers)


def _of_children(workers: Sequence[WorkerPresence]) -> Iterator[Metric]:
    stages = GaugeMetricFamily(
        "imagegen_workers_in_stage", "Workers by what their children do.", labels=("graph", "device", "stage")
    )
    places = sorted({(worker.graph, worker.device) for worker in workers})
    found = Counts((worker.graph, worker.device, worker.stage) for worker in workers)
    for place in places:
        for stage in STAGES_OF_WORKERS:
            stages.add_metric((*place, stage), found[(*place, stage)])
    yield stages
    errors = GaugeMetricFamily(
        "imagegen_worker_last_error_timestamp_seconds",
        "When a worker's child met its last error, which is a label.",
        labels=("graph", "device", "error"),
    )
    last: dict[tuple[str, str, str], float] = {}
    for worker in workers:
        if worker.last_error and worker.last_error_at:
            labels = (worker.graph, worker.device, worker.last_error[:_LONGEST_LABEL])
            last[labels] = max(worker.last_error_at, last.get(labels, 0.0))
    for labels, moment in sorted(last.items()):
        errors.add_metric(labels, moment)
    yield errors


def _of_queues(graphs: Mapping[str, GraphFigures], bounds: QueueBounds) -> Iterator[Metric]:
    queued = GaugeMetricFamily("imagegen_jobs_queued", "Jobs that wait.", labels=("graph",))
    limit = "How many may wait; more requests get status 429."
    jobs_limit = GaugeMetricFamily("imagegen_jobs_queued_limit", limit, labels=("graph",))
    queued_bytes = GaugeMetricFamily("imagegen_jobs_queued_bytes", "Size of the jobs that wait.", labels=("graph",))
    bytes_limit = GaugeMetricFamily(
        "imagegen_jobs_queued_bytes_limit", f"The same in bytes. {limit}", labels=("graph",)
    )
    running = GaugeMetricFamily("imagegen_jobs_running", "Jobs that a worker holds.", labels=("graph",))
    oldest = GaugeMetricFamily(
        "imagegen_queue_oldest_wait_seconds", "Since when the job waits that was submitted first.", labels=("graph",)
    )
    for graph, figures in graphs.items():
        queued.add_metric((graph,), figures.queued)
        jobs_limit.add_metric((graph,), bounds.jobs)
        queued_bytes.add_metric((graph,), figures.queued_bytes)
        bytes_limit.add_metric((graph,), bounds.bytes)
        running.add_metric((graph,), figures.running)
        oldest.add_metric((graph,), figures.oldest_wait_s)
    yield from (queued, jobs_limit, queued_bytes, bytes_limit, running, oldest)


def _counters(graphs: Mapping[str, GraphFigures]) -> Iterator[Metric]:
    for field, (name, documentation) in _COUNTERS.items():
        family = CounterMetricFamily(name, documentation, labels=("graph",))
        for graph, figures in graphs.items():
            family.add_metric((graph,), figures.counts.get(field, 0))
        yield family
    for prefix, (name, documentation, label) in _LABELLED.items():
        family = CounterMetricFamily(name, documentation, labels=("graph", label))
        for graph, figures in graphs.items():
            known = dict.fromkeys(_ALWAYS[prefix], 0)
            for value, count in {**known, **by_label(figures.counts, prefix)}.items():
                family.add_metric((graph, value), count)
        yield family


def _histograms(graphs: Mapping[str, GraphFigures]) -> Iterator[Metric]:
    for field, (name, documentation) in _DURATIONS.items():
        family = HistogramMetricFamily(name, documentation, labels=("graph",))
        for graph, figures in graphs.items():
            found = histogram(figures.counts, field, DURATION_BOUNDS_S)
            family.add_metric((graph,), found.buckets, found.sum_s)
        yield family
    family = HistogramMetricFamily(
        "imagegen_stage_seconds",
        "Where a completed job's time went; each denoising step counts.",
        labels=("graph", "stage"),
    )
    for graph, figures in graphs.items():
        for stage in STAGES:
            found = histogram(figures.counts, f"stage/{stage}", STAGE_BOUNDS_S)
            family.add_metric((graph, stage), found.buckets, found.sum_s)
    yield family
