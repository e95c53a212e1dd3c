"""What Redis keeps of one owner is bounded: its oldest ended jobs go, no unfinished job does, and others are served."""

from collections.abc import Iterator

import pytest

from config.settings import JobSettings, RedisSettings
from graphs.errors import ArtifactExpired, JobNotFound, QueueFull, RequestTooLarge, StoreFull
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.support.redis_server import RunningRedis, running_redis
from tests.workers.jobs.jobs_support import (
    GRAPH,
    a_request,
    a_submission,
    cancel,
    claimed,
    claims_of,
    client,
    ended,
    erase,
    look,
    on_metrics,
    on_queue,
    on_store,
    put_in,
    submit,
    waiting,
    write_layout_version,
)
from tests.workers.jobs.kept_support import assert_counts_agree, kept_of
from tests.workers.webhooks.webhook_support import job_with_webhook
from workers.jobs.deliveries import Deliveries
from workers.jobs.job import Job
from workers.jobs.job_options import JobOptions
from workers.jobs.redis.layout import check_layout_at_start
from workers.jobs.status import EXPIRED, Status
from workers.jobs.store import Idempotency, JobStore, Submission

_MAX_MEMORY = 32 * 2**20
_MIB = 2**20


@pytest.fixture(scope="module")
def small_server(redis_processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    with running_redis(tmp_path_factory.mktemp("kept"), _MAX_MEMORY) as running:
        yield running


@pytest.fixture
def small(small_server: RunningRedis) -> RedisSettings:
    """An emptied server with 32 MiB: jobs may take 24 MiB, and one key may keep 12 MiB."""
    with small_server.client() as raw:
        raw.execute_command("FLUSHALL", "SYNC")
    return small_server.settings


def _cancelled(settings: RedisSettings, owner: str, jobs: JobSettings | None = None, size: int = 0) -> Job:
    """Submit a job with a prompt of this size and cancel it."""
    submission = Submission(a_request(prompt="p" * size), options=JobOptions(owner=owner))
    return cancel(settings, put_in(settings, submission, jobs or JobSettings())[0])


def _flood(settings: RedisSettings, owners: list[str], count: int) -> None:
    """Submit so many jobs with prompts of 60,000 characters, the owners in turn, and cancel each at once."""

    async def submit_all(store: JobStore) -> None:
        for number in range(count):
            options = JobOptions(owner=owners[number % len(owners)])
            job, _ = await store.submit(Submission(a_request(prompt="p" * 60_000), options=options))
            await store.cancel(job)

    on_store(settings, submit_all)


def _exists(settings: RedisSettings, job: Job) -> bool:
    with client(settings) as raw:
        return bool(raw.exists(keys.job(job.id)))


def _used(settings: RedisSettings) -> int:
    with client(settings) as raw:
        return int(raw.info("memory")["used_memory"])


def _listed(settings: RedisSettings, owner: str, status: str) -> list[str]:
    """Return the ids of an owner's jobs with a status, the newest first."""
    page = on_queue(settings, lambda view: view.page(owner, after=None, limit=9, newest_first=True, status=status))
    return [job.id for job in page.jobs]


def test_an_owner_keeps_so_many_jobs_and_the_oldest_ended_ones_go(redis_settings: RedisSettings) -> None:
    few = JobSettings(max_kept_per_key=3)
    waits, _ = put_in(redis_settings, a_submission("key"), few)
    with client(redis_settings) as raw:
        raw.zrem(keys.queued(GRAPH), waits.id)  # so that the next jobs are first; it stays unfinished
    other = _cancelled(redis_settings, "other")
    ended_jobs = [_cancelled(redis_settings, "key", few) for _ in range(5)]
    assert [_exists(redis_settings, job) for job in ended_jobs] == [False, False, False, True, True]
    assert _exists(redis_settings, waits)
    assert _exists(redis_settings, other)
    assert on_metrics(redis_settings, [GRAPH]).kept.evicted == {"owner_bytes": 0, "owner_jobs": 3, "memory": 0}


def test_an_owner_keeps_so_many_bytes_and_the_oldest_ended_jobs_go(redis_settings: RedisSettings) -> None:
    jobs = JobSettings(max_kept_bytes_per_key=200_000)
    kept = [_cancelled(redis_settings, "key", jobs, size=30_000) for _ in range(12)]
    alive = [_exists(redis_settings, job) for job in kept]
    assert alive == sorted(alive)
    assert 3 <= sum(alive) < 5
    assert sum(kept_of(redis_settings, "key")) <= 200_000
    assert_counts_agree(redis_settings)


def test_an_image_makes_room_for_itself(redis_settings: RedisSettings) -> None:
    jobs = JobSettings(max_kept_bytes_per_key=500_000)
    drawn: list[Job] = []
    for _ in range(4):
        job, _ = put_in(redis_settings, a_submission("key"), jobs)
        claim = claims_of(redis_settings, jobs=jobs).claim_next(GRAPH)
        assert claim
        assert claims_of(redis_settings, jobs=jobs).complete(claim, [b"i" * 100_000], {})
        drawn.append(job)
    assert [_exists(redis_settings, job) for job in drawn] == [False, True, True, True]
    newest = look(redis_settings, drawn[-1])
    assert on_store(redis_settings, lambda store: store.artifacts(newest)) == [b"i" * 100_000]
    with client(redis_settings) as raw:
        assert raw.keys(f"{keys.job(drawn[0].id)}*") == []
    assert_counts_agree(redis_settings)


def test_an_owner_whose_unfinished_jobs_fill_its_bound_is_refused_and_others_are_not(
    redis_settings: RedisSettings,
) -> None:
    jobs = JobSettings(max_kept_bytes_per_key=200_000)
    waits = [put_in(redis_settings, a_submission("key", image=b"i" * 40_000), jobs)[0] for _ in range(3)]
    with pytest.raises(QueueFull) as refusal:
        put_in(redis_settings, a_submission("key", image=b"i" * 40_000), jobs)
    assert refusal.value.message == (
        "The jobs of this API key that have not ended, with webhooks that are not delivered, take 0.2 MiB of Redis, "
        "and may take 0.2 MiB now (IMAGEGEN_JOBS__MAX_KEPT_BYTES_PER_KEY and Redis's maxmemory "
        "(IMAGEGEN_REDIS__MAX_MEMORY_BYTES)); wait until some have ended, or cancel some."
    )
    assert 1 <= (refusal.value.retry_after_s or 0) <= 60
    assert waiting(redis_settings) == [job.id for job in waits]
    assert put_in(redis_settings, a_submission("other", image=b"i" * 40_000), jobs)[1]
    cancel(redis_settings, waits[0])
    assert put_in(redis_settings, a_submission("key", image=b"i" * 40_000), jobs)[1]


def test_a_job_larger_than_what_others_leave_is_refused_with_the_cause(small: RedisSettings) -> None:
    put_in(small, a_submission("key", image=b"i" * 9 * _MIB))
    with client(small) as raw:
        raw.script_flush()  # the arguments of the last call, which Lua has not freed yet
    with pytest.raises(StoreFull) as refusal:
        put_in(small, a_submission("other", image=b"i" * 7 * _MIB))
    assert refusal.value.message == (
        "The jobs of other clients that have not ended leave 6.4 MiB of Redis for a job of this one, which takes 8.8 "
        "MiB; room comes as they end. See Redis's maxmemory (IMAGEGEN_REDIS__MAX_MEMORY_BYTES)."
    )
    assert put_in(small, a_submission("other", image=b"i" * 5 * _MIB))[1]


def test_an_owner_with_as_many_unfinished_jobs_as_it_may_keep_is_refused(redis_settings: RedisSettings) -> None:
    jobs = JobSettings(max_kept_per_key=2)
    first, second = (put_in(redis_settings, a_submission("key"), jobs)[0] for _ in range(2))
    with pytest.raises(QueueFull, match=r"2 jobs of this API key have not ended, and 2 .*MAX_KEPT_PER_KEY"):
        put_in(redis_settings, a_submission("key"), jobs)
    assert waiting(redis_settings) == [first.id, second.id]


def test_a_request_that_no_room_can_be_made_for_has_no_retry_after(redis_settings: RedisSettings) -> None:
    jobs = JobSettings(max_kept_bytes_per_key=50_000)
    kept = _cancelled(redis_settings, "key", jobs)
    with pytest.raises(RequestTooLarge, match="more than the 50000 that one API key may keep"):
        put_in(redis_settings, a_submission("key", image=b"i" * 50_000), jobs)
    assert _exists(redis_settings, kept)


def test_one_owner_at_its_bound_leaves_room_for_another(small: RedisSettings) -> None:
    """It submits and cancels four times what Redis can hold; its share is three eighths of maxmemory."""
    _flood(small, ["key"], 4 * _MAX_MEMORY // 60_000)
    assert _used(small) < _MAX_MEMORY * 3 / 4
    assert sum(kept_of(small, "key")) <= _MAX_MEMORY * 3 // 8
    job, _ = put_in(small, a_submission("other", image=b"i" * 4 * _MIB))
    assert claims_of(small).complete(claimed(small, job), [b"i" * 4 * _MIB], {})
    assert look(small, job).status is Status.COMPLETED


def test_many_owners_at_their_bounds_leave_room_for_one_more(small: RedisSettings) -> None:
    """The owner who keeps the most makes room, so that all of them keep about the same."""
    owners = [f"key-{number}" for number in range(8)]
    _flood(small, owners, 3 * _MAX_MEMORY // 60_000)
    kept = [sum(kept_of(small, owner)) for owner in owners]
    assert sum(kept) <= _MAX_MEMORY * 3 // 4
    assert min(kept) > max(kept) - 200_000
    newcomers = [_cancelled(small, "newcomer", size=60_000) for _ in range(20)]
    assert all(_exists(small, job) for job in newcomers)
    assert_counts_agree(small)


def test_unfinished_jobs_of_many_owners_leave_room_for_one_more(small: RedisSettings) -> None:
    """Each may take half of what the others leave; what no one can take is never used up."""
    for number in range(6):
        with pytest.raises(QueueFull, match="of this API key that have not ended"):
            while True:
                put_in(small, a_submission(f"key-{number}", image=b"i" * 50_000))
        assert put_in(small, a_submission(f"newcomer-{number}", image=b"i" * 50_000))[1]
    assert _used(small) < _MAX_MEMORY
    while (claim := claims_of(small).claim_next(GRAPH)) is not None:
        assert claims_of(small).complete(claim, [b"i" * 50_000], {})
    assert_counts_agree(small)


def test_without_keys_all_of_the_room_is_for_the_one_owner(small: RedisSettings) -> None:
    _flood(small, ["anyone"], 3 * _MAX_MEMORY // 60_000)
    assert _MAX_MEMORY * 5 // 8 < sum(kept_of(small, "anyone")) <= _MAX_MEMORY * 3 // 4
    assert _used(small) < _MAX_MEMORY


def test_a_redis_that_something_else_fills_evicts_ended_jobs_before_it_refuses(small: RedisSettings) -> None:
    kept = [_cancelled(small, "key", size=30_000) for _ in range(200)]
    with client(small) as raw:
        memory = raw.info("memory")
        raw.config_set("maxmemory", int(memory["used_memory"]) - int(memory["mem_not_counted_for_evict"]))
    try:
        assert put_in(small, a_submission("other"))[1]
        assert not _exists(small, kept[0])
    finally:
        with client(small) as raw:
            raw.config_set("maxmemory", _MAX_MEMORY)


def test_an_expired_result_counts_no_more_and_is_listed_as_expired(redis_settings: RedisSettings) -> None:
    soon = JobSettings(result_ttl_s=1)
    job, _ = put_in(redis_settings, a_submission("key"), soon)
    claim = claimed(redis_settings, job)
    assert claims_of(redis_settings, jobs=soon).complete(claim, [b"i" * 100_000], {})
    assert kept_of(redis_settings, "key")[1] > 100_000

    assert _listed(redis_settings, "key", Status.COMPLETED) == [job.id]
    wait_until(lambda: _listed(redis_settings, "key", EXPIRED) == [job.id], "the result expires")
    assert _listed(redis_settings, "key", Status.COMPLETED) == []
    assert kept_of(redis_settings, "key")[1] < 20_000
    job = look(redis_settings, job)
    with pytest.raises(ArtifactExpired):
        on_store(redis_settings, lambda store: store.artifacts(job))


def test_an_expired_record_counts_no_more(redis_settings: RedisSettings) -> None:
    job, _ = put_in(redis_settings, a_submission("key"))
    on_store(redis_settings, lambda store: store.cancel(job), JobSettings(record_ttl_s=1))
    assert kept_of(redis_settings, "key")[1] > 0
    wait_until(lambda: not _exists(redis_settings, job), "the record expires")

    def is_swept() -> bool:
        erase(redis_settings, put_in(redis_settings, a_submission("other"))[0])
        return kept_of(redis_settings, "key") == (0, 0)

    wait_until(is_swept, "a submission counts the records out")
    assert_counts_agree(redis_settings)


def test_nothing_is_left_of_erased_jobs(redis_settings: RedisSettings) -> None:
    idempotency = Idempotency("key:x", "digest", 100, "always")
    for status in (None, Status.COMPLETED, Status.CANCELLED):
        job, _ = put_in(redis_settings, a_submission("key", name="mine", idempotency=idempotency))
        if status:
            ended(redis_settings, job, status)
        erase(redis_settings, job)
        with client(redis_settings) as raw:
            left = [key for key in raw.scan_iter() if "key" in str(key) or job.id in str(key)]
        assert left == []
        assert kept_of(redis_settings, "key") == (0, 0)


def test_deliveries_count_until_they_are_delivered(redis_settings: RedisSettings) -> None:
    job = job_with_webhook(redis_settings, "http://127.0.0.1:1/")
    before, _ = kept_of(redis_settings, job.options.owner)
    cancel(redis_settings, job)
    held, _ = kept_of(redis_settings, job.options.owner)
    assert 0 < held < before
    deliveries = Deliveries(redis_settings)
    for event_id, token in deliveries.claim_due(10):
        delivery = deliveries.begin(event_id, token)
        assert delivery
        deliveries.end(delivery)
    assert kept_of(redis_settings, job.options.owner)[0] == 0
    with client(redis_settings) as raw:
        assert raw.exists(keys.delivery_sizes, keys.deliveries) == 0


def test_jobs_of_an_older_layout_are_counted_and_listed(redis_settings: RedisSettings) -> None:
    done, failed = submit(redis_settings), submit(redis_settings)
    ended(redis_settings, done)
    ended(redis_settings, failed, Status.FAILED)
    waits, runs = submit(redis_settings, b"image"), submit(redis_settings)
    claims_of(redis_settings).claim_next(GRAPH)
    _make_older(redis_settings)
    check_layout_at_start(redis_settings)
    assert_counts_agree(redis_settings)
    claims_of(redis_settings).claim_next(GRAPH)
    assert_counts_agree(redis_settings)
    for status, jobs in {
        Status.COMPLETED: [done],
        Status.FAILED: [failed],
        Status.IN_PROGRESS: [runs, waits],
    }.items():
        assert _listed(redis_settings, "anyone", status) == [job.id for job in jobs]
    erase(redis_settings, waits)
    assert_counts_agree(redis_settings)
    with client(redis_settings) as raw:
        assert raw.exists(keys.adoption) == 0


def _make_older(settings: RedisSettings) -> None:
    """Take away what layout version 3 added."""
    write_layout_version(settings, "2")
    with client(settings) as raw:
        raw.delete(keys.kept, keys.kept_ended, keys.ended_sizes, keys.record_ends, keys.result_ends)
        raw.delete(keys.owner_ended("anyone"), *(keys.owner_jobs("anyone", status) for status in Status))
        for key in raw.scan_iter("imagegen:job:*", _type="hash"):
            raw.hdel(key, "kept", "once", "preview_bytes")


def test_an_evicted_job_is_not_found(redis_settings: RedisSettings) -> None:
    few = JobSettings(max_kept_per_key=1)
    job = _cancelled(redis_settings, "key", few)
    _cancelled(redis_settings, "key", few)
    with pytest.raises(JobNotFound, match="the oldest go first where an owner keeps too much"):
        on_store(redis_settings, lambda store: store.find(job.id, "key"))


def test_cancelled_jobs_leave_few_messages(redis_settings: RedisSettings) -> None:
    for _ in range(3):
        job, _ = on_store(redis_settings, lambda store: store.submit(a_submission(), GRAPH, "a message"))
        cancel(redis_settings, job)
    with client(redis_settings) as raw:
        assert raw.lrange(keys.messages(GRAPH), 0, -1) == ["a message"]
