"""A short run of the attacks, and the plan that a seed gives."""

from pathlib import Path

import pytest

from tests.attack.attacks import ATTACKS
from tests.attack.plan import make_plan
from tests.attack.report import report, violations
from tests.attack.run import run

DURATION_S = 40.0


@pytest.mark.thorough
@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(400)
def test_no_honest_request_fails_under_attack(tmp_path: Path) -> None:
    """Each kind of attack happens twice. ``make attack`` runs longer, with the model itself."""
    evidence = run(make_plan(7, 2 * len(ATTACKS), DURATION_S, ATTACKS), tmp_path, "simulated", DURATION_S)
    print(report(evidence))
    assert violations(evidence) == []


def test_a_seed_gives_the_same_plan_and_each_kind_equally_often() -> None:
    plan = make_plan(1, 3 * len(ATTACKS), 60.0, ATTACKS)
    assert plan == make_plan(1, 3 * len(ATTACKS), 60.0, ATTACKS)
    assert plan != make_plan(2, 3 * len(ATTACKS), 60.0, ATTACKS)
    assert [attack.at_s for attack in plan] == sorted(attack.at_s for attack in plan)
    assert sorted(attack.name for attack in plan) == sorted([*ATTACKS] * 3)
