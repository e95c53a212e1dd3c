"""What a submission is, and how the script that stores it is called (lua/submit.lua)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from config.settings import JobSettings
from graphs.errors import RequestTooLarge
from graphs.requests.request import ResolvedRequest
from workers.jobs.job import Job, cost_of
from workers.jobs.job_options import JobOptions
from workers.jobs.observe.measured_times import work_of
from workers.jobs.queue_bounds import QueueBounds, kept_bounds, queue_bounds
from workers.jobs.redis.keys import Keys
from workers.jobs.redis.script import ScriptCall, flat
from workers.jobs.redis.scripts import SUBMIT
from workers.jobs.status import Status


@dataclass(frozen=True)
class Idempotency:
    """What makes a request the same as an earlier one.

    ``key`` identifies the request and is remembered for ``ttl_s`` seconds; ``digest`` is that of the whole request, and
    must be equal. ``join`` says when an earlier job is joined: 'always', 'live' (only while it waits, runs or is
    completed), or 'never'.
    It is that of one model: an equal request to another model of the same name makes another job.
    """

    key: str = ""
    digest: str = "-"
    ttl_s: int = 0
    join: Literal["always", "live", "never"] = "never"


@dataclass(frozen=True)
class Submission:
    """A resolved request with its input images (PNG, empty for none) and options, as the store takes it.

    ``name`` is the client's own choice of an id, if any. After ``start_by`` (unix seconds) no client waits for the job.
    ``adapters_version``: that of the added adapters that the request was resolved with; '' where it uses none of them.
    ``model_digest``: that of the model which the request was resolved for; any worker of the graph may draw a job
    without one.
    """

    request: ResolvedRequest
    options: JobOptions = field(default_factory=JobOptions)
    image: bytes = b""
    mask: bytes = b""
    name: str | None = None
    idempotency: Idempotency = field(default_factory=Idempotency)
    start_by: float | None = None
    model_digest: str = ""
    adapters_version: str = ""


def queued_job(job_id: str, submission: Submission, sequence: int, created_at: float) -> Job:
    """Return the job that lua/submit.lua stored just now; ``created_at``: unix seconds."""
    return Job(
        id=job_id,
        request=submission.request,
        options=submission.options,
        status=Status.QUEUED,
        created_at=created_at,
        cost=cost_of(submission.request),
        events=1,
        sequence=sequence,
        own_name=submission.name,
    )


def submit_call(
    keys: Keys, jobs: JobSettings, job_id: str, submission: Submission, queue: str, message: str
) -> ScriptCall:
    """Return the call of lua/submit.lua. Raises RequestTooLarge for a request that fits no queue."""
    request = submission.request
    options = submission.options
    idempotency = submission.idempotency
    bounds = queue_bounds(jobs, options.owner)
    fields = _record_fields(submission)
    return SUBMIT.of(
        keys,
        request.graph,
        jobs,
        fairness_key=keys.fairness(request.graph),
        idempotency_key=keys.idempotency(options.owner, idempotency.key),
        adapters_version_key=keys.adapters_version,
        adapters_version=submission.adapters_version,
        messages_key=keys.celery_prefix + queue,
        message=message,
        job_id=job_id,
        name=submission.name or "",
        owner=options.owner,
        image=submission.image,
        mask=submission.mask,
        priority_rank=options.priority.rank,
        cost=cost_of(request),
        size_bytes=_size_bytes(submission, fields, bounds),
        start_by="" if submission.start_by is None else str(submission.start_by),
        digest=idempotency.digest,
        model_digest=submission.model_digest,
        join=idempotency.join,
        idempotency_ttl_s=idempotency.ttl_s,
        max_queued=bounds.jobs,
        max_queued_bytes=bounds.bytes,
        max_owner_queued=bounds.owner_jobs,
        max_owner_bytes=bounds.owner_bytes,
        **kept_bounds(jobs, options.owner).arguments(),
        fields=flat(fields),
    )


def _record_fields(submission: Submission) -> dict[str, str]:
    """Return the fields of a record that its submission decides; a script needs no others to write a delivery."""
    request = submission.request
    options = submission.options
    fields = {
        "request": request.model_dump_json(exclude_defaults=True),
        "options": options.model_dump_json(exclude_defaults=True),
        "work": str(work_of(request)),
    }
    if options.deadline is not None:
        fields["deadline"] = str(options.deadline)
    if options.webhook is not None:
        fields["webhook_url"] = options.webhook.url
        fields["webhook_receiver"] = urlsplit(options.webhook.url).netloc.rpartition("@")[2].lower()
        fields["webhook_events"] = " ".join(options.webhook.events)
        fields["webhook_data"] = json.dumps({"model": request.model, "metadata": options.metadata, **options.trace})
    return fields


def _size_bytes(submission: Submission, fields: Mapping[str, str], bounds: QueueBounds) -> int:
    """Return how many bytes of the queue a submission takes. Raises RequestTooLarge when it would never fit."""
    size_bytes = len(submission.image) + len(submission.mask)
    size_bytes += sum(len(text.encode()) for text in flat(fields))
    if size_bytes > bounds.largest_job_bytes:
        raise RequestTooLarge(
            f"With its images as PNG the request has {size_bytes} bytes; this queue takes {bounds.largest_job_bytes}."
        )
    return size_bytes
