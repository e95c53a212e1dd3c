from dataclasses import replace
from itertools import accumulate, product

import pytest

from config.settings import RedisSettings
from graphs.api_keys import Priority
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    GRAPH,
    Upkeep,
    a_request,
    cancel,
    claimed,
    claims_of,
    client,
    ended,
    estimate,
    look,
    on_queue,
    put_in,
    submit,
    waiting,
    with_step_times,
)
from workers.jobs.job import Job
from workers.jobs.job_options import JobOptions
from workers.jobs.observe.measured_times import FEWEST, MOST_KEPT
from workers.jobs.observe.queue_view import Page
from workers.jobs.status import SHOWN_STATUSES, Status
from workers.jobs.store import Submission


def _page(
    settings: RedisSettings,
    limit: int = 100,
    after: Job | None = None,
    status: str | None = None,
    *,
    newest_first: bool = True,
    owner: str = "anyone",
) -> Page:
    return on_queue(
        settings,
        lambda view: view.page(owner, after=after, limit=limit, newest_first=newest_first, status=status),
    )


def _ids(page: Page) -> list[str]:
    return [job.id for job in page.jobs]


def _submitted(settings: RedisSettings, count: int) -> list[str]:
    return [submit(settings).id for _ in range(count)]


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 5, 7, 8])
def test_pages_together_are_all_jobs_in_order(redis_settings: RedisSettings, limit: int, newest_first: bool) -> None:
    ids, walked, more = _submitted(redis_settings, 7), [], True
    edge: Job | None = None
    while more:
        page = _page(redis_settings, limit, edge, newest_first=newest_first)
        walked += _ids(page)
        edge, more = page.jobs[-1], page.has_more
        assert len(page.jobs) == limit or not more
    assert walked == (ids[::-1] if newest_first else ids)


def test_an_owner_without_jobs_has_an_empty_page(redis_settings: RedisSettings) -> None:
    submit(redis_settings)
    assert _page(redis_settings, owner="unknown") == Page([], has_more=False)


def test_only_the_owners_jobs_are_listed(redis_settings: RedisSettings) -> None:
    options = JobOptions(owner="other")
    other, _ = put_in(redis_settings, Submission(a_request(), options=options))
    own = submit(redis_settings)
    assert _ids(_page(redis_settings)) == [own.id]
    assert _ids(_page(redis_settings, owner="other")) == [other.id]


@pytest.mark.parametrize("newest_first", [True, False])
def test_expired_records_leave_no_gap_in_pages(redis_settings: RedisSettings, newest_first: bool) -> None:
    ids = _submitted(redis_settings, 120)
    kept = [ids[0], ids[57], ids[119]]
    with client(redis_settings) as raw:
        raw.delete(*[keys.job(job_id) for job_id in ids if job_id not in kept])
    page = _page(redis_settings, 2, newest_first=newest_first)
    order = kept[::-1] if newest_first else kept
    assert (_ids(page), page.has_more) == (order[:2], True)
    last = _page(redis_settings, 2, page.jobs[-1], newest_first=newest_first)
    assert (_ids(last), last.has_more) == (order[2:], False)


def test_the_ids_of_expired_records_are_removed(redis_settings: RedisSettings) -> None:
    ids = _submitted(redis_settings, 4)
    with client(redis_settings) as raw:
        raw.delete(*[keys.job(job_id) for job_id in ids])
        latest = _submitted(redis_settings, 2)
        assert raw.zrange(keys.owner_jobs("anyone"), 0, -1) == latest


def test_a_page_of_a_status_is_full(redis_settings: RedisSettings) -> None:
    jobs = [submit(redis_settings) for _ in range(6)]
    for job in jobs[::2]:
        cancel(redis_settings, job)
    page = _page(redis_settings, 2, status=Status.CANCELLED)
    assert (_ids(page), page.has_more) == ([jobs[4].id, jobs[2].id], True)
    last = _page(redis_settings, 2, page.jobs[-1], Status.CANCELLED)
    assert (_ids(last), last.has_more) == ([jobs[0].id], False)
    assert _page(redis_settings, status=Status.FAILED).jobs == []


_COPIES = """
local record = redis.call('DUMP', KEYS[1])
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local id = 'copy-' .. number
  redis.call('RESTORE', KEYS[2] .. id, 0, record)
  for key = 3, #KEYS do redis.call('ZADD', KEYS[key], 1000 + number, id) end
end
"""


def _with_many(settings: RedisSettings) -> Job:
    """Store a queued job, and 100,000 cancelled ones that are newer, copies of one. Return one in the middle."""
    submit(settings)
    cancelled = cancel(settings, submit(settings))
    lists = [keys.owner_jobs("anyone"), keys.owner_jobs("anyone", Status.CANCELLED)]
    with client(settings) as raw:
        for first in range(1, 100_000, 1000):
            raw.eval(_COPIES, 4, keys.job(cancelled.id), keys.job(""), *lists, first, first + 999)
        assert raw.zcard(lists[0]) == 100_002
    return replace(cancelled, id="copy-50000", sequence=51_000)


def test_a_page_reads_few_records_of_many(redis_settings: RedisSettings) -> None:
    """The commands of Redis are counted, for the first page of each status and for one in the middle of the list."""
    middle = _with_many(redis_settings)
    listed = {"queued": 1, "cancelled": 10, None: 10}
    with client(redis_settings) as raw:
        for status, newest_first, after in product((*SHOWN_STATUSES, None), (True, False), (None, middle)):
            raw.config_resetstat()
            page = _page(redis_settings, 10, after, status, newest_first=newest_first)
            commands = raw.info("commandstats")
            assert sum(int(stats["calls"]) for stats in commands.values()) < 50, commands
            is_behind = status == "queued" and after is not None and not newest_first
            assert len(page.jobs) == (0 if is_behind else listed.get(status, 0))


def test_a_page_of_large_jobs_ends_early_and_the_next_one_goes_on(redis_settings: RedisSettings) -> None:
    ids = [submit(redis_settings, prompt="p" * 250_000).id for _ in range(45)]
    first = _page(redis_settings)
    assert (_ids(first), first.has_more) == (ids[:-21:-1], True)
    second = _page(redis_settings, after=first.jobs[-1])
    third = _page(redis_settings, after=second.jobs[-1])
    assert (_ids(second) + _ids(third), third.has_more) == (ids[-21::-1], False)


def test_the_estimates_of_a_page_ask_the_queue_once(redis_settings: RedisSettings) -> None:
    jobs = [submit(redis_settings) for _ in range(60)]
    with client(redis_settings) as raw:
        raw.config_resetstat()
        estimates = on_queue(redis_settings, lambda view: view.estimates(jobs, {GRAPH: 1}))
        assert int(raw.info("commandstats")["cmdstat_evalsha"]["calls"]) <= 2  # the first finds no script
    assert [found.queue_position for found in estimates] == list(range(60))


def _costing(settings: RedisSettings, steps: int) -> Job:
    return submit(settings, width=1000, height=1000, num_inference_steps=steps)


def test_there_is_no_estimate_before_three_jobs_were_completed(redis_settings: RedisSettings) -> None:
    for _ in range(FEWEST):
        job = submit(redis_settings)
        assert estimate(redis_settings, job).eta_s is None
        ended(redis_settings, job)
    assert estimate(redis_settings, submit(redis_settings)).eta_s is not None


@pytest.mark.parametrize(("workers", "eta_s"), [(0, 22.0), (1, 22.0), (2, 14.0)])
def test_the_estimate_is_the_shared_work_ahead_and_the_jobs_own(
    redis_settings: RedisSettings, workers: int, eta_s: float
) -> None:
    with_step_times(redis_settings, 2.0)
    running, _, job = (_costing(redis_settings, steps) for steps in (4, 6, 3))
    claims, claim = claims_of(redis_settings), claimed(redis_settings, running)
    claims.progress(claim, 2, 4)
    assert estimate(redis_settings, job, workers).eta_s == eta_s


def test_only_the_remaining_work_of_a_running_job_counts(redis_settings: RedisSettings) -> None:
    with_step_times(redis_settings, 2.0)
    job, _ = _costing(redis_settings, 10), _costing(redis_settings, 10)
    claims_of(redis_settings).progress(claimed(redis_settings, job), 4, 10)
    found = estimate(redis_settings, look(redis_settings, job))
    assert (found.queue_position, found.eta_s) == (None, 12.0)


def test_the_work_before_a_job_is_the_sum_of_what_is_before_it(redis_settings: RedisSettings) -> None:
    """Of all priorities and owners, and after cancellations."""
    with_step_times(redis_settings, 1.0)
    jobs = []
    for number in range(60):
        options = JobOptions(owner=f"owner-{number % 3}", priority=list(Priority)[number % 7 % 3])
        request = a_request(width=1000, height=1000, num_inference_steps=1 + number % 13)
        jobs.append(put_in(redis_settings, Submission(request, options=options))[0])
    for job in jobs[::5]:
        cancel(redis_settings, job)
    left = {job.id: job for job in jobs if job not in jobs[::5]}
    order = waiting(redis_settings)
    estimates = on_queue(redis_settings, lambda view: view.estimates([left[name] for name in order], {GRAPH: 1}))
    steps = list(accumulate(left[name].request.num_inference_steps for name in order))
    assert [found.queue_position for found in estimates] == list(range(48))
    assert [found.eta_s for found in estimates] == pytest.approx(
        steps, abs=13
    )  # jobs of one place count by their average
    assert estimates[-1].eta_s == steps[-1]


def test_an_empty_queue_leaves_no_sums(redis_settings: RedisSettings) -> None:
    jobs = [submit(redis_settings) for _ in range(3)]
    claim, claims = claimed(redis_settings, jobs[0]), claims_of(redis_settings)
    claims.progress(claim, 1, 4)
    with client(redis_settings) as raw:
        assert raw.hget(keys.running_work(GRAPH), "sums") == f"750 3000 750 {3000 * 128 * 128} {750 * 128 * 128}"
        assert raw.hget(keys.work(GRAPH), "1:12:0") == f"2 8 2 {8 * 128 * 128} {2 * 128 * 128}"
        claims.complete(claim, [b"image"], {})
        for job in jobs[1:]:
            cancel(redis_settings, job)
        assert raw.exists(keys.work(GRAPH), keys.running_work(GRAPH)) == 0
        assert not {"left", "summed"} & set(raw.hkeys(keys.job(jobs[0].id)))


def test_the_jobs_of_an_older_release_are_counted(settled_redis: RedisSettings) -> None:
    with_step_times(settled_redis, 1.0)
    jobs = [_costing(settled_redis, 3) for _ in range(250)]
    with client(settled_redis) as raw:
        raw.delete(keys.work(GRAPH))
        for job in jobs:
            raw.hdel(keys.job(job.id), "summed")
    assert estimate(settled_redis, jobs[-1]).eta_s == 3
    upkeep = Upkeep(settled_redis)
    upkeep.reap()
    upkeep.reap()
    assert estimate(settled_redis, jobs[-1]).eta_s == 250 * 3


def test_an_ended_job_has_no_estimate(redis_settings: RedisSettings) -> None:
    found = estimate(redis_settings, ended(redis_settings, submit(redis_settings)))
    assert (found.queue_position, found.eta_s) == (None, None)


def test_the_times_of_the_last_jobs_are_kept(redis_settings: RedisSettings) -> None:
    for number in range(MOST_KEPT + 1):
        job = submit(redis_settings, num_inference_steps=number + 1)
        claim = claimed(redis_settings, job)
        with client(redis_settings) as raw:
            raw.hincrbyfloat(keys.job(job.id), "started_at", -40)
        seconds = {"denoise": 30.0, "generate": 33.0, "text_encode": 1.0, "vae_decode": 2.0, "encode": 0.5}
        claims_of(redis_settings).complete(claim, [b"x"], seconds)
    with client(redis_settings) as raw:
        newest, *others = (str(line).split() for line in raw.lrange(keys.times(GRAPH), 0, -1))
    assert newest[:5] == [str(MOST_KEPT + 1), "1", str(128 * 128), "30.000000", "3.500000"]
    assert float(newest[5]) == pytest.approx(40.0, abs=5)
    assert len(others) == MOST_KEPT - 1


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
def test_a_job_that_was_not_completed_is_not_measured(redis_settings: RedisSettings, status: Status) -> None:
    ended(redis_settings, submit(redis_settings), status)
    with client(redis_settings) as raw:
        assert raw.exists(keys.times(GRAPH)) == 0
