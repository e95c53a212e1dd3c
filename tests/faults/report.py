"""A run in Markdown: what was done, what became of it, and how long a dead worker's jobs waited."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

from tests.faults.checks import unlucky, violations
from tests.faults.harness import Evidence
from tests.faults.plan import AskKind, Kind

_DEATHS = (Kind.CHILD_KILL, Kind.WORKER_KILL, Kind.WORKER_FREEZE, Kind.WORKER_SIGTERM)


def report(evidence: Evidence) -> str:
    """Return the whole report, violations first."""
    wrong = violations(evidence)
    parts = [
        f"# {len(evidence.faults) + evidence.deaths} faults, seed {evidence.plan.seed}, {evidence.took_s:.0f} s\n",
        "**Nothing was lost.**\n" if not wrong else "**Violations:**\n\n" + "\n".join(f"- {line}" for line in wrong),
        _table(("fault", "done", "nothing to harm"), _fault_rows(evidence)),
        _table(("requests and devices at fault", "number"), _device_rows(evidence)),
        _table(("jobs", "number"), _job_rows(evidence)),
        _table(("a client's view", "answers", "errors"), _client_rows(evidence)),
        _table(("from a worker's death to the rerun of its job", "n", "p50 (s)", "max (s)"), _rerun_rows(evidence)),
        _errors(evidence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _fault_rows(evidence: Evidence) -> Iterable[Sequence[object]]:
    done = Counter(fault.fault.kind for fault in evidence.faults)
    missed = Counter(fault.fault.kind for fault in evidence.faults if fault.missed)
    yield from ((kind, done[kind], missed[kind]) for kind in Kind if done[kind])


def _device_rows(evidence: Evidence) -> Iterable[Sequence[object]]:
    if evidence.plan.breaks_after is None:
        return
    asked = Counter(answer.ask.kind for answer in evidence.seen.answers)
    ended = Counter((answer.ask.kind, answer.outcome) for answer in evidence.seen.answers)
    yield ("requests", asked.total())
    yield ("of them at fault; answered as failed", f"{asked[AskKind.AT_FAULT]}; {ended[AskKind.AT_FAULT, 'failed']}")
    yield ("of plain images; answered with images", f"{asked[AskKind.PLAIN]}; {ended[AskKind.PLAIN, 'images']}")
    counts = evidence.stored.counts
    for name in sorted(counts):
        if name.startswith("device_faults:"):
            yield (f"faults of devices, met as {name.partition(':')[2]}", counts[name])
    yield ("processes that died while they drew", evidence.deaths)


def _job_rows(evidence: Evidence) -> Iterable[Sequence[object]]:
    jobs = [found.job for found in evidence.stored.jobs.values()]
    ends = Counter(f"{job.status}{f' ({job.error.code})' if job.error else ''}" for job in jobs)
    yield ("accepted with an answer (202, or images)", len(evidence.seen.accepted))
    names = {found.job.name for found in evidence.stored.jobs.values()}
    yield ("of them gone", len(evidence.seen.accepted.keys() - names))
    yield ("in the store", len(jobs))
    yield from sorted(ends.items())
    yield from ((f"of {count} attempts", n) for count, n in sorted(Counter(job.attempts for job in jobs).items()))
    yield ("harmless, and every attempt was hit by a fault", len(unlucky(evidence)))
    yield ("messages unacknowledged at the end", evidence.stored.unacked)


def _client_rows(evidence: Evidence) -> Iterable[Sequence[object]]:
    for kind in dict.fromkeys(answer.ask.kind for answer in evidence.seen.answers):
        answers = [answer for answer in evidence.seen.answers if answer.ask.kind is kind]
        errors = sum(answer.outcome == "error" for answer in answers)
        yield (kind, len(answers) - errors, errors)
    yield ("HTTP statuses, retried ones too", dict(sorted(evidence.seen.statuses.items())), "")
    refusals = evidence.seen.refusals_s
    if refusals:
        yield ("seconds until a 503 (p50, max)", f"{median(refusals):.1f}, {max(refusals):.1f}", "")


def _rerun_rows(evidence: Evidence) -> Iterable[Sequence[object]]:
    for kind in _DEATHS:
        waits = []
        for fault in (fault for fault in evidence.faults if fault.fault.kind is kind):
            for victim in fault.victims:
                story = evidence.stories.get(victim.job_id)
                again = story.started_after(fault.began) if story else None
                if again is not None:
                    waits.append(again - fault.began)
        if waits:
            yield (kind, len(waits), f"{median(waits):.2f}", f"{max(waits):.2f}")


def _errors(evidence: Evidence) -> str:
    errors = Counter(
        f"{answer.ask.kind}: {answer.error[:110]}" for answer in evidence.seen.answers if answer.outcome == "error"
    )
    return _table(("errors of clients after their own retries", "times"), errors.most_common())


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [" | ".join(map(str, row)) for row in rows]
    if not lines:
        return ""
    return "\n".join(f"| {line} |" for line in (" | ".join(head), " | ".join("---" for _ in head), *lines))
