"""The heartbeats of workers: what each process publishes about itself, and which ones count as alive."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from graphs.families.family import Operation

ALIVE_S = 15.0
# A worker that could not load its model has ended; it counts until the next one has tried again.
_FAILURE_S = 4 * ALIVE_S
# loading: no child has loaded the model; checking: the child draws the known picture after a trouble; resting: it
# takes no jobs, because its device failed in fresh children one after the other.
STAGES_OF_WORKERS = ("loading", "idle", "drawing", "checking", "storing", "resting")


@dataclass(frozen=True)
class WorkerActivity:
    """What a worker does just now; other workers and API processes need not know it at once.

    ``job_id``: of the job that runs, '' for none. ``since``: when the stage or the job began, unix seconds of its
    machine's clock; 0 where that is unknown. ``seconds``: of the last drawn job, by stage.
    """

    job_id: str = ""
    since: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerPresence:
    """A worker's last heartbeat.

    ``seen_at``: unix seconds of Redis's clock. ``stage``: one of STAGES_OF_WORKERS, '' for an older release.
    ``digest``: of its model (graphs/definition/model_digest.py), '' where it is unknown: it draws any job of the graph.
    ``error``: why it could not load. ``last_error``: that of its children, also after they drew again, or why it rests;
    ``last_error_at``: unix seconds of its machine's clock.
    """

    name: str
    graph: str
    device: str
    ready: bool
    operations: tuple[str, ...]
    seen_at: float
    error: str | None = None
    # Unix seconds of its machine's clock, at about the moment of ``seen_at``; 0 where it is unknown.
    clock: float = 0.0
    # The bound of its child's memory, and what a request is estimated to take: fixed, and for each pixel; 0: unknown.
    memory_limit_bytes: int = 0
    fixed_bytes: int = 0
    pixel_bytes: int = 0
    stage: str = ""
    last_error: str | None = None
    last_error_at: float | None = None
    digest: str = ""
    # Not compared: a change of it alone causes no heartbeat, and observe/worker_table.py does not read it.
    activity: WorkerActivity = field(default_factory=WorkerActivity, compare=False)

    def can(self, operation: Operation) -> bool:
        """Return whether this worker's model has a pipeline for the operation."""
        return operation.value in self.operations

    def has_model(self, digest: str) -> bool:
        """Return whether it draws jobs of the model with this digest; '' is an unknown one."""
        return "" in (digest, self.digest) or digest == self.digest

    def is_process(self, host: str, pid: int) -> bool:
        """Return whether it is that process of that machine: its name is NODE/HOST/PID/RANDOM (workers/app.py)."""
        return self.name.split("/")[-3:-1] == [host, str(pid)]

    def to_json(self) -> str:
        """Return the heartbeat as it is stored; it begins with ``seen_at``, which lua/heartbeat.lua replaces."""
        return json.dumps({"seen_at": self.seen_at, **asdict(self), "clock": round(time.time(), 3)})

    @property
    def clock_ahead_s(self) -> float:
        """How many seconds its machine's clock is ahead of Redis's."""
        return self.clock - self.seen_at if self.clock else 0.0


def live_workers(stored: Mapping[bytes, bytes], now: float) -> list[WorkerPresence]:
    """Return the workers with a recent heartbeat, by name; ``now`` is unix seconds of Redis's clock.

    Among them, with an ``error``, are those that have lately ended because they could not load their model.
    """
    found = [presence_of(value) for value in stored.values()]
    return sorted((w for w in found if now - w.seen_at < (_FAILURE_S if w.error else ALIVE_S)), key=lambda w: w.name)


def load_failures(workers: Sequence[WorkerPresence]) -> dict[str, str]:
    """Return why the workers of a graph could not load its model, by graph, where no worker is ready for it."""
    ready = {worker.graph for worker in workers if worker.ready}
    failed = sorted((w for w in workers if w.error and w.graph not in ready), key=lambda worker: worker.seen_at)
    return {worker.graph: worker.error or "" for worker in failed}


def has_lately_failed(worker: WorkerPresence, now: float) -> bool:
    """Return whether a worker with an ``error`` ended so lately that it still counts."""
    return worker.error is not None and now - worker.seen_at < _FAILURE_S


def presence_of(stored: bytes) -> WorkerPresence:
    """Return the heartbeat without unknown fields: workers of a newer release may publish more."""
    beat = json.loads(stored)
    activity = WorkerActivity(**_known(WorkerActivity, beat.get("activity", {})))
    known = _known(WorkerPresence, beat)
    return WorkerPresence(**{**known, "operations": tuple(beat["operations"]), "activity": activity})


def _known(kind: type[WorkerActivity | WorkerPresence], stored: Mapping[str, Any]) -> dict[str, Any]:
    return {one.name: stored[one.name] for one in fields(kind) if one.name in stored}
