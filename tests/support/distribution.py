"""How the test files are distributed over the processes of pytest-xdist: slow files first, shared services once."""

import os
import signal
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

# Files of one group share a session fixture that starts a service: in one process it is started once.
_GROUPS = (
    {f"tests/stack/test_{name}.py" for name in ("jobs", "openai_client", "pixels", "prompts")},
    {f"tests/fuzz/test_{name}.py" for name in ("forms", "hostile_images", "openapi", "requests")},
)
# A file's rank is that of its slowest test.
_RANKS = {"process": 0, "model": 0, "redis": 1, "slow": 1}
_FAST = 2
_MEMORY_FAULTS = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS)


class SlowFirst(LoadFileScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Distributes whole files, those of one group together, in the order of collection."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        self._run_again: set[str] = set()

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((min(group) for group in _GROUPS if file in group), file)

    # What follows mends pytest-xdist 3.8, whose schedulers by file wait for ever after a process has crashed: the next
    # process runs the same test again, or is given a file without an open test, or a single test, which it begins
    # only when it knows of another one or of the end.

    def remove_node(self, node: Any) -> str | None:
        """Give the open tests of a process that ended to the others, and return the test that it ended in, if any.

        A test whose process ended by a fault of memory is run once more, in another process, and fails only if that
        ends too: OpenVINO 2026.4.1 frees memory wrongly when its objects are destroyed (docs/testing.md), which harms
        whichever test runs next.
        """
        files = self.assigned_work.pop(node)
        ended_in = next((test for tests in files.values() for test, is_done in tests.items() if not is_done), None)
        if ended_in is not None and ended_in not in self._run_again and _exit_status(node) in _MEMORY_FAULTS:
            self._run_again.add(ended_in)
            print(f"\nthe process of {ended_in} ended; the test is run once more, in another process", flush=True)
            ended_in = None
        for file, tests in files.items():
            if ended_in in tests:
                tests[ended_in] = True
            if not all(tests.values()):
                self.workqueue[file] = tests
        for other in self.assigned_work:
            self._reschedule(other)
        return ended_in

    def _reschedule(self, node: Any) -> None:
        """Give a process that has collected its tests two of them at least, or tell it that no more will come."""
        if node not in self.registered_collections:
            return
        super()._reschedule(node)
        if not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
            self._reschedule(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SlowFirst | None:
    """Distribute whole files, unless another way than ``--dist loadfile`` is chosen."""
    return SlowFirst(config, log) if config.option.dist == "loadfile" else None


def pytest_testnodedown(node: Any, error: object) -> None:
    """Say how a process of the run ended, if it ended by itself: a signal, or a status of its own."""
    if error is not None:
        status = _exit_status(node)
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        print(f"\n{node.gateway.id} {how}", flush=True)


def _exit_status(node: Any) -> int:
    return int(node.gateway._io.popen.wait(timeout=10))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a test when it fails: the summary at the end is never printed by a run that is ended from outside."""
    if report.failed and not os.environ.get("PYTEST_XDIST_WORKER"):
        print(f"\nFAILED {report.nodeid} ({report.when})", flush=True)


def sort_slow_first(items: list[pytest.Item]) -> None:
    """Sort tests by the rank of their file, so that short files fill up the time at the end."""
    ranks: dict[object, int] = {}
    for item in items:
        rank = min(_RANKS.get(mark.name, _FAST) for mark in item.iter_markers())
        ranks[item.path] = min(rank, ranks.get(item.path, _FAST))
    items.sort(key=lambda item: ranks[item.path])
