"""Which workers `imagegen serve` starts and ends while models change."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from cli.reload.graph_workers import GraphWorkers, Processes
from graphs.reload.served_models import ServedModels, Source
from tests.support.service import write_graph
from workers.jobs.models.fleet_view import Fleet, Model
from workers.jobs.observe.presence import WorkerPresence

NOTHING = Fleet((), {}, {}, 0)


class Machine:
    """Processes that are only written down, and a clock that is set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, int] = {}
        self.now = 0.0
        self.workers = GraphWorkers(Processes(self._start, self._end, self.running.get), lambda: self.now)

    def wanted(self, **steps: int) -> ServedModels:
        """Return models by name with these numbers of steps."""
        for name, number in steps.items():
            write_graph(self.folder / name, steps=number)
        return Source(model_repository_path=self.folder).read()

    def presence(self, process: str, graph: str, **changed: object) -> WorkerPresence:
        name = f"node@host/{socket.gethostname()}/{self.running[process]}/abcd"
        alive = WorkerPresence(name, graph, "CPU", ready=True, operations=(), seen_at=0.0, stage="idle")
        return replace(alive, **changed)  # type: ignore[arg-type]

    def _start(self, process: str, graph: str) -> None:
        assert process not in self.running
        self.running[process] = 1000 + len(self.running)

    def _end(self, process: str) -> None:
        del self.running[process]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _model(served: ServedModels, name: str) -> Model:
    return name, served.digest(name)


def test_a_changed_model_gets_a_second_worker_and_the_former_one_ends_once_it_is_done(machine: Machine) -> None:
    former = machine.wanted(one=3)
    machine.workers.start_missing(former)
    wanted = machine.wanted(one=4)
    machine.workers.start_missing(wanted)
    machine.workers.start_missing(wanted)
    assert list(machine.running) == ["worker one", "worker one (2)"]
    assert machine.workers.models == {_model(former, "one"), _model(wanted, "one")}

    def ended(fleet: Fleet) -> bool:
        machine.workers.end_unneeded(wanted, fleet)
        return "worker one" not in machine.running

    assert not machine.workers.has_unneeded
    assert not ended(NOTHING)
    assert machine.workers.has_unneeded
    machine.now = 100.0
    assert not ended(replace(NOTHING, workers=None)), "what the workers do is not known yet"
    busy = machine.presence("worker one", "one", stage="drawing")
    assert not ended(replace(NOTHING, workers=(busy,)))
    assert not ended(replace(NOTHING, listed_ago_s={_model(former, "one"): 1.0}))
    assert not ended(replace(NOTHING, waiting={_model(former, "one"): 1}))
    assert ended(replace(NOTHING, listed_ago_s={_model(former, "one"): 6.0}))
    assert list(machine.running) == ["worker one (2)"]
    assert not machine.workers.has_unneeded


def test_a_former_worker_that_was_started_again_has_other_files_and_ends(machine: Machine) -> None:
    former = machine.wanted(one=3)
    machine.workers.start_missing(former)
    wanted = machine.wanted(one=4)
    machine.workers.start_missing(wanted)
    machine.workers.end_unneeded(wanted, NOTHING)
    machine.now = 100.0
    waits = replace(NOTHING, waiting={_model(former, "one"): 1})
    itself = machine.presence("worker one", "one", digest=former.digest("one"))
    machine.workers.end_unneeded(wanted, replace(waits, workers=(itself,)))
    assert list(machine.running) == ["worker one", "worker one (2)"]
    again = machine.presence("worker one", "one", digest=wanted.digest("one"))
    machine.workers.end_unneeded(wanted, replace(waits, workers=(again,)))
    assert list(machine.running) == ["worker one (2)"]


def test_a_model_that_is_put_back_keeps_its_worker(machine: Machine) -> None:
    former = machine.wanted(one=3)
    machine.workers.start_missing(former)
    machine.workers.start_missing(machine.wanted(one=4))
    machine.workers.start_missing(former)
    for machine.now in (100.0, 110.0):
        machine.workers.end_unneeded(former, NOTHING)
    assert list(machine.running) == ["worker one"]


def test_a_removed_graph_keeps_its_worker_while_jobs_wait(machine: Machine) -> None:
    both = machine.wanted(one=3, two=3)
    machine.workers.start_missing(both)
    one = both.with_models_of(Source(model_path=machine.folder / "one").read(), ["two"])
    machine.workers.end_unneeded(one, NOTHING)
    machine.now = 100.0
    machine.workers.end_unneeded(one, replace(NOTHING, waiting={_model(both, "two"): 2}))
    assert list(machine.running) == ["worker one", "worker two"]
    machine.workers.end_unneeded(one, NOTHING)
    assert list(machine.running) == ["worker one"]


def test_a_change_that_no_digest_shows_waits_for_the_new_worker(machine: Machine) -> None:
    former = machine.wanted(one=3)
    machine.workers.start_missing(former)
    graph = former.repository.graphs["one"].model_copy(update={"device": ("GPU",)})
    wanted = replace(former, repository=replace(former.repository, graphs={"one": graph}))
    machine.workers.start_missing(wanted)
    machine.workers.end_unneeded(wanted, NOTHING)
    machine.now = 100.0
    machine.workers.end_unneeded(wanted, NOTHING)
    assert list(machine.running) == ["worker one", "worker one (2)"]
    ready = machine.presence("worker one (2)", "one")
    machine.workers.end_unneeded(wanted, replace(NOTHING, workers=(ready,)))
    assert list(machine.running) == ["worker one (2)"]
