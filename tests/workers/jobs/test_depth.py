"""What each call asks of Redis: as much where thousands of jobs wait, and many workers live, as where few do."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice

import pytest

from config.settings import JobSettings, RedisSettings
from graphs.api_keys import Priority
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    GRAPH,
    Upkeep,
    a_request,
    cancel,
    claims_of,
    client,
    estimate,
    look,
    on_control,
    on_queue,
    on_store,
    put_in,
    waiting,
    with_step_times,
)
from workers.jobs.job import Job, new_job_id
from workers.jobs.job_options import JobOptions
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.redis.scripts import SUBMIT
from workers.jobs.status import Status
from workers.jobs.submission import Submission, submit_call

_FEW, _MANY = 20, 2000
_MOST_GROWTH = 1.3
_AT_ONCE = 500
_DIGEST = "1" * 16
_LARGE = JobSettings(max_queued=10**6, max_queued_per_key=10**6)
_PRESENCE = WorkerPresence("one", GRAPH, "CPU", ready=True, operations=(), seen_at=0.0, stage="idle")


def _fill(settings: RedisSettings, depth: int) -> Job:
    """Let so many jobs wait. Return the last of them."""
    others = [
        Submission(a_request(), JobOptions(owner=f"owner-{n % 5}"), model_digest=_DIGEST) for n in range(depth - 1)
    ]
    with client(settings) as raw:
        sha = raw.script_load(SUBMIT.source(keys))
        left = iter(others)
        while some := list(islice(left, _AT_ONCE)):
            pipeline = raw.pipeline(transaction=False)
            for submission in some:
                call = submit_call(keys, _LARGE, new_job_id(), submission, GRAPH, "")
                pipeline.evalsha(sha, len(call["keys"]), *call["keys"], *call["args"])
            pipeline.execute()
    return put_in(settings, Submission(a_request(), JobOptions(owner="last", priority=Priority.LOW)), _LARGE)[0]


def _cost(settings: RedisSettings, call: Callable[[], object]) -> tuple[int, int]:
    """Return how many commands Redis ran in a call, and how many bytes it sent; the scripts are there already."""
    call()
    with client(settings) as raw:
        before = raw.info("stats")
        base = raw.info("stats")
        call()
        after = raw.info("stats")
    commands, sent = "total_commands_processed", "total_net_output_bytes"
    return after[commands] - base[commands], after[sent] - base[sent] - (base[sent] - before[sent])


def _costs(settings: RedisSettings, depth: int) -> dict[str, tuple[int, int]]:
    last = _fill(settings, depth)
    upkeep, claims = Upkeep(settings), claims_of(settings)
    upkeep.heartbeat(_PRESENCE)

    def submit_and_cancel() -> None:
        cancel(settings, put_in(settings, Submission(a_request()), _LARGE)[0])

    def claim() -> None:
        claimed = claims.claim_next(GRAPH)
        assert claimed and claims.hand_back(claimed)

    moved = iter(waiting(settings))

    def move_another() -> None:
        job_id = next(moved)
        assert on_control(settings, lambda control: control.to_front(GRAPH, job_id)) is Status.QUEUED

    def page(status: str | None) -> None:
        found = on_queue(
            settings, lambda view: view.page("last", after=None, limit=20, newest_first=True, status=status)
        )
        assert [job.id for job in found.jobs] == [last.id]

    calls: dict[str, Callable[[], object]] = {
        "submit and cancel": submit_and_cancel,
        "get": lambda: estimate(settings, look(settings, last)),
        "list": lambda: page(None),
        "list by status": lambda: page("queued"),
        "claim": claim,
        "list what waits": lambda: on_control(settings, lambda control: control.jobs(GRAPH, last.id, 20)),
        "list the first that wait": lambda: on_control(settings, lambda control: control.jobs(GRAPH, "", 10)),
        "move to the front": move_another,
        "reap": upkeep.reap,
        "look for lost messages": upkeep.resend_lost,
        "heartbeat": lambda: upkeep.heartbeat(_PRESENCE),
    }
    return {name: _cost(settings, call) for name, call in calls.items()}


def test_no_call_costs_more_because_more_jobs_wait(settled_redis: RedisSettings) -> None:
    with_step_times(settled_redis, 1.0)
    few = _costs(settled_redis, _FEW)
    with client(settled_redis) as raw:
        raw.flushall()
    with_step_times(settled_redis, 1.0)
    many = _costs(settled_redis, _MANY)
    grown = {
        name: (few[name], many[name])
        for name in few
        if any(later > _MOST_GROWTH * max(1, earlier) + 5 for later, earlier in zip(many[name], few[name], strict=True))
    }
    assert grown == {}


@pytest.mark.parametrize("digest", ["", _DIGEST])
def test_a_worker_asks_as_much_beside_many_workers_as_beside_few(settled_redis: RedisSettings, digest: str) -> None:
    _fill(settled_redis, 3)
    found = []
    for count in (4, 400):
        upkeeps = [Upkeep(settled_redis, f"w{number}", digest=digest) for number in range(4)]
        for number in range(count):
            upkeeps[number % 4].heartbeat(replace(_PRESENCE, name=f"w{number}", digest=digest))
        assert len(on_store(settled_redis, lambda store: store.workers())) == count
        first = upkeeps[0]
        beat = replace(_PRESENCE, name="w0", digest=digest)
        found.append([
            _cost(settled_redis, partial(first.heartbeat, beat)),
            _cost(settled_redis, first.reap),
            _cost(settled_redis, first.resend_lost),
        ])  # fmt: skip
    assert found[0] == found[1]


def test_one_worker_of_a_graph_reaps_and_another_takes_its_place(redis_settings: RedisSettings) -> None:
    one, other = Upkeep(redis_settings, "one"), Upkeep(redis_settings, "other")
    second = replace(_PRESENCE, name="other")
    assert [one.heartbeat(_PRESENCE), other.heartbeat(second), one.heartbeat(_PRESENCE)] == [True, False, True]
    assert Upkeep(redis_settings, "third", graph="another").heartbeat(replace(_PRESENCE, name="third", graph="another"))
    one.leave("one")
    assert [other.heartbeat(second), one.heartbeat(_PRESENCE)] == [True, False]
    with client(redis_settings) as raw:
        assert 0 < raw.pttl(keys.reaper(GRAPH)) <= 4500
