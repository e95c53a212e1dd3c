"""A child that grows past the bound of its memory is replaced between two jobs."""

from functools import partial
from pathlib import Path

import pytest

from config.settings import JobSettings, RedisSettings, WorkerSettings
from tests.support.polling import wait_until
from tests.workers.jobs.jobs_support import GRAPH, look, on_metrics, on_store, submit
from tests.workers.process.worker_process import WorkerProcess, running_worker
from workers.jobs.job import Job
from workers.jobs.status import Status
from workers.process.memory.child_memory import ChildMemory, MemoryReport, MemoryReports

MIB = 2**20
_LONG_S = 180


@pytest.mark.fast
class TestTheBound:
    def _reports(self, *measured_mib: int, draws: bool = True) -> list[MemoryReport | None]:
        """Return the report after each job of a child whose bound is 100 MiB, and which takes so much after them."""
        reports = MemoryReports()
        taken_mib = 0
        memory = ChildMemory(7, 100 * MIB, reports, lambda: taken_mib * MIB)
        found = []
        for now_mib in measured_mib:
            taken_mib = now_mib
            memory.job_ended(has_drawn=draws)
            found.append(reports.read())
            assert memory.is_past_bound == bool(found[-1] and found[-1].is_past_bound)
        return found

    def test_a_child_is_past_its_bound_only_above_it(self) -> None:
        found = self._reports(60, 100, 101)
        assert [report and report.is_past_bound for report in found] == [False, False, True]
        last = found[2]
        assert last is not None
        assert not last.is_too_large_at_first
        assert last.growth_sentence() == (
            "the process that draws (pid 7) grew from 60 MiB after its first image to 101 MiB, past its bound of "
            "100 MiB"
        )

    def test_freed_memory_is_given_back_once_a_second_and_before_a_child_is_past_its_bound(self) -> None:
        calls: list[str] = []
        measured_mib = iter((60, 60, 101, 90))

        def measure() -> int:
            calls.append("measured")
            return next(measured_mib) * MIB

        memory = ChildMemory(7, 100 * MIB, MemoryReports(), measure, lambda: calls.append("given back"))
        memory.job_ended(has_drawn=False)
        assert calls == []
        for _ in range(3):
            memory.job_ended(has_drawn=True)
        assert calls == ["given back", "measured", "measured", "measured", "given back", "measured"]
        assert not memory.is_past_bound

    def test_jobs_that_draw_nothing_are_not_the_first_image(self) -> None:
        assert self._reports(60, 200, draws=False) == [None, None]

    def test_a_child_past_its_bound_from_the_start_may_grow_by_a_quarter(self) -> None:
        found = self._reports(200, 250, 251)
        assert [report and report.is_past_bound for report in found] == [False, False, True]
        first = found[0]
        assert first is not None
        assert first.is_too_large_at_first
        assert first.too_large_sentence() == (
            "the process that draws (pid 7) takes 200 MiB after its first image, more than its bound of 100 MiB "
            "(IMAGEGEN_WORKER__CHILD_MEMORY_LIMIT_BYTES). It is replaced only above 250 MiB, because a new one would "
            "take as much. Raise the bound above that, give the machine more memory, or serve the model with smaller "
            "weights (INT8)."
        )

    def test_the_main_process_reads_the_newest_report(self) -> None:
        reports = MemoryReports()
        assert reports.read() is None
        report = MemoryReport(pid=2**22, first_bytes=2**50, last_bytes=2**50, limit_bytes=2**50, bound_bytes=2**50)
        reports.write(report)
        assert reports.read() == report
        reports.clear()
        assert reports.read() is None


def _is_final(settings: RedisSettings, job: Job) -> bool:
    return look(settings, job).status.is_final


@pytest.mark.usefixtures("processes")
def test_a_child_that_grew_is_replaced_and_no_job_is_lost(redis_settings: RedisSettings, tmp_path: Path) -> None:
    """A bound of one byte is too low for the model, which the log says once; after that, a larger image is too much."""
    settings = redis_settings
    one_byte = WorkerSettings(child_memory_limit_bytes=1)
    before = on_metrics(settings, [GRAPH]).graphs[GRAPH].counts  # of earlier tests

    def drawn(*jobs: Job) -> None:
        for _ in jobs:
            worker.wake()
        for job in jobs:
            wait_until(partial(_is_final, settings, job), deadline_s=_LONG_S)
            found = look(settings, job)
            assert (found.status, found.attempts) == (Status.COMPLETED, 1)

    worker: WorkerProcess
    with running_worker(settings, tmp_path / "log", JobSettings(), worker=one_byte) as worker:
        first = worker.child()
        [presence] = on_store(settings, lambda store: store.workers())
        assert presence.memory_limit_bytes == 1
        assert min(presence.fixed_bytes, presence.pixel_bytes) > 0
        assert "'demo': the model is estimated to take" in worker.log.read_text()
        drawn(submit(settings))
        drawn(submit(settings))
        assert worker.child() == first
        wait_until(lambda: "more than its bound of 0 MiB" in worker.log.read_text())
        drawn(submit(settings, width=768, height=768, num_inference_steps=1), submit(settings), submit(settings))
        assert worker.child() != first
        counts = on_metrics(settings, [GRAPH]).graphs[GRAPH].counts
        new = [counts.get(name, 0) - before.get(name, 0) for name in ("replaced:memory", "crashes", "reaped")]
        assert new == [1, 0, 0]
        assert worker.log.read_text().count(f"the process that draws (pid {first}) grew from") == 1
        assert worker.log.read_text().count("more than its bound of 0 MiB") == 1
