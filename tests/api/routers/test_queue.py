"""``images/queue``: what waits, and what the workers do."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from config.settings import RedisSettings
from tests.api.api_support import Api, error_of, serving, settings_for
from tests.security.owners import ADMIN, BODY, JOBS, KEYS, ONE, TWO, get, put, write_keys
from tests.support.redis_keys import keys
from tests.support.redis_server import RunningRedis
from tests.workers.jobs.jobs_support import GRAPH, Upkeep, claims_of, client
from workers.jobs.observe.presence import WorkerActivity, WorkerPresence

QUEUE = "/v3/images/queue"


@pytest.fixture(scope="module")
def shared_keyed(redis_server: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    labelled = [f"{key} label={key.removesuffix('-key')}" for key in KEYS]
    path = write_keys(tmp_path_factory.mktemp("keys") / "keys", *labelled)
    with serving(settings_for(redis_server.settings, {"api_key_file": path})) as running:
        yield running


@pytest.fixture
def keyed(shared_keyed: Api, redis_settings: RedisSettings) -> Api:
    """An API with an administrator and two other owners, whose keys have labels, and an empty Redis."""
    assert shared_keyed.redis == redis_settings
    return shared_keyed


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
    assert graph["paused_at"] is None
    worker = {"device": "GPU.0", "ready": False, "stage": "resting", "last_error": "Bad.", "last_error_at": None}
    assert graph["workers"] == [worker]


def test_of_a_paused_queue_no_job_begins_until_it_is_resumed(keyed: Api) -> None:
    put(keyed, "mine", ONE)
    messages = keys.messages(GRAPH, keyed.http.get(f"/v3/models/{GRAPH}", headers=ONE).json()["digest"])
    changed = [keyed.http.post(f"{QUEUE}/pause", params={"model": GRAPH}, headers=ADMIN).json() for _ in range(2)]
    assert [one["models"] for one in changed] == [[GRAPH], []]
    (shown,) = keyed.http.get(QUEUE, headers=ONE).json()["data"]
    assert shown["paused_at"] > 0 and shown["queued"] == 1
    later = put(keyed, "later", TWO)
    assert (later["waiting_for"], later["stage"]) == ("resume", "waiting")
    assert claims_of(keyed.redis).claim_next(GRAPH) is None
    with client(keyed.redis) as raw:
        assert raw.delete(messages) == 1
    assert keyed.http.post(f"{QUEUE}/resume", headers=ADMIN).json() == {
        "object": "image.queue",
        "paused": False,
        "models": [GRAPH],
    }
    with client(keyed.redis) as raw:
        assert raw.llen(messages) == 1
    assert keyed.http.get(QUEUE, headers=ONE).json()["data"][0]["paused_at"] is None
    claim = claims_of(keyed.redis).claim_next(GRAPH)
    assert claim is not None and claim.job.own_name in ("mine", "later")


def test_what_a_worker_counted_is_counted_while_its_queue_is_paused(keyed: Api) -> None:
    keyed.http.post(f"{QUEUE}/pause", headers=ADMIN)
    claims = claims_of(keyed.redis)
    claims.count({"stage/store:us": 5})
    assert [claims.claim_next(GRAPH) for _ in range(2)] == [None, None]
    with client(keyed.redis) as raw:
        assert raw.hget(keys.metrics(GRAPH), "stage/store:us") == "5"


def test_what_waits_in_a_paused_queue_is_not_taken_for_lost(keyed: Api) -> None:
    put(keyed, "mine", ONE)
    keyed.http.post(f"{QUEUE}/pause", headers=ADMIN)
    with client(keyed.redis) as raw:
        (job_id,) = raw.zrange(keys.queued(GRAPH), 0, -1)
        raw.hset(keys.job(str(job_id)), "created_at", 1)
    upkeep = Upkeep(keyed.redis)
    upkeep.heartbeat(WorkerPresence("one", GRAPH, "CPU", ready=True, operations=(), seen_at=0.0))
    assert upkeep.resend_lost() == 0
    keyed.http.post(f"{QUEUE}/resume", headers=ADMIN)
    assert upkeep.resend_lost() == 1


@pytest.mark.parametrize("route", ["pause", "resume"])
def test_a_queue_of_an_unknown_model_is_not_found(keyed: Api, route: str) -> None:
    answer = keyed.http.post(f"{QUEUE}/{route}", params={"model": "none"}, headers=ADMIN)
    assert error_of(answer, 404)["code"] == "model_not_found"


def test_without_keys_no_client_pauses(api: Api) -> None:
    assert "--api_key_file" in error_of(api.http.post(f"{QUEUE}/pause"), 403)["message"]


def test_administrators_see_how_much_of_each_owner_waits_and_nothing_of_it(keyed: Api) -> None:
    for name in ("a", "b"):
        put(keyed, name, TWO)
    put(keyed, "c", ONE)
    found = keyed.http.get(f"{QUEUE}/owners", headers=ADMIN)
    assert [(one["owner"], one["model"], one["queued"]) for one in found.json()["data"]] == [
        ("two", GRAPH, 2),
        ("one", GRAPH, 1),
    ]
    assert all(one["queued_bytes"] > 0 for one in found.json()["data"])
    assert BODY["prompt"] not in found.text


def test_administrators_see_each_worker_with_its_machine_its_job_and_its_last_times(keyed: Api) -> None:
    activity = WorkerActivity("imgjob_1", 1_795_312_800.5, {"denoise": 1.25, "encode": 0.01})
    about: dict[str, Any] = {"ready": True, "operations": (), "seen_at": 0.0}
    drawing = WorkerPresence("node/machine/1/a", GRAPH, "GPU.0", **about, stage="drawing", digest="1" * 16)
    failed = WorkerPresence("node/machine/2/b", GRAPH, "GPU.1", **{**about, "ready": False}, error="It cannot load.")
    upkeep = Upkeep(keyed.redis)
    for presence in (replace(drawing, activity=activity), failed):
        upkeep.heartbeat(presence)
    one, other = keyed.http.get(f"{QUEUE}/workers", headers=ADMIN).json()["data"]
    assert one.pop("seen_at") > 0
    assert one == {
        **{"name": "node/machine/1/a", "model": GRAPH, "digest": "1" * 16, "device": "GPU.0", "ready": True},
        **{"stage": "drawing", "since": 1_795_312_800, "job": "imgjob_1", "last_error": None, "last_error_at": None},
        "last_job_seconds": {"denoise": 1.25, "encode": 0.01},
    }
    assert (other["stage"], other["last_error"], other["last_error_at"]) == (
        "failed",
        "It cannot load.",
        other["seen_at"],
    )
    assert (other["digest"], other["since"], other["job"], other["last_job_seconds"]) == (None, None, None, {})
    assert error_of(keyed.http.get(f"{QUEUE}/workers", headers=ONE), 403)
    shown = keyed.http.get(QUEUE, headers=ONE).text
    assert "imgjob_1" not in shown and "machine" not in shown
    # The worker draws its next job before anyone saw another stage of it.
    upkeep.heartbeat(replace(drawing, activity=WorkerActivity("imgjob_2", 1_795_312_805.0)))
    one = keyed.http.get(f"{QUEUE}/workers", headers=ADMIN).json()["data"][0]
    assert (one["job"], one["since"], one["last_job_seconds"]) == ("imgjob_2", 1_795_312_805, {})


def _listed(keyed: Api, **params: str | int) -> dict[str, Any]:
    found: dict[str, Any] = keyed.http.get(f"{QUEUE}/jobs", params=params, headers=ADMIN).json()
    return found


def test_administrators_list_what_waits_and_see_nothing_of_what_it_asks_for(keyed: Api) -> None:
    put(keyed, "a", TWO, prompt="a secret", n=2, num_inference_steps=3, size="64x128", metadata={"secret": "yes"})
    put(keyed, "b", ONE, priority="low")
    put(keyed, "c", ONE, priority="high")
    found = _listed(keyed)
    assert found["object"] == "list" and found["has_more"] is False
    shown = [(one["owner"], one["priority"], one["queue_position"], one["moved"]) for one in found["data"]]
    assert shown == [("one", "high", 0, False), ("two", "normal", 1, False), ("one", "low", 2, False)]
    of_two = found["data"][1]
    assert (of_two["model"], of_two["n"], of_two["steps"], of_two["pixels"]) == (GRAPH, 2, 6, 64 * 128)
    assert of_two["id"].startswith("imgjob_") and of_two["created_at"] > 0
    assert "secret" not in str(found) and BODY["prompt"] not in str(found)
    assert error_of(keyed.http.get(f"{QUEUE}/jobs", headers=ONE), 403)


def test_what_waits_has_pages(keyed: Api) -> None:
    for number in range(5):
        put(keyed, f"job-{number}", ONE)
    pages = [_listed(keyed, limit=2)]
    while pages[-1]["has_more"]:
        pages.append(_listed(keyed, limit=2, after=pages[-1]["last_id"], model=GRAPH))
    assert [[one["queue_position"] for one in page["data"]] for page in pages] == [[0, 1], [2, 3], [4]]
    assert (pages[0]["first_id"], pages[1]["last_id"]) == (pages[0]["data"][0]["id"], pages[1]["data"][1]["id"])
    for query, status in (({"after": "imgjob_none"}, 404), ({"after": "a b"}, 404), ({"model": "none"}, 404)):
        assert error_of(keyed.http.get(f"{QUEUE}/jobs", params=query, headers=ADMIN), status)


def test_administrators_move_a_job_to_the_front_by_its_id_or_its_owners_name_for_it(keyed: Api) -> None:
    for name in ("a", "b", "c"):
        put(keyed, name, ONE)
    put(keyed, "d", TWO, priority="low")
    last, wanted = _listed(keyed)["data"][3]["id"], _listed(keyed)["data"][2]["id"]
    answer = keyed.http.post(f"{JOBS}/{last}/front", headers=ADMIN).json()
    assert answer == {"object": "image.job.moved", "id": last, "owner": "two", "model": GRAPH}
    assert get(keyed, "d", TWO).json()["queue_position"] == 0
    moved = keyed.http.post(f"{JOBS}/c/front", params={"owner": "one"}, headers=ADMIN).json()
    assert (moved["id"], moved["owner"]) == (wanted, "one")
    assert [get(keyed, name, owner).json()["queue_position"] for name, owner in (("c", ONE), ("d", TWO))] == [0, 1]
    assert [one["moved"] for one in _listed(keyed)["data"]] == [True, True, False, False]
    claim = claims_of(keyed.redis).claim_next(GRAPH)
    assert claim is not None and claim.job.own_name == "c"


def test_a_job_that_does_not_wait_is_not_moved(keyed: Api) -> None:
    put(keyed, "mine", ONE)
    claim = claims_of(keyed.redis).claim_next(GRAPH)
    assert claim is not None
    address = f"{JOBS}/{claim.job.id}/front"
    refused = error_of(keyed.http.post(address, headers=ADMIN), 409)
    assert (refused["code"], "in_progress" in refused["message"]) == ("job_not_waiting", True)
    assert error_of(keyed.http.post(address, headers=ONE), 403)
    assert error_of(keyed.http.post(f"{JOBS}/mine/front", headers=ADMIN), 404)
    unknown = keyed.http.post(f"{JOBS}/mine/front", params={"owner": "three"}, headers=ADMIN)
    assert error_of(unknown, 400)["param"] == "owner"


def test_administrators_see_the_last_errors_and_nothing_of_what_was_asked_for(keyed: Api) -> None:
    put(keyed, "mine", TWO, prompt="a secret")
    keyed.fail(keyed.next_job(), message="The runtime failed.")
    found = keyed.http.get(f"{QUEUE}/errors", params={"model": GRAPH, "limit": 5}, headers=ADMIN)
    (one,) = found.json()["data"]
    assert one.pop("failed_at") > 0 and one.pop("id").startswith("imgjob_")
    of_job = {"owner": "two", "model": GRAPH, "worker": "hand"}
    assert one == {**of_job, "code": "generation_failed", "message": "The runtime failed."}
    assert "secret" not in found.text
    assert error_of(keyed.http.get(f"{QUEUE}/errors", headers=TWO), 403)
    assert error_of(keyed.http.get(f"{QUEUE}/errors", params={"model": "none"}, headers=ADMIN), 404)


def test_all_jobs_of_one_owner_are_cancelled(keyed: Api) -> None:
    for number in range(45):
        put(keyed, f"mine-{number}", ONE)
    claims = claims_of(keyed.redis)
    claim = claims.claim_next(GRAPH)
    assert claim is not None
    put(keyed, "other", TWO)
    answer = keyed.http.post(f"{JOBS}/cancel", params={"status": "queued"}, headers=ONE).json()
    assert answer == {"object": "image.jobs.cancelled", "cancelled": 44, "has_more": False}
    assert get(keyed, "mine-44", ONE).json()["status"] == "cancelled"
    assert get(keyed, "other", TWO).json()["status"] == "queued"
    assert claims.progress(claim, 1, 4) == "go on"
    assert keyed.http.post(f"{JOBS}/cancel", headers=ONE).json()["cancelled"] == 1
    assert claims.progress(claim, 2, 4) == "cancel"


def test_administrators_cancel_the_jobs_of_another_owner_by_its_label(keyed: Api) -> None:
    put(keyed, "theirs", TWO)
    assert error_of(keyed.http.post(f"{JOBS}/cancel", params={"owner": "two"}, headers=ONE), 403)
    unknown = keyed.http.post(f"{JOBS}/cancel", params={"owner": "three"}, headers=ADMIN)
    assert error_of(unknown, 400)["param"] == "owner"
    assert keyed.http.post(f"{JOBS}/cancel", params={"owner": "two"}, headers=ADMIN).json()["cancelled"] == 1
    assert get(keyed, "theirs", TWO).json()["status"] == "cancelled"
    assert keyed.http.post(f"{JOBS}/cancel", params={"owner": "one"}, headers=ONE).json()["cancelled"] == 0


@pytest.mark.parametrize("name", ["cancel", "events"])
def test_a_name_of_a_route_is_no_id(keyed: Api, name: str) -> None:
    answer = keyed.http.put(f"{JOBS}/{name}", json=BODY, headers=ONE)
    assert error_of(answer, 400)["param"] == "job_id"


def test_a_client_learns_who_it_is_and_what_it_may(keyed: Api, api: Api) -> None:
    found = keyed.http.get("/v3/me", headers=ONE).json()
    assert (found["owner"], found["administrator"], found["keys_required"]) == ("one", False, True)
    assert found["limits"]["queued_jobs"] == keyed.settings.jobs.max_queued_per_key
    assert found["limits"]["kept_jobs"] == keyed.settings.jobs.max_kept_per_key
    assert keyed.http.get("/v3/me", headers=ADMIN).json()["administrator"] is True
    anyone = api.http.get("/v3/me").json()
    assert (anyone["owner"], anyone["administrator"], anyone["keys_required"]) == ("anyone", False, False)
    assert anyone["limits"]["kept_jobs"] is None
