"""Liveness and readiness probes."""

from tests.api.api_support import Api, error_of
from tests.workers.jobs.jobs_support import GRAPH, Upkeep
from workers.jobs.observe.presence import WorkerPresence

WORKER = WorkerPresence("w", GRAPH, "CPU", ready=True, operations=("generation", "edit", "inpainting"), seen_at=0.0)


def test_the_process_is_alive(api: Api) -> None:
    answer = api.http.get("/v2/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


def test_ready_means_a_worker_has_loaded(api: Api) -> None:
    upkeep = Upkeep(api.redis)
    for presence in (None, WORKER.__class__(**{**WORKER.__dict__, "ready": False})):
        if presence:
            upkeep.heartbeat(presence)
        error = error_of(api.http.get("/v2/health/ready"), 503)
        assert (error["code"], "demo" in error["message"]) == ("not_ready", True)
    upkeep.heartbeat(WORKER)
    assert api.http.get("/v2/health/ready").json() == {"status": "ready"}
    upkeep.leave("w")
    assert api.http.get("/v2/health/ready").status_code == 503
