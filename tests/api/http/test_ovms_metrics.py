"""The series of OpenVINO Model Server, as its dashboards ask for them."""

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from api.http.ovms_metrics import ovms_metrics
from tests.api.api_support import Api
from workers.jobs.observe.metrics import DURATION_BOUNDS_S, observation
from workers.jobs.observe.metrics_view import GraphFigures


def _figures(**counts: int) -> GraphFigures:
    return GraphFigures(queued=3, queued_bytes=9, running=2, oldest_wait_s=1.0, counts=counts)


def _samples(families: "list[Metric]") -> dict[str, float]:
    return {
        sample.name
        + "{"
        + ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
        + "}": sample.value
        for family in families
        for sample in family.samples
    }


def test_they_follow_from_ours() -> None:
    counts = {"submitted": 5, "joined": 1, "completed": 3, "failed:generation_failed": 1, "failed:worker_crashed": 1}
    counts |= observation("generate", DURATION_BOUNDS_S, [0.2])
    found = _samples(list(ovms_metrics({"demo": _figures(**counts)}, [])))
    request = "{api=V3,interface=REST,method=Unary,name=demo}"
    assert found[f"ovms_requests_accepted_total{request}"] == 6
    assert found[f"ovms_responses_total{request}"] == 5
    assert found[f"ovms_graph_error_total{request}"] == 2
    assert found["ovms_current_graphs{name=demo}"] == 2
    assert found["ovms_graph_processing_time_us_sum{method=Unary,name=demo}"] == 200_000
    assert found["ovms_graph_processing_time_us_bucket{le=250000,method=Unary,name=demo}"] == 1


def test_they_are_there_only_if_the_setting_asks_for_them(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ovms_" not in api.http.get("/metrics").text
    monkeypatch.setitem(api.app.state.settings.http.__dict__, "ovms_metrics", True)
    before = _reported(api)
    assert api.http.post("/v3/images/generations", json={"prompt": "a", "size": "7x7"}).status_code == 400
    after = _reported(api)
    request = "{api=V3,interface=REST,method=Unary,name=demo}"
    rejected = f"ovms_requests_rejected_total{request}"
    assert after[rejected] == before.get(rejected, 0) + 1
    assert after[f"ovms_requests_accepted_total{request}"] == 0


def _reported(api: Api) -> dict[str, float]:
    return _samples(list(text_string_to_metric_families(api.http.get("/metrics").text)))
