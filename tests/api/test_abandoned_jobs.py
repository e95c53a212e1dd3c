"""The job of clients that time out and come back is cancelled once the last of them has been away for long enough."""

from api.drain import ApiDrain
from api.waiting.abandoned_jobs import AbandonedJobs
from config.http_settings import HttpSettings
from config.settings import RedisSettings
from tests.workers.jobs.jobs_support import a_request, on_store
from workers.jobs.status import Status
from workers.jobs.store import JobStore, Submission


def test_only_the_last_of_several_departures_counts(redis_settings: RedisSettings) -> None:
    """The first client comes back and leaves again; at the end of its first absence it may come back once more."""

    async def statuses(store: JobStore) -> list[Status]:
        job, _ = await store.submit(Submission(a_request()))
        abandoned = AbandonedJobs(store, ApiDrain(HttpSettings()), cancels=True)
        abandoned.abandon_later(job, 0.2)
        first = next(iter(abandoned._abandon_tasks))
        while await store.add_waiter(job, 0) > 0:
            assert not first.done()
        await store.add_waiter(job, 1)
        abandoned.abandon_later(job, 1.0)
        (second,) = abandoned._abandon_tasks - {first}
        found = []
        for task in (first, second):
            await task
            found.append(await store.status(job.id))
        return found

    assert on_store(redis_settings, statuses) == [Status.QUEUED, Status.CANCELLED]
