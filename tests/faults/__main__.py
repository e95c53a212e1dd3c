"""``python -m tests.faults``: faults from a seed; prints a report, and ends with 1 if anything is wrong."""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.faults.checks import violations
from tests.faults.device_plan import DevicePlan
from tests.faults.harness import run
from tests.faults.plan import GROUPS, make_plan
from tests.faults.report import report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("-n", "--faults", type=int, default=50, help="how many faults")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run, to repeat its plan")
    parser.add_argument("--without", default="", help=f"kinds to leave out, comma-separated: {', '.join(GROUPS)}")
    parser.add_argument("--lease", type=float, default=6.0, help="seconds of a worker's lease (the product's: 6)")
    parser.add_argument(
        "--pause", type=float, nargs=2, default=(0.5, 4.0), metavar=("LEAST", "MOST"), help="seconds between two faults"
    )
    parser.add_argument(
        "--asks", type=int, default=None, help="in place of harm: so many requests, every tenth and devices at fault"
    )
    parser.add_argument("--folder", type=Path, default=None, help="where logs and data go")
    given = parser.parse_args()
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    folder = given.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    without = [name for name in given.without.split(",") if name]
    if unknown := [name for name in without if name not in GROUPS]:
        parser.error(f"--without: there is no {unknown[0]!r}")
    print(f"seed {seed}, logs in {folder}", file=sys.stderr)
    if given.asks is None:
        plan = make_plan(seed, given.faults, without=without, lease_s=given.lease, pause_s=tuple(given.pause))
    else:
        plan = DevicePlan(seed, given.lease, (), given.asks)
    evidence = asyncio.run(run(plan, folder))
    text = report(evidence)
    (folder / "report.md").write_text(text)
    print(text)
    return 1 if violations(evidence) else 0


if __name__ == "__main__":
    sys.exit(main())
