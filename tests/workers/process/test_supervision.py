"""The supervision thread of a worker without Celery, and the memory that it shares with its child."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.settings import RedisSettings
from graphs.errors import ServiceUnavailable
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import GRAPH, Upkeep, claimed, claims_of, client, look, on_store, submit, waiting
from workers.jobs.observe.presence import WorkerPresence
from workers.process.child_processes import PoolView, is_running
from workers.process.drain import WorkerDrain
from workers.process.shared_memory import LoadReport, LoadReports, RunningJob, SharedMemory
from workers.process.supervision import Supervision

RESEND_EVERY = 5  # cycles
PRESENCE = WorkerPresence(name="w", graph=GRAPH, device="CPU", ready=False, operations=(), seen_at=0.0)


def test_there_is_no_load_report_before_the_first() -> None:
    assert LoadReports().read() is None


def _write_in_a_child(reports: LoadReports, error: str | None = None) -> int:
    child = os.fork()
    if child == 0:
        reports.write(LoadReport(os.getpid(), ("edit", "generation"), error))
        os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    return child


@pytest.mark.usefixtures("processes")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_main_process_reads_the_report_of_its_newest_child() -> None:
    reports = LoadReports()
    first = _write_in_a_child(reports, "a long reason " * 100)
    assert reports.read() == LoadReport(first, ("edit", "generation"), "a long reason " * 100)
    second = _write_in_a_child(reports)
    assert reports.read() == LoadReport(second, ("edit", "generation"))


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("error", ["x" * 100_000, "ж" * 100_000, '"\\\n' * 50_000, "\U0001f7e5" * 9999])
def test_a_long_error_is_cut_to_what_fits(error: str) -> None:
    reports = LoadReports()
    reports.write(LoadReport(1, (), error))
    found = reports.read()
    assert found is not None
    assert found.error
    assert error.startswith(found.error)


def test_a_living_process_runs_and_an_unknown_one_does_not() -> None:
    assert is_running(os.getpid())
    assert not is_running(2**22 + 1)


@pytest.mark.usefixtures("processes")
def test_a_zombie_does_not_run() -> None:
    process = subprocess.Popen(["true"])
    wait_until(lambda: not is_running(process.pid))
    assert Path(f"/proc/{process.pid}").exists()
    process.wait()
    assert not is_running(process.pid)


@pytest.mark.usefixtures("processes")
def test_a_process_with_a_strange_name_runs(tmp_path: Path) -> None:
    sleep = shutil.copy(shutil.which("sleep") or "", tmp_path / ") Z 1 (x")
    process = subprocess.Popen([sleep, "60"])
    wait_until(lambda: "(x" in Path(f"/proc/{process.pid}/stat").read_text())
    assert is_running(process.pid)
    process.kill()
    process.wait()


@pytest.mark.usefixtures("processes")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_job_that_a_child_ran_is_known_when_it_is_dead() -> None:
    running = RunningJob()
    assert running.id() is None
    child = os.fork()
    if child == 0:
        running.set("x" * 64)
        os._exit(9)
    os.waitpid(child, 0)
    assert running.id() == "x" * 64
    running.set("y")
    assert running.id() == "y"
    running.clear()
    assert running.id() is None


class Pool:
    """A pool whose children a test sets, and that counts the calls of its view."""

    def __init__(self) -> None:
        self.pids: set[int] = set()
        self.replaced = 0
        self.looks = 0
        self.reconnected = 0

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
def shared() -> SharedMemory:
    return SharedMemory()


def _supervision(redis: RedisSettings, pool: Pool, shared: SharedMemory) -> Supervision:
    recovery, view = Upkeep(redis), pool.view()
    drain = WorkerDrain(recovery, shared.commands, view.living, limit_s=60, end=lambda: None)
    return Supervision(recovery, PRESENCE, shared, view, drain)


@pytest.fixture
def supervision(redis_settings: RedisSettings, pool: Pool, shared: SharedMemory) -> Iterator[Supervision]:
    made = _supervision(redis_settings, pool, shared)
    yield made
    made.stop()
    if made.ident is not None:
        made.join(5)
    assert not made.is_alive()


def _workers(settings: RedisSettings) -> list[WorkerPresence]:
    return on_store(settings, lambda store: store.workers())


def test_a_worker_is_ready_once_its_living_child_has_loaded(
    redis_settings: RedisSettings, supervision: Supervision, pool: Pool, shared: SharedMemory
) -> None:
    pool.pids = {os.getpid()}
    shared.load_reports.write(LoadReport(os.getpid(), ("generation",)))
    supervision.start()
    wait_until(lambda: [(w.ready, w.operations) for w in _workers(redis_settings)] == [(True, ("generation",))])
    pool.pids = {2**22 + 1}
    wait_until(lambda: not _workers(redis_settings)[0].ready)
    wait_until(lambda: pool.replaced > 0)


def test_an_earlier_childs_report_does_not_count(
    redis_settings: RedisSettings, supervision: Supervision, pool: Pool, shared: SharedMemory
) -> None:
    shared.load_reports.write(LoadReport(2**22 + 1, ("generation",)))
    pool.pids = {os.getpid()}
    supervision.start()
    wait_until(lambda: _workers(redis_settings))
    assert [(w.ready, w.operations) for w in _workers(redis_settings)] == [(False, ())]


@pytest.mark.parametrize("report", [SharedMemory.job_started, SharedMemory.job_storing])
def test_the_lease_of_a_job_that_runs_or_is_stored_is_renewed(
    redis_settings: RedisSettings,
    supervision: Supervision,
    pool: Pool,
    shared: SharedMemory,
    report: Callable[[SharedMemory, str], None],
) -> None:
    job = submit(redis_settings)
    claimed(redis_settings, job)
    with client(redis_settings) as behind:
        before = float(str(behind.zscore(keys.running(GRAPH), job.id)))
        behind.zadd(keys.running(GRAPH), {job.id: before + 10**6})
        pool.pids = {os.getpid()}
        report(shared, job.id)
        supervision.start()
        wait_until(lambda: float(str(behind.zscore(keys.running(GRAPH), job.id))) < before + 10**5)
    assert look(redis_settings, job).status == "in_progress"


def test_a_heartbeat_has_the_job_and_the_stage_and_is_not_sent_for_another_job_alone(
    redis_settings: RedisSettings, supervision: Supervision, pool: Pool, shared: SharedMemory
) -> None:
    pool.pids = {os.getpid()}
    shared.load_reports.write(LoadReport(os.getpid(), ("generation",)))

    def beat_after(job_id: str) -> tuple[str, str]:
        shared.job_started(job_id)
        supervision.cycle()
        (worker,) = on_store(redis_settings, lambda store: store.workers())
        return worker.stage, worker.activity.job_id

    assert beat_after("imgjob_1") == ("drawing", "imgjob_1")
    assert [beat_after("imgjob_2")[1], beat_after("imgjob_3")[1]] == ["imgjob_1", "imgjob_3"]


def test_a_draining_worker_is_no_longer_listed(
    redis_settings: RedisSettings, supervision: Supervision, pool: Pool, shared: SharedMemory
) -> None:
    pool.pids = {os.getpid()}
    shared.running_job.set("imgjob_1")
    supervision.start()
    wait_until(lambda: _workers(redis_settings))
    supervision.drain()
    wait_until(lambda: not _workers(redis_settings))
    looks = pool.looks
    wait_until(lambda: pool.looks > looks + 1)
    assert _workers(redis_settings) == []


def test_the_jobs_of_a_lost_child_are_queued_again_at_once(
    redis_settings: RedisSettings, settled_redis: RedisSettings, supervision: Supervision, shared: SharedMemory
) -> None:
    stored, drawn = (submit(settled_redis) for _ in range(2))
    for job in (stored, drawn):
        claimed(settled_redis, job)
    shared.job_started(drawn.id)
    shared.job_storing(stored.id)
    supervision.start()
    supervision.child_lost()
    wait_until(lambda: waiting(redis_settings) == [stored.id, drawn.id], deadline_s=3)
    assert [look(redis_settings, job).status for job in (stored, drawn)] == ["queued", "queued"]
    assert shared.held_jobs() == []


def test_a_lost_job_that_the_next_child_has_drawn_again_keeps_its_lease(
    settled_redis: RedisSettings,
    supervision: Supervision,
    pool: Pool,
    shared: SharedMemory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = submit(settled_redis)
    first = claimed(settled_redis, job)
    shared.job_started(job.id)
    with monkeypatch.context() as redis:
        redis.setattr(Upkeep, "end_lease", _unavailable)
        supervision.child_lost()
    assert claims_of(settled_redis).hand_back(first)
    second = claimed(settled_redis, job)
    shared.job_storing(job.id)
    pool.pids = {os.getpid()}
    supervision.cycle()
    assert look(settled_redis, job).status == "in_progress"
    assert claims_of(settled_redis).complete(second, [b"image"], {})


def _unavailable(*_: object) -> bool:
    raise ServiceUnavailable("Redis is away.")


def test_the_thread_continues_while_redis_is_away(pool: Pool, shared: SharedMemory) -> None:
    away = _supervision(RedisSettings(url="redis://127.0.0.1:1/0"), pool, shared)
    away.start()
    pool.pids = {os.getpid()}
    shared.running_job.set("imgjob_1")
    away.child_lost()
    away.drain()
    looks = pool.looks
    wait_until(lambda: pool.looks > looks + 1)
    assert away.is_alive()
    away.stop()
    away.join(5)


@pytest.mark.parametrize("takes", [False, True])
def test_a_free_worker_that_no_message_reaches_connects_again(
    redis_settings: RedisSettings, supervision: Supervision, pool: Pool, shared: SharedMemory, takes: bool
) -> None:
    job = submit(redis_settings)
    with client(redis_settings) as behind:
        behind.hset(keys.job(job.id), "created_at", job.created_at - 6)
    pool.pids = {os.getpid()}
    shared.load_reports.write(LoadReport(os.getpid(), ("generation",)))
    for _ in range(3):
        if takes:
            shared.running_job.set(job.id)
            shared.running_job.clear()
        for _ in range(RESEND_EVERY):
            supervision.cycle()
    assert pool.reconnected == (0 if takes else 1)
