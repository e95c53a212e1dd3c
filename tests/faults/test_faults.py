"""A short run of the fault harness: ``make faults`` is the long one, with the same code."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.checks import violations
from tests.faults.device_plan import AT_FAULT_EVERY, DevicePlan
from tests.faults.harness import run
from tests.faults.plan import AskKind, make_plan
from tests.faults.report import report

# It kills, freezes and cuts off parts for most of a minute.
pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("processes")]

SEED, FAULTS = 7, 15
# The shortest that a busy machine keeps: a worker renews every second.
LEASE_S = 3.0
PAUSE_S = (0.3, 1.5)
# Two workers begin more than thirty each.
ASKS = 80


@pytest.mark.timeout(900)
def test_no_accepted_job_is_lost_when_parts_die(tmp_path: Path) -> None:
    plan = make_plan(SEED, FAULTS, lease_s=LEASE_S, pause_s=PAUSE_S)
    evidence = asyncio.run(run(plan, tmp_path))
    again = f"make faults N={FAULTS} SEED={SEED} (lease {LEASE_S} s); the processes' logs: {tmp_path}"
    assert not violations(evidence), f"{again}\n{report(evidence)}"
    assert len(evidence.faults) == FAULTS and len(evidence.seen.accepted) >= FAULTS


@pytest.mark.timeout(300)
def test_requests_at_fault_fail_and_devices_at_fault_lose_nothing(tmp_path: Path) -> None:
    """The long run is ``make faults ARGS="--asks 3000"``."""
    plan = DevicePlan(SEED, LEASE_S, (), ASKS)
    evidence = asyncio.run(run(plan, tmp_path))
    assert not violations(evidence), f"the processes' logs: {tmp_path}\n{report(evidence)}"
    kinds = [answer.ask.kind for answer in evidence.seen.answers]
    assert kinds.count(AskKind.AT_FAULT) == kinds.count(AskKind.PLAIN) == ASKS / AT_FAULT_EVERY
    assert evidence.deaths > 0
