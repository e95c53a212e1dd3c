"""``python -m tests.sentinel``: primaries are killed and cut off under load; prints what became of the accepted jobs.

It ends with 1 if a job was lost although a replica had confirmed it (WAIT), or where a kill lost one.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tests.sentinel.drill import Outcome, cut_off_primaries, kill_primaries
from tests.sentinel.machines import missing

_HEAD = (
    "fault",
    "times",
    "replicas that confirm",
    "accepted",
    "completed",
    "lost",
    "not accepted",
    "failover (s, p50, max)",
    "old primary is a replica (s, p50, max)",
    "pause of accepting (s, p50, max)",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sentinel", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how many times the primary is killed")
    parser.add_argument("--cuts", type=int, default=5, help="how many times its cable is cut (needs root and `ip`)")
    parser.add_argument("--wait", type=int, nargs="+", default=[0, 1], help="values of redis.wait_replicas to try")
    parser.add_argument("--seed", type=int, default=None, help="of the pauses between faults")
    parser.add_argument("--folder", type=Path, default=None, help="where logs and data go")
    given = parser.parse_args()
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    folder = given.folder or Path(tempfile.mkdtemp(prefix="sentinel-"))
    print(f"seed {seed}, logs in {folder}", file=sys.stderr)
    outcomes = []
    for wait in given.wait:
        if given.kills:
            outcomes.append(asyncio.run(kill_primaries(folder / f"kills-wait{wait}", given.kills, wait, seed)))
        if given.cuts and (reason := missing()):
            print(f"No cable is cut: {reason}.", file=sys.stderr)
        elif given.cuts:
            outcomes.append(asyncio.run(cut_off_primaries(folder / f"cuts-wait{wait}", given.cuts, wait, seed)))
    text = _report(outcomes)
    (folder / "report.md").write_text(text)
    print(text)
    return int(any(outcome.lost and (outcome.wait_replicas or "killed" in outcome.kind) for outcome in outcomes))


def _report(outcomes: Sequence[Outcome]) -> str:
    rows = [_row(outcome) for outcome in outcomes]
    table = "\n".join(f"| {' | '.join(map(str, line))} |" for line in (_HEAD, ["---"] * len(_HEAD), *rows))
    notes = [line for outcome in outcomes for line in _notes(outcome)]
    return "\n".join([table, "", *notes, ""])


def _row(outcome: Outcome) -> list[object]:
    ends = Counter(job.ended_as for job in outcome.load.accepted)
    refused = ", ".join(f"{name}: {count}" for name, count in outcome.load.refused.most_common()) or "0"
    return [
        outcome.kind,
        len(outcome.began),
        outcome.wait_replicas or "-",
        len(outcome.load.accepted),
        ends["completed"],
        outcome.lost,
        refused,
        _spread(outcome.failover_s),
        _spread(outcome.replica_s),
        _spread(outcome.pauses_s),
    ]


def _notes(outcome: Outcome) -> list[str]:
    title = f"- {outcome.kind}, {outcome.wait_replicas} replicas confirm ({outcome.took_s:.0f} s)"
    others = {
        str(name): count
        for name, count in Counter(job.ended_as for job in outcome.load.accepted).items()
        if name not in ("completed", "gone")
    }
    return [
        f"{title}: lost at each fault: {', '.join(map(str, outcome.lost_after()))}",
        *([f"{title}: other ends: {others}"] if others else []),
        *([f"{title}: processes that ended: {', '.join(outcome.ended_parts)}"] if outcome.ended_parts else []),
    ]


def _spread(values_s: Sequence[float]) -> str:
    return f"{median(values_s):.1f}, {max(values_s):.1f}" if values_s else "-"


if __name__ == "__main__":
    sys.exit(main())
