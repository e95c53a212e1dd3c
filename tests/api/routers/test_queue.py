"""``images/queue``: what waits, and what the workers do."""

from tests.api.api_support import Api
from tests.workers.jobs.jobs_support import GRAPH, Upkeep
from workers.jobs.observe.presence import WorkerPresence


def test_it_shows_queues_and_workers_without_names_of_machines(api: Api) -> None:
    api.submitted()
    presence = WorkerPresence(
        "machine/1", GRAPH, "GPU.0", ready=False, operations=(), seen_at=0.0, stage="resting", last_error="Bad."
    )
    Upkeep(api.redis).heartbeat(presence)
    answer = api.http.get("/v3/images/queue").json()
    (graph,) = answer["data"]
    assert answer["object"] == "list"
    assert (graph["model"], graph["queued"], graph["queued_limit"], graph["running"]) == (GRAPH, 1, 1000, 0)
    assert graph["oldest_wait_seconds"] >= 0
    worker = {"device": "GPU.0", "ready": False, "stage": "resting", "last_error": "Bad.", "last_error_at": None}
    assert graph["workers"] == [worker]
