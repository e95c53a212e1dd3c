import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import RedisSettings
from tests.redis_support import wait_until
from tests.workers.jobs.jobs_support import GRAPH, Upkeep, claimed, client, look, on_store, submit, waiting
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.redis import keys
from workers.process.drain import Drain
from workers.process.orders import Orders
from workers.process.report_board import LoadReport, ReportBoard
from workers.process.supervision import PoolView, Supervision, is_running

PRESENCE = WorkerPresence(name="w", graph=GRAPH, device="CPU", ready=False, operations=(), seen_at=0.0)


def test_a_board_is_empty_before_the_first_report() -> None:
    assert ReportBoard().read() is None


def _write_in_a_child(board: ReportBoard, error: str | None = None) -> int:
    child = os.fork()
    if child == 0:
        board.write(LoadReport(os.getpid(), ("edit", "generation"), error))
        os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    return child


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_a_child_writes_its_parent_reads() -> None:
    board = ReportBoard()
    first = _write_in_a_child(board, "a long reason " * 100)
    assert board.read() == LoadReport(first, ("edit", "generation"), "a long reason " * 100)
    second = _write_in_a_child(board)
    assert board.read() == LoadReport(second, ("edit", "generation"))


@pytest.mark.parametrize("error", ["x" * 100_000, "ж" * 100_000, '"\\\n' * 50_000, "\U0001f7e5" * 9999])
def test_a_long_error_is_cut_to_what_fits(error: str) -> None:
    board = ReportBoard()
    board.write(LoadReport(1, (), error))
    found = board.read()
    assert found is not None
    assert found.error
    assert error.startswith(found.error)


def test_a_living_process_runs_and_an_unknown_one_does_not() -> None:
    assert is_running(os.getpid())
    assert not is_running(2**22 + 1)


def test_a_zombie_does_not_run() -> None:
    process = subprocess.Popen(["true"])
    wait_until(lambda: not is_running(process.pid))
    assert Path(f"/proc/{process.pid}").exists()
    process.wait()
    assert not is_running(process.pid)


def test_a_process_with_a_strange_name_runs(tmp_path: Path) -> None:
    sleep = shutil.copy(shutil.which("sleep") or "", tmp_path / ") Z 1 (x")
    process = subprocess.Popen([sleep, "60"])
    wait_until(lambda: "(x" in Path(f"/proc/{process.pid}/stat").read_text())
    assert is_running(process.pid)
    process.kill()
    process.wait()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_job_that_a_child_ran_is_known_when_it_is_dead() -> None:
    board = ReportBoard()
    assert board.running() is None
    child = os.fork()
    if child == 0:
        board.set_running("x" * 64)
        os._exit(9)
    os.waitpid(child, 0)
    assert board.running() == "x" * 64
    board.set_running("y")
    assert board.running() == "y"
    board.set_running(None)
    assert board.running() is None


class Pool:
    """A pool whose children the test decides."""

    def __init__(self) -> None:
        self.pids: set[int] = set()
        self.replaced = self.looks = self.reconnected = 0

    def view(self) -> PoolView:
        return PoolView(self._look, self._replace, self._reconnect)

    def _look(self) -> set[int]:
        self.looks += 1
        return self.pids

    def _reconnect(self) -> None:
        self.reconnected += 1

    def _replace(self) -> None:
        self.replaced += 1


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def board() -> ReportBoard:
    return ReportBoard()


def _supervision(redis: RedisSettings, pool: Pool, board: ReportBoard) -> Supervision:
    recovery, view = Upkeep(redis), pool.view()
    drain = Drain(recovery, Orders(), view.living, limit_s=60, end=lambda: None)
    return Supervision(recovery, PRESENCE, board, view, drain)


@pytest.fixture
def supervision(redis_settings: RedisSettings, pool: Pool, board: ReportBoard) -> Iterator[Supervision]:
    made = _supervision(redis_settings, pool, board)
    yield made
    made.stop()
    if made.ident is not None:
        made.join(5)
    assert not made.is_alive()


def _workers(settings: RedisSettings) -> list[WorkerPresence]:
    return on_store(settings, lambda store: store.workers())


def test_a_worker_is_ready_once_its_living_child_has_loaded(
    redis_settings: RedisSettings, supervision: Supervision, pool: Pool, board: ReportBoard
) -> None:
    pool.pids = {os.getpid()}
    board.write(LoadReport(os.getpid(), ("generation",)))
    supervision.start()
    wait_until(lambda: [(w.ready, w.operations) for w in _workers(redis_settings)] == [(True, ("generation",))])
    pool.pids = {2**22 + 1}
    wait_until(lambda: not _workers(redis_settings)[0].ready)
    wait_until(lambda: pool.replaced > 0)


def test_an_earlier_childs_report_does_not_count(
    redis_settings: RedisSettings, supervision: Supervision, pool: Pool, board: ReportBoard
) -> None:
    board.write(LoadReport(2**22 + 1, ("generation",)))
    pool.pids = {os.getpid()}
    supervision.start()
    wait_until(lambda: _workers(redis_settings))
    assert [(w.ready, w.operations) for w in _workers(redis_settings)] == [(False, ())]


def test_a_running_jobs_lease_is_renewed(
    redis_settings: RedisSettings, supervision: Supervision, pool: Pool, board: ReportBoard
) -> None:
    job = submit(redis_settings)
    claimed(redis_settings, job)
    with client(redis_settings) as behind:
        before = float(str(behind.zscore(keys.running(GRAPH), job.id)))
        behind.zadd(keys.running(GRAPH), {job.id: before + 10**6})
        pool.pids = {os.getpid()}
        board.set_running(job.id)
        supervision.start()
        wait_until(lambda: float(str(behind.zscore(keys.running(GRAPH), job.id))) < before + 10**5)
    assert look(redis_settings, job).status == "in_progress"


def test_a_draining_worker_is_gone_for_others(
    redis_settings: RedisSettings, supervision: Supervision, pool: Pool, board: ReportBoard
) -> None:
    pool.pids = {os.getpid()}
    board.set_running("imgjob_1")
    supervision.start()
    wait_until(lambda: _workers(redis_settings))
    supervision.drain()
    wait_until(lambda: not _workers(redis_settings))
    looks = pool.looks
    wait_until(lambda: pool.looks > looks + 1)
    assert _workers(redis_settings) == []


def test_a_lost_childs_job_waits_again_at_once(
    redis_settings: RedisSettings, settled_redis: RedisSettings, supervision: Supervision, board: ReportBoard
) -> None:
    job = submit(settled_redis)
    claimed(settled_redis, job)
    board.set_running(job.id)
    supervision.start()
    supervision.child_lost()
    wait_until(lambda: waiting(redis_settings) == [job.id], 3)
    assert look(redis_settings, job).status == "queued"


def test_an_absent_redis_does_not_end_the_thread(pool: Pool, board: ReportBoard) -> None:
    away = _supervision(RedisSettings(url="redis://127.0.0.1:1/0"), pool, board)
    away.start()
    pool.pids = {os.getpid()}
    board.set_running("imgjob_1")
    away.child_lost()
    away.drain()
    looks = pool.looks
    wait_until(lambda: pool.looks > looks + 1)
    assert away.is_alive()
    away.stop()
    away.join(5)


@pytest.mark.parametrize("takes", [False, True])
def test_a_free_worker_that_no_message_reaches_connects_again(
    redis_settings: RedisSettings, supervision: Supervision, pool: Pool, board: ReportBoard, takes: bool
) -> None:
    job = submit(redis_settings)
    with client(redis_settings) as behind:
        behind.hset(keys.job(job.id), "created_at", job.created_at - 6)
    pool.pids = {os.getpid()}
    board.write(LoadReport(os.getpid(), ("generation",)))
    for _ in range(3):
        if takes:
            board.set_running(job.id)
            board.set_running(None)
        supervision._cycle(resend=True)
    assert pool.reconnected == (0 if takes else 1)
