"""What must be true after a run. Each check returns sentences: what is wrong, of which job or client."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from tests.faults.device_plan import ERRORS, fault_of
from tests.faults.harness import Evidence
from tests.faults.images import are_right, expected_request
from tests.faults.plan import ONCE_ONLY, WORKERS, Ask, AskKind, Kind, ask_number
from tests.faults.store import StoredJob
from workers.engine.simulated_faults import SimulatedFault
from workers.jobs.job import JobError
from workers.jobs.status import FINAL_STATUSES, Status
from workers.process.device_check import ONE_VALUE_WARNING

# What a fault may still do to a client after it is over: reconnecting takes its time.
_AFTERMATH_S = 20.0
# Faults that may cost a running job its attempt.
_COSTLY = frozenset(Kind) - {Kind.API_KILL, Kind.API_SIGTERM, Kind.MESSAGE_LOSS, Kind.MESSAGE_DOUBLE, Kind.POISON}
_FOR_EVER = re.compile(
    r"imagegen:(events|steps|layout|sequence|signing-key|workers|workers-seen|workers-changed|adapters-version|owner:[^:]+:jobs|fairness:\S+|times:\S+"
    r"|digests:\S+|metrics:\S+|crashes:\S+|kept|kept-ended|ended-sizes|record-ends|result-ends|reloads|removed-graphs)"
    r"|imagegen\.(_kombu\.binding\S+|:unacked(_index)?)"
)
_FOR_A_WHILE = re.compile(
    r"imagegen:(listed-models|claim:\S+|ready:\S+|reaper:\S+|failures:\S+|job:[^:]+(:events|:artifact:\d+)?|owner:[^:]+:(once:\S+|ended|jobs:\w+)|name:[^:]+:\S+)|imagegen\.:unacked_mutex"
)


def violations(evidence: Evidence) -> list[str]:
    """Return everything that must not be."""
    return [sentence for check in _CHECKS for sentence in check(evidence)]


def unlucky(evidence: Evidence) -> list[str]:
    """Return harmless jobs that were given up because faults of the plan hit every one of their attempts."""
    return [job_id for job_id, found in evidence.stored.jobs.items() if _is_unlucky(evidence, job_id, found)]


def _ended(evidence: Evidence) -> Iterator[str]:
    yield from evidence.unfinished
    if evidence.last.outcome != "images":
        yield f"the last, ordinary request was not served: {evidence.last.error or evidence.last.outcome}"
    yield from (f"{job_id} never ended" for job_id in evidence.stored.open_jobs)
    yield from (f"{job_id} is half a record" for job_id in evidence.stored.broken)


def _kept(evidence: Evidence) -> Iterator[str]:
    by_name = {found.job.name: found for found in evidence.stored.jobs.values()}
    evicted = _evicted(evidence)
    for name, ask in evidence.seen.accepted.items():
        if name not in by_name:
            if name not in evicted:
                yield f"{name} of ask {ask.number} was accepted and is gone"
        elif _ask_of(evidence, by_name[name]) != ask:
            yield f"{name} was accepted for ask {ask.number} and is another's"


def _evicted(evidence: Evidence) -> set[str]:
    """Return the names of the jobs that had ended and made room while Redis had none: not lost (docs/jobs.md).

    Redis's own count must hold all of them; else none is excused.
    """
    fulls = [fault.ended for fault in evidence.faults if fault.fault.kind is Kind.MAXMEMORY]
    found = {
        story.name
        for job_id, story in evidence.stories.items()
        if job_id not in evidence.stored.jobs
        and any(kind in FINAL_STATUSES and at <= end for at, kind in story.changes for end in fulls)
    }
    return found if len(found) <= evidence.stored.evicted else set()


def _as_asked(evidence: Evidence) -> Iterator[str]:
    for job_id, found in evidence.stored.jobs.items():
        ask = _ask_of(evidence, found)
        if found.job.request != expected_request(ask):
            yield f"{job_id} is another request than ask {ask.number}"
        elif found.job.status is Status.COMPLETED and not are_right(ask, found.images):
            yield f"{job_id} of ask {ask.number} has wrong images"
        elif found.job.status is Status.FAILED and not _may_have_failed(evidence, job_id, found):
            yield f"{job_id} of ask {ask.number} failed: {found.job.error}, {found.job.attempts} attempts"
        elif found.job.status is Status.CANCELLED and not _may_be_cancelled(evidence, job_id, ask):
            yield f"{job_id} of ask {ask.number} was cancelled without a request for that: {found.job.error}"


def _ended_once(evidence: Evidence) -> Iterator[str]:
    """One end for each job, in its own stream and in the common one, and no gap before it."""
    for job_id, found in evidence.stored.jobs.items():
        kinds = [kind for _, kind in found.events]
        if [number for number, _ in found.events] != list(range(1, len(kinds) + 1)):
            yield f"{job_id} has a gap among its events"
        if found.job.status.is_final and (
            kinds[-1:] != [found.job.status] or sum(kind in FINAL_STATUSES for kind in kinds) != 1
        ):
            yield f"{job_id} is {found.job.status}, its events end with {kinds[-3:]}"
        if kinds.count("in_progress") != found.job.attempts:
            yield f"{job_id} has {found.job.attempts} attempts and tells of {kinds.count('in_progress')}"
        if any(one == other == "in_progress" for one, other in pairwise(k for k in kinds if k != "progress")):
            yield f"{job_id} was begun twice at once"
        ends = evidence.stories[job_id].ends if job_id in evidence.stories else []
        if len(ends) != 1:
            yield f"{job_id} ended {len(ends)} times: {ends}"


def _made_once(evidence: Evidence) -> Iterator[str]:
    jobs: Counter[Ask] = Counter(_ask_of(evidence, found) for found in evidence.stored.jobs.values())
    for ask, count in jobs.items():
        if ask.kind in ONCE_ONLY and count > 1:
            yield f"ask {ask.number} ({ask.kind}) made {count} jobs"


def _clients(evidence: Evidence) -> Iterator[str]:
    yield from (f"500 for {sentence}" for sentence in evidence.seen.server_errors)
    gone = _evicted(evidence)
    evicted = [evidence.seen.accepted[name] for name in gone if name in evidence.seen.accepted]
    for answer in evidence.seen.answers:
        about = f"ask {answer.ask.number} ({answer.ask.kind})"
        if answer.outcome == "images" and not are_right(answer.ask, list(answer.images)):
            yield f"{about} was answered with wrong images"
        if answer.outcome == "failed" and answer.ask.kind not in (AskKind.POISON, AskKind.AT_FAULT):
            yield f"{about} was answered that its job failed"
        is_unknown = answer.outcome == "error" and answer.error.startswith("NotFoundError")
        # It was looked up after it had ended and gone; a client that waits learns its id from the error only.
        if is_unknown and (answer.ask in evicted or any(f"'{name}'" in answer.error for name in gone)):
            continue
        if answer.outcome == "error" and not (answer.may_pass and _meets_a_fault(evidence, answer.began, answer.ended)):
            yield f"{about} met what no fault explains: {answer.error}"


def _left_behind(evidence: Evidence) -> Iterator[str]:
    for key, ttl_s in evidence.stored.keys.items():
        if not (_FOR_EVER.fullmatch(key) or (_FOR_A_WHILE.fullmatch(key) and ttl_s >= 0)):
            yield f"the key {key} was left behind (time to live {ttl_s} s)"
    # A message of a connection that died stays listed until the visibility timeout, then finds nothing to do.
    faults = len(evidence.faults) + evidence.deaths
    if evidence.stored.unacked > 3 * faults:
        yield f"{evidence.stored.unacked} messages are unacknowledged after {faults} faults"


def _counted(evidence: Evidence) -> Iterator[str]:
    """What owners keep is counted exactly once, whichever part died."""
    stored = evidence.stored
    ended = {job_id for job_id, found in stored.jobs.items() if found.job.status.is_final}
    if ended != stored.counted_as_ended:
        yield f"counted as ended, or ended, but not both: {sorted(ended ^ stored.counted_as_ended)}"
    if stored.unfinished_bytes and not stored.open_jobs:
        yield f"{stored.unfinished_bytes} bytes are counted of unfinished jobs, and there are none"


def _workers(evidence: Evidence) -> Iterator[str]:
    if len(evidence.stored.ready_workers) != WORKERS:
        yield f"{len(evidence.stored.ready_workers)} of {WORKERS} workers are ready at the end"
    if evidence.stored.messages:
        yield f"{evidence.stored.messages} messages are left in the queue"


def _devices(evidence: Evidence) -> Iterator[str]:
    """Requests at fault fail once, plain images are images, and a process that draws dies of its device only."""
    for job_id, found in evidence.stored.jobs.items():
        job, ask = found.job, _ask_of(evidence, found)
        if ask.kind is AskKind.AT_FAULT and not _failed_once(found, ask):
            yield f"{job_id} of ask {ask.number} is at fault: {job.status}, {job.error}, {job.attempts} attempts"
        if ask.kind is AskKind.PLAIN and job.status is not Status.COMPLETED:
            yield f"{job_id} of ask {ask.number} is a plain image: {job.status}, {job.error}"
        warned = (ONE_VALUE_WARNING,) if ask.kind is AskKind.PLAIN and fault_of(ask) is SimulatedFault.ONE_VALUE else ()
        if job.status is Status.COMPLETED and job.warnings != warned:
            yield f"{job_id} of ask {ask.number} has the warnings {job.warnings}"
    if evidence.plan.breaks_after is None:
        return
    counts = evidence.stored.counts
    faults = sum(count for name, count in counts.items() if name.startswith("device_faults:"))
    if not faults == evidence.deaths == counts.get("replaced:device", 0) or counts.get("crashes"):
        yield f"{faults} faults of devices, {evidence.deaths} deaths, counted: {counts}"


def _failed_once(found: StoredJob, ask: Ask) -> bool:
    job = found.job
    error = JobError("generation_failed", ERRORS[fault_of(ask)])
    return job.status is Status.FAILED and job.error == error and job.attempts - job.device_faults == 1


_CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    _ended,
    _kept,
    _counted,
    _as_asked,
    _ended_once,
    _made_once,
    _clients,
    _left_behind,
    _workers,
    _devices,
)


def _ask_of(evidence: Evidence, found: StoredJob) -> Ask:
    number = ask_number(found.job.request.prompt)
    if number < 0:
        return evidence.plan.poison(evidence.plan.faults[-1 - number])
    return evidence.last.ask if number == evidence.last.ask.number else evidence.plan.ask(number)


def _may_have_failed(evidence: Evidence, job_id: str, found: StoredJob) -> bool:
    is_crash = found.job.error is not None and found.job.error.code == "worker_crashed"
    ask = _ask_of(evidence, found)
    if ask.kind is AskKind.AT_FAULT:  # _devices says whether it failed as it should
        return True
    is_poison = ask.kind is AskKind.POISON
    return is_crash and (is_poison or _is_unlucky(evidence, job_id, found))


def _is_unlucky(evidence: Evidence, job_id: str, found: StoredJob) -> bool:
    if found.job.status is not Status.FAILED or _ask_of(evidence, found).kind is AskKind.POISON:
        return False
    attempts = evidence.stories[job_id].attempts()
    return all(_meets_a_fault(evidence, began, ended, costly=True) for began, ended in attempts)


def _may_be_cancelled(evidence: Evidence, job_id: str, ask: Ask) -> bool:
    """Its client said so, left, gave up, or has its images from a later attempt's job."""
    if ask.kind in (AskKind.CANCEL, AskKind.LEAVE):
        return True
    answer = next((answer for answer in evidence.seen.answers if answer.ask == ask), None)
    waited = ask.kind not in (AskKind.JOB, AskKind.PUT, AskKind.POISON)
    return waited and answer is not None and job_id not in evidence.seen.accepted


def _meets_a_fault(evidence: Evidence, began: float, ended: float, *, costly: bool = False) -> bool:
    return any(
        fault.began - 1.0 <= ended and began <= fault.ended + (1.0 if costly else _AFTERMATH_S)
        for fault in evidence.faults
        if not costly or fault.fault.kind in _COSTLY
    )
