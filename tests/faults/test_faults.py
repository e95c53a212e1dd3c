"""A short run of the fault harness: ``make faults`` is the long one, with the same code."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.checks import violations
from tests.faults.harness import run
from tests.faults.plan import make_plan
from tests.faults.report import report

# It kills, freezes and cuts off parts for most of a minute.
pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("processes")]

SEED, FAULTS = 7, 15
# The shortest that a busy machine keeps: a worker renews every second.
LEASE_S = 3.0
PAUSE_S = (0.3, 1.5)


@pytest.mark.timeout(900)
def test_no_accepted_job_is_lost_when_parts_die(tmp_path: Path) -> None:
    plan = make_plan(SEED, FAULTS, lease_s=LEASE_S, pause_s=PAUSE_S)
    evidence = asyncio.run(run(plan, tmp_path))
    again = f"make faults N={FAULTS} SEED={SEED} (lease {LEASE_S} s); the processes' logs: {tmp_path}"
    assert not violations(evidence), f"{again}\n{report(evidence)}"
    assert len(evidence.faults) == FAULTS and len(evidence.seen.accepted) >= FAULTS
