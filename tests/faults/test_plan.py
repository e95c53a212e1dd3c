"""The plan is the seed's, and the checks find what they are there to find."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.checks import violations
from tests.faults.clients import Answer, Seen
from tests.faults.harness import Evidence
from tests.faults.images import expected_images, expected_request
from tests.faults.inject import Injected
from tests.faults.plan import GROUPS, Ask, AskKind, Kind, make_plan
from tests.faults.store import Stored, StoredJob
from tests.faults.witness import Story
from workers.engine.images import encode
from workers.jobs.job import Job, JobError
from workers.jobs.job_options import JobOptions
from workers.jobs.status import Status

PLAN = make_plan(5, 3)
NOW = time.time()
ASKS = [ask for ask in map(PLAN.ask, range(50)) if ask.kind is AskKind.JOB]
Change = Callable[[Evidence], Evidence]


def test_the_same_seed_is_the_same_plan() -> None:
    assert make_plan(5, 40) == make_plan(5, 40) != make_plan(6, 40)
    assert [PLAN.ask(number) for number in range(20)] == [make_plan(5, 1).ask(number) for number in range(20)]


def test_every_kind_comes_before_any_comes_twice() -> None:
    kinds = [fault.kind for fault in make_plan(1, len(Kind)).faults]
    assert sorted(kinds) == sorted(Kind)


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_what_is_left_out_does_not_come(group: str) -> None:
    kinds = {fault.kind for fault in make_plan(1, 40, without=[group]).faults}
    assert kinds == set(Kind) - set(GROUPS[group])


def test_of_a_good_run_nothing_is_said() -> None:
    assert violations(_good()) == []


BAD: dict[str, tuple[Change, str]] = {
    "lost": (lambda run: _with_stored(run, jobs={}), "was accepted and is gone"),
    "lost while Redis was full": (lambda run: _made_room(run, ended=False, evicted=1), "was accepted and is gone"),
    "lost, and nothing was evicted": (lambda run: _made_room(run, evicted=0), "was accepted and is gone"),
    "open": (lambda run: _with_stored(run, open_jobs=["j0"]), "j0 never ended"),
    "wrong pixels": (lambda run: _with_job(run, images=[encode(expected_images(ASKS[1])[0], "png", 100)]), "wrong"),
    "another request": (
        lambda run: _of_job(run, request=expected_request(ASKS[0]).model_copy(update={"rng_seed": 1})),
        "another request",
    ),
    "another ask's": (lambda run: _of_job(run, request=expected_request(ASKS[1])), "was accepted for ask"),
    "failed": (lambda run: _ended(run, Status.FAILED, JobError("internal_error", "?")), "internal_error"),
    "crashed, harmless": (lambda run: _ended(run, Status.FAILED, JobError("worker_crashed", "?")), "worker_crashed"),
    "cancelled": (lambda run: _ended(run, Status.CANCELLED, None), "cancelled without a request"),
    "ended twice": (
        lambda run: _with_job(run, events=[(1, "queued"), (2, "in_progress"), (3, "completed"), (4, "completed")]),
        "its events end with",
    ),
    "announced twice": (
        lambda run: replace(run, stories={"j0": Story([(NOW, "completed"), (NOW, "cancelled")])}),
        "ended 2 times",
    ),
    "a gap": (lambda run: _with_job(run, events=[(1, "queued"), (2, "in_progress"), (4, "completed")]), "a gap"),
    "made twice": (
        lambda run: _with_stored(run, jobs={**run.stored.jobs, "j1": run.stored.jobs["j0"]}),
        "made 2 jobs",
    ),
    "a 500": (lambda run: replace(run, seen=replace(run.seen, server_errors=["GET /x"])), "500 for GET /x"),
    "unexplained": (
        lambda run: replace(run, seen=replace(run.seen, answers=[Answer(ASKS[0], 1.0, 2.0, "error", error="503")])),
        "what no fault explains",
    ),
    "a key": (lambda run: _with_stored(run, keys={"imagegen:job:j0:image": -1}), "was left behind"),
    "no end of a key": (lambda run: _with_stored(run, keys={"imagegen:job:j0": -1}), "was left behind"),
    "not counted": (lambda run: _with_stored(run, counted_as_ended=set()), "but not both: ['j0']"),
    "counted for ever": (lambda run: _with_stored(run, unfinished_bytes=9), "9 bytes are counted of unfinished jobs"),
    "a dead worker": (lambda run: _with_stored(run, ready_workers=["one"]), "1 of 2 workers"),
    "a message": (lambda run: _with_stored(run, messages=1), "left in the queue"),
    "not served": (lambda run: replace(run, last=replace(run.last, outcome="error")), "was not served"),
}


@pytest.mark.parametrize("what", list(BAD))
def test_what_must_not_be_is_found(what: str) -> None:
    change, sentence = BAD[what]
    assert any(sentence in found for found in violations(change(_good())))


def test_an_ended_job_that_made_room_is_not_lost() -> None:
    found = violations(_made_room(_good(), evicted=1))
    assert not any("is gone" in sentence for sentence in found), found


@pytest.mark.parametrize("known", [True, False])
def test_a_client_may_ask_for_a_job_that_made_room_and_for_no_other(known: bool) -> None:
    run = _made_room(_good(), evicted=1)
    answer = replace(
        run.seen.answers[0],
        outcome="error",
        images=(),
        error=f"NotFoundError: There is no job '{'j0' if known else 'j1'}' any more.",
        may_pass=False,
    )
    found = violations(replace(run, seen=replace(run.seen, answers=[answer], accepted={})))
    assert any("no fault explains" in sentence for sentence in found) is not known


def _made_room(run: Evidence, *, ended: bool = True, evicted: int) -> Evidence:
    """Return a run in which Redis was full for a while, and the job is gone."""
    full = replace(PLAN.faults[0], kind=Kind.MAXMEMORY)
    changes = [(NOW, "queued"), *([(NOW + 1, "completed")] if ended else [])]
    run = replace(run, faults=[Injected(full, NOW, NOW + 2)], stories={"j0": Story(changes, name="j0")})
    return _with_stored(run, jobs={}, evicted=evicted)


def _good() -> Evidence:
    """One job, completed, and one fault."""
    ask = ASKS[0]
    images = [encode(image, "png", 100) for image in expected_images(ask)]
    job = Job("j0", expected_request(ask), JobOptions(), Status.COMPLETED, NOW, attempts=1, artifacts=len(images))
    events = [(1, "queued"), (2, "in_progress"), (3, "completed")]
    return Evidence(
        plan=PLAN,
        took_s=1.0,
        faults=[Injected(PLAN.faults[0], NOW, NOW + 1)],
        seen=Seen(answers=[_answer(ask, images)], accepted={"j0": ask}),
        stories={"j0": Story([(NOW + number, kind) for number, kind in events], name="j0")},
        stored=Stored(
            {"j0": StoredJob(job, images, events)}, {"imagegen:job:j0": 9}, [], ["one", "two"], 0, 0, {"j0"}, 0, 0
        ),
        last=_answer(PLAN.ask_of_kind(10**9, AskKind.WAIT), []),
        unfinished=[],
    )


def _answer(ask: Ask, images: list[bytes]) -> Answer:
    return Answer(ask, NOW, NOW + 1, "images", tuple(images))


def _with_stored(run: Evidence, **changes: Any) -> Evidence:
    return replace(run, stored=replace(run.stored, **changes))


def _with_job(run: Evidence, **changes: Any) -> Evidence:
    return _with_stored(run, jobs={"j0": replace(run.stored.jobs["j0"], **changes)})


def _of_job(run: Evidence, **changes: Any) -> Evidence:
    return _with_job(run, job=replace(run.stored.jobs["j0"].job, **changes))


def _ended(run: Evidence, status: Status, error: JobError | None) -> Evidence:
    """The same job with another end; the clients' own view is left out."""
    return replace(_of_job(run, status=status, error=error), faults=[], seen=replace(run.seen, answers=[]))
