"""`/v2` and `/v2/models`, as clients of KServe and of OpenVINO Model Server ask."""

from tests.api.api_support import Api, error_of
from tests.support.polling import wait_until
from tests.workers.jobs.jobs_support import GRAPH, Upkeep
from workers.jobs.observe.presence import WorkerPresence

WORKER = WorkerPresence("w", GRAPH, "CPU", ready=True, operations=("generation",), seen_at=0.0)


def test_the_server_says_what_it_is(api: Api) -> None:
    found = api.http.get("/v2").json()
    assert (found["name"], found["extensions"]) == ("imagegen-server", [])
    assert found["version"].count(".") == 2


def test_a_model_is_described_and_ready_once_a_worker_has_loaded_it(api: Api) -> None:
    assert api.http.get(f"/v2/models/{GRAPH}").json() == {
        "name": GRAPH,
        "versions": ["1"],
        "platform": "OpenVINO",
        "inputs": [],
        "outputs": [],
    }
    assert error_of(api.http.get(f"/v2/models/{GRAPH}/ready"), 503)["code"] == "not_ready"
    Upkeep(api.redis).heartbeat(WORKER)
    wait_until(
        lambda: api.http.get(f"/v2/models/{GRAPH}/ready").status_code == 200, "what was read a moment ago is old"
    )
    assert api.http.get(f"/v2/models/{GRAPH}/ready").json() == {"name": GRAPH, "ready": True}


def test_an_unknown_model_is_not_found(api: Api) -> None:
    for path in ("/v2/models/none", "/v2/models/none/ready", "/v2/models/"):
        assert api.http.get(path).status_code == 404
