import re

import pytest

from config.settings import RedisSettings
from tests.workers.jobs.jobs_support import a_request, look, submit
from workers.jobs.job import Job, cost_of, job_from_hash, new_job_id
from workers.jobs.job_options import JobOptions
from workers.jobs.status import TRANSITIONS, Status

FINAL = {Status.COMPLETED, Status.FAILED, Status.CANCELLED}


@pytest.mark.parametrize("status", list(Status))
def test_a_final_status_never_changes(status: Status) -> None:
    assert status.is_final == (status in FINAL)
    assert status.is_final == (TRANSITIONS[status] == frozenset())


def test_every_status_can_be_reached_from_queued() -> None:
    reached, frontier = {Status.QUEUED}, {Status.QUEUED}
    while frontier:
        frontier = {after for before in frontier for after in TRANSITIONS[before]} - reached
        reached |= frontier
    assert reached == set(Status) == set(TRANSITIONS)


@pytest.mark.parametrize(
    ("status", "step", "total", "percent"),
    [
        (Status.QUEUED, None, None, 0),
        (Status.IN_PROGRESS, 0, None, 0),
        (Status.IN_PROGRESS, 0, 4, 0),
        (Status.IN_PROGRESS, 1, 3, 33),
        (Status.IN_PROGRESS, 4, 4, 99),
        (Status.IN_PROGRESS, 9, 4, 99),
        (Status.COMPLETED, 4, 4, 100),
        (Status.COMPLETED, None, None, 100),
        (Status.FAILED, 2, 4, 50),
    ],
)
def test_progress_is_a_hundred_only_for_a_completed_job(
    status: Status, step: int | None, total: int | None, percent: int
) -> None:
    job = Job("imgjob_1", a_request(), JobOptions(), status, 0.0, step=step, total_steps=total)
    assert job.progress == percent


def test_ids_cannot_be_guessed() -> None:
    ids = {new_job_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"imgjob_[0-9a-f]{24}", job_id) for job_id in ids)


def test_a_record_with_few_fields_is_read() -> None:
    stored = {b"request": a_request().model_dump_json().encode(), b"status": b"queued", b"created_at": b"1.5"}
    job = job_from_hash("imgjob_1", stored)
    assert (job.status, job.created_at, job.attempts, job.artifacts) == (Status.QUEUED, 1.5, 0, 0)
    assert (job.started_at, job.step, job.error, job.seconds) == (None, None, None, None)
    assert (job.options, job.cost, job.events, job.sequence) == (JobOptions(), 0.0, 0, 0)


def test_cost_is_steps_times_megapixels() -> None:
    assert cost_of(a_request(width=1000, height=500, num_inference_steps=8, num_images_per_prompt=3)) == 12.0
    assert cost_of(a_request(width=64, height=64, num_inference_steps=1)) == 0.01


@pytest.mark.parametrize(
    "prompt",
    ["", "a\x00b", "ж 🟥 \u2028", "x" * 32_000, '{"a": "\\u0000"}'],
    ids=["empty", "nul", "emoji", "long", "json"],
)
def test_a_submitted_request_is_stored_unchanged(redis_settings: RedisSettings, prompt: str) -> None:
    expected = a_request(prompt=prompt, guidance_scale=0.1 + 0.2, adapters=[{"alias": "ä", "alpha": -1e-9}])
    job = submit(redis_settings, prompt=prompt, guidance_scale=0.1 + 0.2, adapters=[{"alias": "ä", "alpha": -1e-9}])
    assert job.request == expected
    assert look(redis_settings, job) == job
