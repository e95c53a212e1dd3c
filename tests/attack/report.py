"""A run in Markdown, and what is wrong with it."""

from collections.abc import Iterable, Sequence
from statistics import median

from tests.attack.run import Evidence

_MIB = 2**20
# Memory is flat where the last quarter's median is not above the third quarter's by more than this.
FLAT_RATIO = 1.05
FLAT_BYTES = 32 * _MIB


def violations(evidence: Evidence) -> list[str]:
    """Return a line for everything that must not have happened."""
    found = [f"honest client: {failure}" for failure in evidence.seen.failures]
    found += [f"attack: {error}" for error in evidence.errors]
    for name, statuses in evidence.statuses.items():
        if statuses[500]:
            found.append(f"{name}: {statuses[500]} answers of 500")
    if evidence.seen.statuses[500]:
        found.append(f"honest clients got {evidence.seen.statuses[500]} answers of 500")
    if evidence.restarts:
        found.append("the API was started again")
    if evidence.tracebacks:
        found.append(f"{evidence.tracebacks} tracebacks in the log")
    return found + [f"memory of {name} grew to the end" for name in _growing(evidence)]


def report(evidence: Evidence) -> str:
    """Return the whole report, violations first."""
    wrong, seen = violations(evidence), evidence.seen
    parts = [
        f"# {len(evidence.planned)} attacks in {evidence.took_s:.0f} s",
        "**Violations:**\n\n" + "\n".join(f"- {line}" for line in wrong) if wrong else "**No honest request failed.**",
        _table(("honest clients", "number"), sorted(seen.done.items())),
        f"Each took {median(seen.seconds):.2f} s (median), {max(seen.seconds):.2f} s at most; "
        f"{len(seen.health_s)} health probes, the slowest {max(seen.health_s):.3f} s. "
        f"Answers, repeated ones too: {dict(sorted(seen.statuses.items()))}.",
        _table(("attack", "the longest (s)", "answers by status"), sorted(_statuses(evidence))),
        _table(("MiB of", "before", "at most", "third quarter", "last quarter"), _memory_rows(evidence)),
    ]
    return "\n\n".join(parts) + "\n"


def _statuses(evidence: Evidence) -> Iterable[tuple[str, str, str]]:
    for name, statuses in evidence.statuses.items():
        answers = ", ".join(f"{status or 'closed'}: {n}" for status, n in statuses.most_common())
        yield name, f"{evidence.attacks_s[name]:.1f}", answers or "-"


def _memory_rows(evidence: Evidence) -> Iterable[Sequence[object]]:
    for name in sorted(evidence.memory[0][1]):
        sizes = _sizes(evidence, name)
        third, last = _quarters(sizes)
        yield (name, *(f"{size / _MIB:.0f}" for size in (sizes[0], max(sizes), third, last)))


def _growing(evidence: Evidence) -> list[str]:
    found = []
    for name in sorted(evidence.memory[0][1]):
        third, last = _quarters(_sizes(evidence, name))
        if last > third * FLAT_RATIO and last > third + FLAT_BYTES:
            found.append(name)
    return found


def _sizes(evidence: Evidence, name: str) -> list[int]:
    return [sizes.get(name, 0) for _, sizes in evidence.memory]


def _quarters(sizes: Sequence[int]) -> tuple[float, float]:
    """Return the medians of the third and of the last quarter."""
    quarter = max(1, len(sizes) // 4)
    return median(sizes[-2 * quarter : -quarter] or sizes), median(sizes[-quarter:])


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
