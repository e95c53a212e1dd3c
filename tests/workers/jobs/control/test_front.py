"""A job that an administrator moves to the front: its place, and the sums and indexes of the queue."""

from collections.abc import Callable
from itertools import accumulate

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.settings import RedisSettings
from graphs.api_keys import Priority
from graphs.errors import JobNotFound
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    GRAPH,
    JOBS,
    Upkeep,
    a_request,
    cancel,
    claimed,
    claims_of,
    client,
    estimate,
    follow,
    look,
    on_control,
    on_queue,
    put_in,
    waiting,
    with_step_times,
)
from workers.jobs.claims import Claims
from workers.jobs.control.queue_control import WaitingJob, WaitingPage
from workers.jobs.job import Job
from workers.jobs.job_options import JobOptions
from workers.jobs.observe.measured_times import JobWork
from workers.jobs.status import Status
from workers.jobs.submission import Submission

LOW, NORMAL, HIGH = Priority.LOW, Priority.NORMAL, Priority.HIGH


def _move(redis: RedisSettings, job: Job) -> Status | None:
    return on_control(redis, lambda control: control.to_front(GRAPH, job.id))


def _page(redis: RedisSettings, after: str = "", limit: int = 100) -> WaitingPage:
    return on_control(redis, lambda control: control.jobs(GRAPH, after, limit))


def _submit(
    redis: RedisSettings, owner: str = "a", priority: Priority = NORMAL, steps: int = 4, digest: str = ""
) -> Job:
    request = a_request(num_inference_steps=steps, width=1000, height=1000)
    options = JobOptions(owner=owner, priority=priority)
    return put_in(redis, Submission(request, options, model_digest=digest))[0]


def _counted(redis: RedisSettings) -> int:
    """Return how many jobs the sums of all ranks have."""
    with client(redis) as raw:
        roots = raw.hmget(keys.work(GRAPH), [f"{rank}:12:0" for rank in range(-1, 3)])
    return sum(int(str(root).split()[0]) for root in roots if root)


def test_a_moved_job_is_before_those_of_every_priority(redis_settings: RedisSettings) -> None:
    for _ in range(3):
        _submit(redis_settings, "b", HIGH)
    last = [_submit(redis_settings, "a", LOW) for _ in range(4)][-1]
    assert _move(redis_settings, last) is Status.QUEUED
    _submit(redis_settings, "c", HIGH)
    assert waiting(redis_settings)[0] == last.id
    assert estimate(redis_settings, last).queue_position == 0
    claimed(redis_settings, last)


def test_the_job_that_was_moved_last_is_first_and_a_second_time_changes_nothing(redis_settings: RedisSettings) -> None:
    first, *others = [_submit(redis_settings) for _ in range(5)]
    for job in (others[1], others[3]):
        _move(redis_settings, job)
    order = [others[3].id, others[1].id, first.id, others[0].id, others[2].id]
    assert waiting(redis_settings) == order
    before = look(redis_settings, others[3])
    assert _move(redis_settings, others[3]) is Status.QUEUED
    assert (waiting(redis_settings), look(redis_settings, others[3])) == (order, before)


def test_the_first_job_is_moved_as_well_so_that_no_later_one_is_before_it(redis_settings: RedisSettings) -> None:
    job = _submit(redis_settings)
    _move(redis_settings, job)
    _submit(redis_settings, "b", HIGH)
    assert waiting(redis_settings)[0] == job.id
    assert _counted(redis_settings) == 2


def test_its_followers_learn_its_place_and_nothing_else(redis_settings: RedisSettings) -> None:
    _, job = _submit(redis_settings), _submit(redis_settings)
    _move(redis_settings, job)
    assert [(event.kind, event.values) for event in follow(redis_settings, job)] == [
        ("queued", {"queue_position": 1}),
        ("queued", {"queue_position": 0}),
    ]


def _hand_back(redis: RedisSettings, job: Job) -> None:
    assert claims_of(redis).hand_back(claimed(redis, job))


def _let_its_lease_end(redis: RedisSettings, job: Job) -> None:
    claimed(redis, job)
    upkeep = Upkeep(redis)
    upkeep.end_lease(job.id)
    assert upkeep.reap() == [job.id]


def _fail_its_device(redis: RedisSettings, job: Job) -> None:
    assert claims_of(redis).run_again(claimed(redis, job), "error", "no") is Status.QUEUED


@pytest.mark.parametrize("come_back", [_hand_back, _let_its_lease_end, _fail_its_device])
def test_a_moved_job_that_its_worker_gives_back_stays_in_front(
    settled_redis: RedisSettings, come_back: Callable[[RedisSettings, Job], None]
) -> None:
    jobs = [_submit(settled_redis) for _ in range(4)]
    _move(settled_redis, jobs[3])
    come_back(settled_redis, jobs[3])
    _submit(settled_redis, "b", HIGH)
    assert waiting(settled_redis)[0] == jobs[3].id
    assert _counted(settled_redis) == 5


def test_one_that_was_moved_while_another_moved_one_ran_stays_before_it(redis_settings: RedisSettings) -> None:
    jobs = [_submit(redis_settings) for _ in range(4)]
    _move(redis_settings, jobs[3])
    claim = claimed(redis_settings, jobs[3])
    _move(redis_settings, jobs[2])
    assert claims_of(redis_settings).hand_back(claim)
    assert waiting(redis_settings) == [jobs[number].id for number in (2, 3, 0, 1)]


def test_the_times_of_all_jobs_follow_the_order(redis_settings: RedisSettings) -> None:
    with_step_times(redis_settings, 1.0)
    owners = [("a", NORMAL), ("a", LOW), ("b", HIGH), ("b", NORMAL), ("a", HIGH)]
    jobs = [_submit(redis_settings, *owners[number % 5], steps=1 + number) for number in range(15)]
    for job in (jobs[11], jobs[4], jobs[8]):
        _move(redis_settings, job)
    by_id = {job.id: job for job in jobs}
    order = [by_id[job_id] for job_id in waiting(redis_settings)]
    assert order[:3] == [jobs[8], jobs[4], jobs[11]]
    estimates = on_queue(redis_settings, lambda view: view.estimates(order, {GRAPH: 1}))
    steps = list(accumulate(job.request.num_inference_steps for job in order))
    # The first jobs of both owners are in one leaf of the sums, and count by their average.
    assert [found.eta_s for found in estimates[:3]] == steps[:3]
    assert [found.eta_s for found in estimates] == pytest.approx(steps, abs=10)
    assert estimates[-1].eta_s == steps[-1] == sum(range(1, 16))


def test_a_moved_job_that_is_cancelled_leaves_nothing(redis_settings: RedisSettings) -> None:
    job = _submit(redis_settings, digest="1" * 16)
    _move(redis_settings, job)
    assert cancel(redis_settings, job).status is Status.CANCELLED
    with client(redis_settings) as raw:
        assert raw.exists(keys.queued(GRAPH), keys.work(GRAPH), keys.by_digest(GRAPH), keys.backlog(GRAPH)) == 0
        assert "summed" not in raw.hkeys(keys.job(job.id))


def test_a_move_changes_no_clock_of_fair_queueing(redis_settings: RedisSettings) -> None:
    jobs = [_submit(redis_settings) for _ in range(5)]
    claimed(redis_settings, jobs[0])
    _move(redis_settings, jobs[4])
    claimed(redis_settings, jobs[4])
    with client(redis_settings) as raw:
        assert raw.hgetall(keys.fairness(GRAPH)) == {"clock:1": "0", "1:a": "20", "front": "1"}
    newer = _submit(redis_settings, "b")
    assert waiting(redis_settings)[0] == newer.id, "its owner has had none of the device's time"


def test_workers_of_each_digest_take_their_moved_jobs_first(redis_settings: RedisSettings) -> None:
    one, other = "1" * 16, "2" * 16
    of_one = [_submit(redis_settings, digest=one) for _ in range(3)]
    of_other = [_submit(redis_settings, digest=other) for _ in range(4)]
    for job in (of_other[2], of_other[3], of_one[2]):
        _move(redis_settings, job)
    claims = Claims(redis_settings, JOBS, "one", other)
    taken = [claim.job.id for claim in iter(lambda: claims.claim_next(GRAPH), None)]
    assert taken == [of_other[number].id for number in (3, 2, 0, 1)]
    assert waiting(redis_settings) == [of_one[number].id for number in (2, 0, 1)]


def test_a_job_of_an_older_layout_is_moved_and_counted(settled_redis: RedisSettings) -> None:
    jobs = [_submit(settled_redis) for _ in range(6)]
    with client(settled_redis) as raw:
        raw.delete(keys.work(GRAPH), keys.by_digest(GRAPH))
        for job in jobs:
            raw.hdel(keys.job(job.id), "summed", "work")
    _move(settled_redis, jobs[4])
    Upkeep(settled_redis).reap()
    assert waiting(settled_redis)[:2] == [jobs[4].id, jobs[0].id]
    assert _counted(settled_redis) == 6
    assert _page(settled_redis, limit=1).jobs[0].work == JobWork(1, 1, 4_000_000)


def test_a_job_that_does_not_wait_is_not_moved(redis_settings: RedisSettings) -> None:
    job = _submit(redis_settings)
    claims, claim = claims_of(redis_settings), claimed(redis_settings, job)
    assert _move(redis_settings, job) is Status.IN_PROGRESS
    assert claims.complete(claim, [b"x"], {})
    assert _move(redis_settings, job) is Status.COMPLETED
    with client(redis_settings) as raw:
        raw.delete(keys.job(job.id))
    assert _move(redis_settings, job) is None
    assert waiting(redis_settings) == []


def test_what_waits_is_listed_in_the_order_of_the_queue(redis_settings: RedisSettings) -> None:
    jobs = [_submit(redis_settings, owner, priority) for owner, priority in (("a", LOW), ("b", NORMAL), ("b", HIGH))]
    _move(redis_settings, jobs[0])
    found = _page(redis_settings)
    work = JobWork(4, 1, 10**6)
    assert found == WaitingPage(
        [
            WaitingJob(jobs[0].id, "a", jobs[0].created_at, LOW, work, 0, is_moved=True),
            WaitingJob(jobs[2].id, "b", jobs[2].created_at, HIGH, work, 1, is_moved=False),
            WaitingJob(jobs[1].id, "b", jobs[1].created_at, NORMAL, work, 2, is_moved=False),
        ],
        has_more=False,
    )


def test_the_list_goes_on_behind_a_job_that_has_begun_or_ended_since(redis_settings: RedisSettings) -> None:
    jobs = [_submit(redis_settings) for _ in range(6)]
    first = _page(redis_settings, limit=2)
    assert ([job.id for job in first.jobs], first.has_more) == ([job.id for job in jobs[:2]], True)
    claims = claims_of(redis_settings)
    for job in jobs[:3]:
        assert claims.complete(claimed(redis_settings, job), [b"x"], {})
    second = _page(redis_settings, after=jobs[1].id, limit=3)
    assert [(job.id, job.queue_position) for job in second.jobs] == [
        (job.id, place) for place, job in enumerate(jobs[3:])
    ]
    assert not second.has_more
    assert _page(redis_settings, after=jobs[5].id).jobs == []
    with pytest.raises(JobNotFound):
        _page(redis_settings, after="imgjob_none")


def test_the_list_does_not_go_on_behind_a_job_of_another_graph(redis_settings: RedisSettings) -> None:
    for _ in range(3):
        _submit(redis_settings)
    prompt = f'"graph":"{GRAPH}"'
    waits, runs = (put_in(redis_settings, Submission(a_request(graph="other", prompt=prompt)))[0] for _ in range(2))
    for job in (waits, runs):
        with pytest.raises(JobNotFound):
            _page(redis_settings, after=job.id)
    for job in (waits, runs):
        assert claims_of(redis_settings).complete(claimed(redis_settings, job), [b"x"], {})
        with pytest.raises(JobNotFound):
            _page(redis_settings, after=job.id)


ACTS = st.lists(st.tuples(st.sampled_from(["submit", "move", "claim", "give back", "cancel"]), st.integers(0, 9)))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS)
def test_the_queue_agrees_with_its_sums_after_any_acts(
    redis_settings: RedisSettings, acts: list[tuple[str, int]]
) -> None:
    with client(redis_settings) as raw:
        raw.flushall()
    claims = claims_of(redis_settings)
    moved: list[str] = []  # the one that was moved last is first, whether it waits or runs
    running = []
    jobs: dict[str, Job] = {}
    for act, number in acts:
        queued = waiting(redis_settings)
        if act == "submit":
            job = _submit(
                redis_settings, "abc"[number % 3], list(Priority)[number % 2], digest=["", "1" * 16][number % 2]
            )
            jobs[job.id] = job
        elif act == "claim" and (claim := claims.claim_next(GRAPH)):
            assert claim.job.id == queued[0]
            running.append(claim)
        elif act == "give back" and running:
            assert claims.hand_back(running.pop(number % len(running)))
        elif act in ("move", "cancel") and queued:
            chosen = queued[number % len(queued)]
            moved = [job_id for job_id in moved if job_id != chosen]
            if act == "move":
                _move(redis_settings, jobs[chosen])
                moved.insert(0, chosen)
            else:
                cancel(redis_settings, jobs[chosen])
    queued = waiting(redis_settings)
    in_front = [job_id for job_id in moved if job_id in queued]
    assert queued[: len(in_front)] == in_front
    assert _counted(redis_settings) == len(queued)
    with client(redis_settings) as raw:
        assert raw.zcard(keys.by_digest(GRAPH)) == len(queued)
        assert raw.hlen(keys.work(GRAPH)) <= 13 * len(queued)
