import base64
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from config.settings import JobSettings, RedisSettings, Settings
from graphs.errors import ServiceUnavailable
from tests.support.polling import pause, wait_until
from tests.support.redis_keys import keys
from tests.support.redis_server import RunningRedis, running_redis
from tests.workers.jobs.jobs_support import (
    GRAPH,
    SHORT,
    Upkeep,
    a_submission,
    cancel,
    claimed,
    claims_of,
    client,
    look,
    on_store,
    submit,
    waiting,
)
from workers.jobs.broker import WakeMessages, make_celery, wake_worker
from workers.jobs.job import Job, JobError
from workers.jobs.observe.presence import ALIVE_S, WorkerPresence
from workers.jobs.recovery import Recovery
from workers.jobs.status import Status

PRESENCE = WorkerPresence("w1", GRAPH, "CPU", ready=True, operations=("generation",), seen_at=0.0)


def test_a_lost_job_returns_to_its_old_place(settled_redis: RedisSettings) -> None:
    first, second, third = (submit(settled_redis) for _ in range(3))
    claimed(settled_redis, first)
    claimed(settled_redis, second)
    upkeep = Upkeep(settled_redis)
    assert upkeep.reap() == []
    for job in (second, first):
        upkeep.end_lease(job.id)
        assert upkeep.reap() == [job.id]
    assert waiting(settled_redis) == [first.id, second.id, third.id]
    assert upkeep.sent == [GRAPH, GRAPH]
    again = look(settled_redis, second)
    assert (again.status, again.attempts, again.step) == (Status.QUEUED, 1, 0)


def test_a_requeued_job_keeps_its_input_images_and_can_be_claimed(settled_redis: RedisSettings) -> None:
    job = submit(settled_redis, b"image", b"mask")
    former = claimed(settled_redis, job)
    upkeep = Upkeep(settled_redis)
    upkeep.end_lease(job.id)
    assert upkeep.reap() == [job.id]
    assert claims_of(settled_redis).progress(former, 1, 4) == "lost"
    again = claimed(settled_redis, job, "two")
    assert (again.image, again.mask) == (b"image", b"mask")
    assert not claims_of(settled_redis).complete(former, [b"late"], {})
    assert look(settled_redis, job).attempts == 2


def test_any_worker_of_the_graph_reaps_an_ended_lease(settled_redis: RedisSettings) -> None:
    job = submit(settled_redis, graph="other")
    claimed(settled_redis, job, "gone", SHORT)
    upkeep, stranger = Upkeep(settled_redis, "neighbour", graph="other"), Upkeep(settled_redis)
    wait_until(upkeep.reap)
    assert (upkeep.sent, stranger.reap()) == (["other"], [])
    assert waiting(settled_redis, "other") == [job.id]


def test_a_renewed_lease_is_not_reaped(settled_redis: RedisSettings) -> None:
    job = submit(settled_redis)
    claimed(settled_redis, job)
    upkeep = Upkeep(settled_redis)
    upkeep.end_lease(job.id)
    upkeep.renew_lease(job.id)
    assert upkeep.reap() == []
    assert look(settled_redis, job).status is Status.IN_PROGRESS


def test_only_the_owner_moves_a_lease(settled_redis: RedisSettings) -> None:
    job = submit(settled_redis)
    claimed(settled_redis, job, "one")
    Upkeep(settled_redis, "two").end_lease(job.id)
    assert Upkeep(settled_redis).reap() == []
    Upkeep(settled_redis, "one").end_lease(job.id)
    Upkeep(settled_redis, "two").renew_lease(job.id)
    assert Upkeep(settled_redis).reap() == [job.id]


@pytest.mark.parametrize("job_id", ["imgjob_0", ""])
def test_no_lease_is_made_for_an_unknown_job(settled_redis: RedisSettings, job_id: str) -> None:
    Upkeep(settled_redis).renew_lease(job_id)
    with client(settled_redis) as raw:
        assert raw.zcard(keys.running(GRAPH)) == 0


def test_a_finished_job_is_not_leased_again(settled_redis: RedisSettings) -> None:
    job = submit(settled_redis)
    claims_of(settled_redis).complete(claimed(settled_redis, job), [b"x"], {})
    Upkeep(settled_redis).end_lease(job.id)
    assert Upkeep(settled_redis).reap() == []
    assert look(settled_redis, job).status is Status.COMPLETED


def test_a_cancelled_job_whose_worker_died_is_cancelled(settled_redis: RedisSettings) -> None:
    job = submit(settled_redis, b"image")
    claimed(settled_redis, job)
    cancel(settled_redis, job)
    upkeep = Upkeep(settled_redis)
    upkeep.end_lease(job.id)
    assert upkeep.reap() == []
    assert look(settled_redis, job).status is Status.CANCELLED
    assert upkeep.sent == []
    with client(settled_redis) as raw:
        assert not raw.exists(keys.image(job.id))


def test_a_job_that_kills_its_workers_fails(settled_redis: RedisSettings) -> None:
    job, upkeep = submit(settled_redis), Upkeep(settled_redis)
    for attempt in (1, 2, 3):
        assert claimed(settled_redis, job).token == f"one/{attempt}"
        upkeep.end_lease(job.id)
        assert upkeep.reap() == ([job.id] if attempt < 3 else [])
    ended = look(settled_redis, job)
    assert (ended.status, ended.attempts) == (Status.FAILED, 3)
    assert ended.error == JobError("worker_crashed", "The worker died 3 times while it ran this job.")


def test_a_single_attempt_can_be_the_limit(settled_redis: RedisSettings) -> None:
    job, jobs = submit(settled_redis), SHORT.model_copy(update={"max_attempts": 1})
    claimed(settled_redis, job, jobs=jobs)
    upkeep = Upkeep(settled_redis, jobs=jobs)
    upkeep.end_lease(job.id)
    assert upkeep.reap() == []
    assert look(settled_redis, job).error == JobError(
        "worker_crashed", "The worker died 1 times while it ran this job."
    )


def test_a_lease_of_a_job_without_a_record_is_removed(settled_redis: RedisSettings) -> None:
    with client(settled_redis) as raw:
        raw.zadd(keys.running(GRAPH), {"imgjob_0": 1})
        assert Upkeep(settled_redis).reap() == []
        assert raw.zcard(keys.running(GRAPH)) == 0


def test_a_message_that_cannot_be_sent_does_not_lose_the_job(settled_redis: RedisSettings) -> None:
    def refuse(_: str) -> None:
        raise ServiceUnavailable

    job = submit(settled_redis)
    claimed(settled_redis, job)
    recovery = Recovery(settled_redis, SHORT, "one", GRAPH, refuse)
    recovery.end_lease(job.id)
    with pytest.raises(ServiceUnavailable):
        recovery.reap()
    assert waiting(settled_redis) == [job.id]


@pytest.mark.usefixtures("redis_processes")
def test_no_job_is_reaped_right_after_redis_started(tmp_path: Path) -> None:
    with running_redis(tmp_path) as fresh:
        job = submit(fresh.settings)
        claimed(fresh.settings, job)
        upkeep = Upkeep(fresh.settings, jobs=JobSettings(lease_s=60))
        upkeep.end_lease(job.id)
        assert upkeep.reap() == []
        assert look(fresh.settings, job).status is Status.IN_PROGRESS


def test_no_job_is_reaped_right_after_redis_stood_still(
    redis_server: RunningRedis, settled_redis: RedisSettings
) -> None:
    upkeep = Upkeep(settled_redis)
    job = submit(settled_redis)
    claimed(settled_redis, job, jobs=SHORT)
    redis_server.process.send_signal(signal.SIGSTOP)
    pause(4.0)  # longer than the lease and than the interval between heartbeats
    redis_server.process.send_signal(signal.SIGCONT)
    assert upkeep.reap() == []
    assert look(settled_redis, job).status is Status.IN_PROGRESS
    wait_until(upkeep.reap)  # its worker did not renew the lease in time
    assert waiting(settled_redis) == [job.id]


READY = replace(PRESENCE, ready=True)
Wake = Callable[[str], None]


@pytest.fixture
def wake(redis_settings: RedisSettings) -> Iterator[Wake]:
    """A function that sends the real message to the queue of a graph."""
    app = make_celery(Settings(redis=redis_settings))
    yield lambda graph: wake_worker(app, graph)
    app.close()


def _submit_a_while_ago(settings: RedisSettings, graph: str = GRAPH) -> Job:
    job = submit(settings, graph=graph)
    with client(settings) as raw:
        raw.hset(keys.job(job.id), "created_at", job.created_at - 6)
    return job


def _with_ready(settings: RedisSettings, *names: str, graph: str = GRAPH) -> Upkeep:
    """Return an upkeep on a Redis where these workers of the graph are ready."""
    upkeep = Upkeep(settings, graph=graph)
    for name in names:
        upkeep.heartbeat(replace(READY, name=name, graph=graph))
    return upkeep


@pytest.mark.parametrize("messages", [0, 1])
def test_one_message_for_each_idle_worker_is_sent(redis_settings: RedisSettings, wake: Wake, messages: int) -> None:
    for _ in range(5):
        _submit_a_while_ago(redis_settings)
    for _ in range(messages):
        wake(GRAPH)
    upkeep = _with_ready(redis_settings, "w1", "w2")
    assert upkeep.resend_lost() == 2
    assert upkeep.sent == [GRAPH] * 2


def test_a_job_is_stored_together_with_the_message_of_celery_and_kombu(redis_settings: RedisSettings) -> None:
    app = make_celery(Settings(redis=redis_settings))
    messages = WakeMessages(app)
    ours = [messages.message(GRAPH) for _ in range(2)]
    wake_worker(app, GRAPH)
    app.close()
    with client(redis_settings) as raw:
        theirs = str(raw.rpop(keys.messages(GRAPH)))
        for text in ours:
            on_store(redis_settings, lambda store, text=text: store.submit(a_submission(), GRAPH, text))  # type: ignore[misc]
        assert raw.lrange(keys.messages(GRAPH), 0, -1) == ours[:1]
    found = [json.loads(text) for text in (*ours, theirs)]
    ids = [(message["headers"]["id"], message["properties"]["delivery_tag"]) for message in found]
    assert len({one for pair in ids for one in pair}) == 6
    first, second, other = (
        text.replace(task_id, "TASK").replace(tag, "TAG")
        for text, (task_id, tag) in zip((*ours, theirs), ids, strict=True)
    )
    assert first == second == other


def test_no_message_is_sent_while_every_worker_is_busy(redis_settings: RedisSettings) -> None:
    jobs = [_submit_a_while_ago(redis_settings) for _ in range(2)]
    claimed(redis_settings, jobs[0])
    assert _with_ready(redis_settings, "w1").resend_lost() == 0
    assert _with_ready(redis_settings, "w2").resend_lost() == 1


def test_an_idle_worker_is_woken_where_a_busy_one_holds_two_jobs(redis_settings: RedisSettings) -> None:
    stored, drawn, _ = (_submit_a_while_ago(redis_settings) for _ in range(3))
    claimed(redis_settings, stored)
    claimed(redis_settings, drawn)
    upkeep = _with_ready(redis_settings, "w1", "w2")
    assert upkeep.resend_lost() == 0
    assert upkeep.resend_lost(is_idle=True) == 1


def test_no_message_is_sent_without_a_ready_worker(redis_settings: RedisSettings) -> None:
    _submit_a_while_ago(redis_settings)
    upkeep = Upkeep(redis_settings)
    upkeep.heartbeat(replace(PRESENCE, ready=False))
    assert upkeep.resend_lost() == 0


def test_no_message_is_sent_for_a_new_job(redis_settings: RedisSettings) -> None:
    submit(redis_settings)
    assert _with_ready(redis_settings, "w1").resend_lost() == 0


def test_an_empty_queue_needs_no_message(redis_settings: RedisSettings) -> None:
    assert _with_ready(redis_settings, "w1").resend_lost() == 0


def test_no_message_is_sent_for_jobs_of_another_graph(redis_settings: RedisSettings) -> None:
    _submit_a_while_ago(redis_settings, "other")
    assert _with_ready(redis_settings, "w1").resend_lost() == 0
    assert _with_ready(redis_settings, "w2", graph="other").resend_lost() == 1


def test_no_message_is_sent_for_a_job_without_a_record(redis_settings: RedisSettings) -> None:
    job = _submit_a_while_ago(redis_settings)
    with client(redis_settings) as raw:
        raw.delete(keys.job(job.id))
    assert _with_ready(redis_settings, "w1").resend_lost() == 0


def test_a_message_names_no_job(redis_settings: RedisSettings, wake: Wake) -> None:
    job = submit(redis_settings, prompt="a secret circle")
    wake(GRAPH)
    with client(redis_settings) as raw:
        text = str(raw.lindex(keys.messages(GRAPH), 0))
    message = json.loads(text)
    assert message["headers"]["task"] == "imagegen.run_job"
    assert message["content-type"] == "application/json"
    assert json.loads(base64.b64decode(message["body"]))[:2] == [[], {}]
    assert "secret" not in text
    assert job.id not in text


def test_sending_to_an_absent_redis_raises_service_unavailable() -> None:
    app = make_celery(Settings(redis=RedisSettings(url="redis://127.0.0.1:1/0")))
    with pytest.raises(ServiceUnavailable, match="No worker of 'demo' could be woken"):
        wake_worker(app, GRAPH)


def _live(settings: RedisSettings) -> list[str]:
    return [worker.name for worker in on_store(settings, lambda store: store.workers())]


def test_a_worker_is_listed_after_its_heartbeat(redis_settings: RedisSettings) -> None:
    upkeep = Upkeep(redis_settings)
    upkeep.heartbeat(PRESENCE)
    upkeep.heartbeat(replace(PRESENCE, name="w0", ready=False))
    first, second = on_store(redis_settings, lambda store: store.workers())
    assert (first.name, first.ready, second.name, second.ready) == ("w0", False, "w1", True)
    assert second.operations == ("generation",)
    upkeep.leave("w1")
    upkeep.leave("unknown")
    assert _live(redis_settings) == ["w0"]


def test_a_silent_worker_is_not_listed_and_is_removed_later(redis_settings: RedisSettings) -> None:
    upkeep = Upkeep(redis_settings)
    upkeep.heartbeat(PRESENCE)
    now = on_store(redis_settings, lambda store: store.workers())[0].seen_at
    with client(redis_settings) as raw:
        for name, silent_s in {"silent": ALIVE_S + 1, "gone": 4 * ALIVE_S + 1, "fresh": 1.0}.items():
            beat = replace(PRESENCE, name=name, seen_at=now - silent_s).to_json()
            raw.hset(keys.workers, name, beat)
            raw.zadd(keys.workers_seen, {name: (now - silent_s) * 1000})
        assert _live(redis_settings) == ["fresh", "w1"]
        upkeep.heartbeat(PRESENCE)
        assert set(raw.hkeys(keys.workers)) == {"silent", "fresh", "w1"}
