"""What is in Redis at the end."""

from dataclasses import dataclass, field
from typing import Any

import redis

from tests.faults.parts import GRAPH
from tests.support.redis_keys import keys
from workers.jobs.job import Job, job_from_hash
from workers.jobs.observe.presence import live_workers

_JOB = keys.job("")


@dataclass(frozen=True)
class StoredJob:
    """A job with its images, and the numbers and kinds of its own events."""

    job: Job
    images: list[bytes]
    events: list[tuple[int, str]]


@dataclass(frozen=True)
class Stored:
    """Jobs by id; every key with its time to live in seconds (-1: for ever); what waits, who works, what is counted.

    ``evicted``: how many ended jobs made room for others; ``counts``: the metrics of the graph.
    """

    jobs: dict[str, StoredJob]
    keys: dict[str, int]
    open_jobs: list[str]
    ready_workers: list[str]
    messages: int
    unacked: int
    counted_as_ended: set[str]
    unfinished_bytes: int
    evicted: int
    counts: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def read_store(url: str) -> Stored:
    """Read all of it. Redis must be there."""
    client: Any
    with redis.Redis.from_url(url, socket_timeout=10) as client:
        names = sorted(name.decode() for name in client.scan_iter(count=1000))
        with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.ttl(name)
            ttls = dict(zip(names, pipe.execute(), strict=True))
        ids = [name.removeprefix(_JOB) for name in names if name.startswith(_JOB) and ":" not in name[len(_JOB) :]]
        jobs = {job_id: _stored_job(client, job_id) for job_id in ids if client.hexists(keys.job(job_id), "request")}
        alive = live_workers(client.hgetall(keys.workers), float(client.time()[0]))
        return Stored(
            jobs=jobs,
            keys=ttls,
            open_jobs=sorted(job_id for job_id, found in jobs.items() if not found.job.status.is_final),
            ready_workers=[worker.name for worker in alive if worker.ready],
            messages=int(client.llen(keys.messages(GRAPH))),
            unacked=int(client.hlen(f"{keys.celery_prefix}:unacked")),
            counted_as_ended={raw.decode() for raw in client.hkeys(keys.ended_sizes)},
            unfinished_bytes=int(client.hget(keys.kept, "unfinished") or 0),
            evicted=sum(int(n) for field, n in client.hgetall(keys.kept).items() if field.startswith(b"evicted:")),
            counts={field.decode(): int(n) for field, n in client.hgetall(keys.metrics(GRAPH)).items()},
            broken=sorted(set(ids) - set(jobs)),
        )


def _stored_job(client: Any, job_id: str) -> StoredJob:
    job = job_from_hash(job_id, client.hgetall(keys.job(job_id)))
    images = client.mget([keys.artifact(job_id, n) for n in range(job.artifacts)]) if job.artifacts else []
    events = [
        (int(number.partition(b"-")[0]), fields[b"type"].decode())
        for number, fields in client.xrange(keys.job_events(job_id))
    ]
    return StoredJob(job, [image or b"" for image in images], events)
