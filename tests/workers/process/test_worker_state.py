"""What a worker's heartbeat says: its stage, since when, its job, and the times of its last one."""

import pytest

from tests.workers.jobs.jobs_support import GRAPH
from workers.jobs.observe.presence import WorkerPresence
from workers.process import worker_state
from workers.process.shared_memory import SharedMemory
from workers.process.worker_state import WorkerState

PRESENCE = WorkerPresence(name="w", graph=GRAPH, device="CPU", ready=False, operations=(), seen_at=0.0)
pytestmark = pytest.mark.usefixtures("processes")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(worker_state, "time", made)
    return made


def test_the_time_is_that_of_the_last_change_of_the_stage_or_the_job(clock: Clock) -> None:
    shared = SharedMemory()
    state = WorkerState(PRESENCE, shared)
    found = []

    def look(*, ready: bool) -> None:
        now = state.now(ready=ready, operations=(), advice=None)
        found.append((now.stage, now.activity.job_id, now.activity.since))
        clock.now += 1

    look(ready=False)
    look(ready=False)
    look(ready=True)
    shared.job_started("one")
    look(ready=True)
    look(ready=True)
    shared.job_started("two")
    look(ready=True)
    shared.job_drawn("two")
    look(ready=True)
    shared.job_ended()
    look(ready=True)
    assert found == [
        ("loading", "", 100.0),
        ("loading", "", 100.0),
        ("idle", "", 102.0),
        ("drawing", "one", 103.0),
        ("drawing", "one", 103.0),
        ("drawing", "two", 105.0),
        ("storing", "two", 106.0),
        ("idle", "", 107.0),
    ]


def test_the_seconds_of_the_last_job_stay_until_the_next_one() -> None:
    shared = SharedMemory()
    state = WorkerState(PRESENCE, shared)
    assert state.now(ready=True, operations=(), advice=None).activity.seconds == {}
    shared.stages_took({"denoise": 1.23456, "vae_encode": 0.0})
    shared.job_ended()
    assert state.now(ready=True, operations=(), advice=None).activity.seconds == {"denoise": 1.235}


def test_a_worker_that_rests_says_what_to_do_before_its_error() -> None:
    shared = SharedMemory()
    state = WorkerState(PRESENCE, shared)
    assert state.now(ready=False, operations=(), advice="Restart it.").last_error == "Restart it."
    shared.errors.write("The device is lost.")
    resting = state.now(ready=False, operations=(), advice="Restart it.")
    assert (resting.stage, resting.last_error) == ("resting", "Restart it. The device is lost.")
    drawing = state.now(ready=True, operations=("edit",), advice=None)
    assert (drawing.stage, drawing.last_error, drawing.operations) == ("idle", "The device is lost.", ("edit",))
