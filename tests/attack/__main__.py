"""``python -m tests.attack``: attacks from a seed under honest load; prints a report; status 1 if anything is wrong."""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from tests.attack.attacks import ATTACKS
from tests.attack.plan import make_plan
from tests.attack.report import report, violations
from tests.attack.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("-n", "--attacks", type=int, default=200, help="how many attacks")
    parser.add_argument("--minutes", type=float, default=10.0, help="over how much time they are spread")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run, to repeat its plan")
    parser.add_argument("--only", default=",".join(ATTACKS), help="kinds of attacks, comma-separated")
    parser.add_argument("--engine", default="openvino", choices=["openvino", "simulated"], help="what draws the images")
    parser.add_argument("--folder", type=Path, default=None, help="where the log and the data go")
    given = parser.parse_args()
    names = given.only.split(",")
    if unknown := [name for name in names if name not in ATTACKS]:
        parser.error(f"--only: there is no {unknown[0]!r}; there are {', '.join(ATTACKS)}")
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    folder = given.folder or Path(tempfile.mkdtemp(prefix="attack-"))
    print(f"seed {seed}, log in {folder}", file=sys.stderr)
    plan = make_plan(seed, given.attacks, given.minutes * 60, names)
    evidence = run(plan, folder, given.engine, given.minutes * 60)
    text = report(evidence)
    (folder / "report.md").write_text(text)
    print(text)
    return 1 if violations(evidence) else 0


if __name__ == "__main__":
    sys.exit(main())
