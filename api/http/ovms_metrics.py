"""The metrics that OpenVINO Model Server has of image graphs, made of ours, so that its dashboards show numbers.

Names, labels and units are those of its docs/metrics.md. There, a request that is refused before a graph takes it is
rejected; here, too, and a graph's time is that of its job. Streamed answers are counted with the others.
"""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from workers.jobs.observe.metrics import DURATION_BOUNDS_S, by_label, histogram
from workers.jobs.observe.metrics_view import GraphFigures

# The metric of ours that counts refusals by graph (metrics.py).
REJECTED = "imagegen_requests_rejected"
_REQUEST_LABELS = ("api", "interface", "method", "name")
_US = 1e6


def ovms_metrics(graphs: Mapping[str, GraphFigures], ours: Iterable[Metric]) -> Iterator[Metric]:
    """Yield the families. ``ours`` are the metrics that the API's processes count themselves."""
    rejected = {
        sample.labels["graph"]: sample.value
        for family in ours
        for sample in family.samples
        if sample.name == f"{REJECTED}_total"
    }
    accepted = {name: _count(figures, "submitted") + _count(figures, "joined") for name, figures in graphs.items()}
    responses = {name: _count(figures, "completed") + _failures(figures) for name, figures in graphs.items()}
    yield _by_request("ovms_requests_accepted", "Requests that a graph took.", accepted)
    yield _by_request("ovms_requests_rejected", "Requests for a graph that were refused.", rejected)
    yield _by_request("ovms_responses", "Jobs of a graph that ended with images or with an error.", responses)
    current = GaugeMetricFamily("ovms_current_graphs", "Jobs that a worker draws now.", labels=("name",))
    errors = CounterMetricFamily("ovms_graph_error", "Jobs that ended with an error.", labels=_REQUEST_LABELS)
    for name, figures in graphs.items():
        current.add_metric((name,), figures.running)
        errors.add_metric(_labels(name), _failures(figures))
    yield from (current, errors)
    yield _histogram("ovms_graph_processing_time_us", "A completed job's time inside the runtime.", "generate", graphs)
    latency = "From a completed job's submission to its end."
    yield _histogram("ovms_graph_request_latency_us", latency, "job", graphs)


def _count(figures: GraphFigures, field: str) -> int:
    return figures.counts.get(field, 0)


def _failures(figures: GraphFigures) -> int:
    return sum(by_label(figures.counts, "failed").values())


def _labels(name: str) -> tuple[str, ...]:
    return ("V3", "REST", "Unary", name)


def _by_request(name: str, documentation: str, counts: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=_REQUEST_LABELS)
    for graph, count in counts.items():
        family.add_metric(_labels(graph), count)
    return family


def _histogram(name: str, documentation: str, field: str, graphs: Mapping[str, GraphFigures]) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=("method", "name"))
    for graph, figures in graphs.items():
        found = histogram(figures.counts, field, DURATION_BOUNDS_S)
        buckets = [(bound if bound == "+Inf" else f"{float(bound) * _US:.0f}", count) for bound, count in found.buckets]
        family.add_metric(("Unary", graph), buckets, found.sum_s * _US)
    return family
