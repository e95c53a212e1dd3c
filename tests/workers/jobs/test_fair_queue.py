import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.settings import RedisSettings
from graphs.api_keys import Priority
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    GRAPH,
    Upkeep,
    a_request,
    claimed,
    claims_of,
    client,
    estimate,
    look,
    put_in,
    waiting,
)
from workers.jobs.job import Job
from workers.jobs.job_options import JobOptions
from workers.jobs.status import Status
from workers.jobs.store import Submission


def _submit(
    redis: RedisSettings, owner: str = "a", priority: Priority = Priority.NORMAL, steps: int = 4, graph: str = GRAPH
) -> Job:
    options = JobOptions(owner=owner, priority=priority)
    request = a_request(num_inference_steps=steps, width=1000, height=1000, graph=graph)
    return put_in(redis, Submission(request, options=options))[0]


def _drawn(redis: RedisSettings, count: int = 10**6) -> list[Job]:
    """Claim and complete the next jobs one after the other; return them."""
    claims = claims_of(redis)
    drawn: list[Job] = []
    while len(drawn) < count and (claim := claims.claim_next(GRAPH)):
        assert claims.complete(claim, [b"x"], {})
        drawn.append(claim.job)
    return drawn


def _ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


def _owners(jobs: list[Job]) -> str:
    return "".join(job.options.owner for job in jobs)


def test_a_single_owners_jobs_keep_their_order(redis_settings: RedisSettings) -> None:
    submitted = [_submit(redis_settings, steps=steps) for steps in (9, 1, 50, 3, 3, 1)]
    assert waiting(redis_settings) == _ids(submitted)
    assert _ids(_drawn(redis_settings)) == _ids(submitted)


def test_priorities_are_strict(redis_settings: RedisSettings) -> None:
    low, normal, high = Priority.LOW, Priority.NORMAL, Priority.HIGH
    wanted = [low, normal, high, low, high, normal]
    jobs = [_submit(redis_settings, priority=priority) for priority in wanted]
    assert _ids(_drawn(redis_settings)) == [jobs[index].id for index in (2, 4, 1, 5, 0, 3)]


def test_a_higher_priority_goes_first_even_for_the_busiest_owner(redis_settings: RedisSettings) -> None:
    for _ in range(5):
        _submit(redis_settings, "a", Priority.HIGH, steps=100)
    _submit(redis_settings, "b")
    assert _owners(_drawn(redis_settings)) == "aaaaab"


def test_owners_take_turns_even_if_one_submitted_a_hundred_jobs_first(redis_settings: RedisSettings) -> None:
    for _ in range(100):
        _submit(redis_settings, "a")
    for _ in range(10):
        _submit(redis_settings, "b")
    first = _owners(_drawn(redis_settings, 20))
    assert (first.count("a"), first.count("b")) == (10, 10)
    assert all(first[:seen].count("b") >= seen // 2 - 1 for seen in range(1, 21))
    assert _owners(_drawn(redis_settings)) == "a" * 90


def test_a_later_owner_gets_no_more_than_an_equal_share(redis_settings: RedisSettings) -> None:
    for _ in range(30):
        _submit(redis_settings, "a")
    _drawn(redis_settings, 10)
    for _ in range(30):
        _submit(redis_settings, "b")
    first = _owners(_drawn(redis_settings, 20))
    assert abs(first.count("a") - first.count("b")) <= 2


def test_owners_share_by_cost_and_not_by_count(redis_settings: RedisSettings) -> None:
    for _ in range(20):
        _submit(redis_settings, "a", steps=12)
    for _ in range(40):
        _submit(redis_settings, "b", steps=4)
    first = _owners(_drawn(redis_settings, 20))
    assert first.count("b") == pytest.approx(3 * first.count("a"), abs=3)


def test_a_requeued_job_returns_to_its_place(settled_redis: RedisSettings) -> None:
    jobs = [_submit(settled_redis, owner) for owner in "aabbaab"]
    order = waiting(settled_redis)
    by_id = {job.id: job for job in jobs}
    claimed(settled_redis, by_id[order[0]])
    claimed(settled_redis, by_id[order[1]])
    upkeep = Upkeep(settled_redis)
    upkeep.end_lease(order[1])
    assert upkeep.reap() == [order[1]]
    assert waiting(settled_redis) == order[1:]


def test_a_requeued_job_is_before_jobs_submitted_to_the_empty_queue(settled_redis: RedisSettings) -> None:
    last = [_submit(settled_redis) for _ in range(5)][-1]
    _drawn(settled_redis, 4)
    claimed(settled_redis, last)
    newer = [_submit(settled_redis, owner) for owner in "bbb"]
    upkeep = Upkeep(settled_redis)
    upkeep.end_lease(last.id)
    upkeep.reap()
    assert waiting(settled_redis)[2:] == _ids(newer)[1:]


def test_after_a_requeue_new_owners_do_not_overtake_waiting_jobs(settled_redis: RedisSettings) -> None:
    jobs = [_submit(settled_redis, "a") for _ in range(6)]
    first = claimed(settled_redis, jobs[0])
    _drawn(settled_redis, 3)
    upkeep = Upkeep(settled_redis)
    upkeep.end_lease(first.job.id)
    upkeep.reap()
    claimed(settled_redis, jobs[0])
    assert _owners([_submit(settled_redis, "b")]) == "b"
    with client(settled_redis) as raw:
        assert float(str(raw.hget(keys.fairness(GRAPH), "clock:1"))) == 12.0


def test_the_queue_position_is_the_place_over_all_owners(redis_settings: RedisSettings) -> None:
    jobs = {job.id: job for job in (_submit(redis_settings, owner) for owner in "aaabbc")}
    order = waiting(redis_settings)
    assert [estimate(redis_settings, jobs[job_id]).queue_position for job_id in order] == list(range(6))


def test_the_fairness_hash_stays_small(redis_settings: RedisSettings) -> None:
    _submit(redis_settings, "patient")
    with client(redis_settings) as raw:
        passed = {f"1:owner{number}": number for number in range(400)}
        raw.hset(keys.fairness(GRAPH), mapping={"clock:1": 398, "2:low": 7, **passed})
        _submit(redis_settings, "new")
        left = raw.hgetall(keys.fairness(GRAPH))
    assert left == {"clock:1": "398", "1:owner399": "399", "2:low": "7", "1:new": "402"}


def test_an_idle_queue_resets_fairness(redis_settings: RedisSettings) -> None:
    _submit(redis_settings, "a", steps=1000)
    _drawn(redis_settings)
    jobs = [_submit(redis_settings, "a"), _submit(redis_settings, "b")]
    assert {look(redis_settings, job).status for job in jobs} == {Status.QUEUED}
    with client(redis_settings) as raw:
        assert set(raw.hkeys(keys.fairness(GRAPH))) == {"1:a", "1:b"}


MOVES = st.lists(st.one_of(st.none(), st.tuples(st.sampled_from("abc"), st.integers(1, 20))), max_size=40)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=MOVES, after=MOVES)
def test_no_job_starves_within_a_priority(
    redis_settings: RedisSettings,
    before: list[tuple[str, int] | None],
    after: list[tuple[str, int] | None],
) -> None:
    """At most one job of each other owner goes before the job of a new owner, in any order of submissions."""
    with client(redis_settings) as raw:
        raw.flushall()
    _play(redis_settings, before)
    patient = _submit(redis_settings, "patient", steps=5)
    overtaken = _play(redis_settings, after, patient.id)
    if look(redis_settings, patient).status is Status.QUEUED:
        overtaken += waiting(redis_settings).index(patient.id)
    assert overtaken <= len("abc")


def _play(redis: RedisSettings, moves: list[tuple[str, int] | None], until: str = "") -> int:
    """Submit a job (owner, steps) or draw the next one (None). Returns how many were drawn before ``until``."""
    drawn = 0
    for move in moves:
        if move is not None:
            _submit(redis, move[0], steps=move[1])
        elif waiting(redis)[:1] == [until]:
            break
        else:
            drawn += len(_drawn(redis, 1))
    return drawn
