"""The upkeep that keeps accepted jobs from being lost: heartbeats, leases, the reaper and resent messages.

A worker's main process calls it every second. The child that draws cannot (a call into C++ that holds the GIL would
delay it), nor can Celery's event loop (it blocks while Redis cannot be reached).
"""

import time
from collections.abc import Callable, Sequence

from config.settings import JobSettings, RedisSettings
from workers.jobs.job import model_changed_message, overdue_error
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.redis.connection import connect, redis_errors
from workers.jobs.redis.keys import NO_DIGEST, Keys, edges_of, queue_name
from workers.jobs.redis.layout import check_layout
from workers.jobs.redis.scripts import HAND_BACK, HEARTBEAT, LEAVE, LOST, REAP, RELEASE, RENEW
from workers.jobs.status import ClaimState

_RESEND_AFTER_S = 5.0
# The message of the job that a worker runs, and one that it received while it began to shut down.
_MESSAGES_HELD = 2
# Heartbeats come every two seconds: after a longer gap Redis or this worker stood still.
_GAP_S = 3.5
_CRASHES_KEPT = 10


class Recovery:
    """The upkeep of one graph by one worker process; any number of processes may do it at once.

    Every method raises ServiceUnavailable when Redis cannot be reached.
    """

    def __init__(
        self,
        redis_settings: RedisSettings,
        jobs: JobSettings,
        worker: str,
        graph: str,
        wake: Callable[[str], None],
        digest: str = "",
    ) -> None:
        """``wake(queue)`` sends a message that makes a worker take the next job; ``digest`` is that of its model."""
        self._jobs = jobs
        self._worker = worker
        self._graph = graph
        self._wake = wake
        self._digest = digest
        self._keys = Keys.of(redis_settings)
        self._redis = connect(redis_settings, retries=0)
        self._renew = self._redis.register_script(RENEW.source(self._keys))
        self._release = self._redis.register_script(RELEASE.source(self._keys))
        self._reap = self._redis.register_script(REAP.source(self._keys))
        self._heartbeat = self._redis.register_script(HEARTBEAT.source(self._keys))
        self._leave = self._redis.register_script(LEAVE.source(self._keys))
        self._lost = self._redis.register_script(LOST.source(self._keys))
        self._hand_back = self._redis.register_script(HAND_BACK.source(self._keys))
        self._seen_at = time.monotonic()
        self._back_at = float("-inf")

    def check_layout(self) -> None:
        """Compare the layout's version in Redis. Raises ConfigurationError when this worker may not go on."""
        check_layout(self._redis, self._keys)

    def heartbeat(self, presence: WorkerPresence) -> bool:
        """Publish the state of this worker, and remove that of workers which ended long ago.

        Returns whether this worker is the one of its graph that reaps: one does so at a time, for all others.
        """
        call = HEARTBEAT.call(
            self._keys,
            digests_key=self._keys.digests(self._graph),
            **self._keys_of_worker(),
            worker=presence.name,
            presence=presence.to_json().partition(", ")[2],
            digest=self._digest,
            is_ready=int(presence.ready),
        )
        with redis_errors():
            is_reaper = bool(self._heartbeat(**call))
        self._note_answer()
        return is_reaper

    def leave(self, name: str) -> None:
        """Remove the state of this worker when it shuts down."""
        with redis_errors():
            self._leave(**LEAVE.call(self._keys, **self._keys_of_worker(), worker=name))

    def renew_lease(self, job_id: str) -> ClaimState:
        """Renew the lease of the job that this worker runs. Returns whether the job goes on."""
        with redis_errors():
            state = self._renew(
                **RENEW.of(
                    self._keys, self._graph, self._jobs, job_id=job_id, worker=self._worker, lease_ms=self._lease_ms()
                )
            )
        return ClaimState(state.decode())

    def end_lease(self, job_id: str, stopped: str = "") -> bool:
        """End the lease of a job whose child died: the next reaper requeues the job.

        A job that had run for its whole time limit is not requeued but fails at once as ``timeout``, and one that was
        cancelled is cancelled. ``stopped`` is the sentence of a cancelled job whose child is ended because of it.
        Returns False when this worker does not hold the job.
        """
        with redis_errors():
            held = self._release(
                **RELEASE.of(
                    self._keys,
                    self._graph,
                    self._jobs,
                    job_id=job_id,
                    worker=self._worker,
                    time_limit_s=self._jobs.time_limit_s,
                    overdue_message=self._overdue_message(),
                    stopped_message=stopped,
                )
            )
        return bool(held)

    @property
    def time_limit_s(self) -> int:
        """How long a job may run: then it stops at its next step."""
        return self._jobs.time_limit_s

    @property
    def step_grace_s(self) -> float:
        """How long a job that was cancelled, or is past its time limit, may stay inside one step."""
        return self._jobs.step_grace_s

    @property
    def last_resort_s(self) -> float:
        """How long any task may take, in seconds."""
        return self._jobs.last_resort_s

    def count_crash(self) -> None:
        """Count that the child of this worker died while it ran a job, and record the time."""
        with redis_errors():
            pipeline = self._redis.pipeline()
            pipeline.hincrby(self._keys.metrics(self._graph), "crashes", 1)
            pipeline.lpush(self._keys.crashes(self._graph), self._now())
            pipeline.ltrim(self._keys.crashes(self._graph), 0, _CRASHES_KEPT - 1)
            pipeline.execute()

    def count_replacement(self, reason: str) -> None:
        """Count that the child of this worker was ended, so that a new one loads the model, by its reason."""
        with redis_errors():
            pipeline = self._redis.pipeline()
            pipeline.hincrby(self._keys.metrics(self._graph), f"replaced:{reason}", 1)
            pipeline.execute()

    def reap(self) -> list[str]:
        """Requeue the jobs whose lease has ended, and wake a worker for each. Returns their ids."""
        with redis_errors():
            if self._just_came_back():
                return []
            found = self._reap(
                **REAP.of(
                    self._keys,
                    self._graph,
                    self._jobs,
                    max_attempts=self._jobs.max_attempts,
                    lease_ms=self._lease_ms(),
                    young_s=self._settling_s,
                    time_limit_s=self._jobs.time_limit_s,
                    overdue_message=self._overdue_message(),
                    digest_grace_ms=int(self._jobs.digest_grace_s * 1000),
                    digest_message=model_changed_message(self._jobs.digest_grace_s),
                )
            )
        texts = [raw.decode() for raw in found]
        for digest in texts[1::2]:
            self._wake(queue_name(self._graph, digest))
        return texts[::2]

    def hand_back(self, held: Sequence[str]) -> list[str]:
        """Requeue the jobs that this worker still holds after its child died, and do not count the attempt.

        ``held``: those that the child reported; one that it had just claimed is known from the claim. Returns the ids.
        """
        handed_back = []
        with redis_errors():
            last = self._redis.get(self._keys.claim(self._worker))
            for job_id in dict.fromkeys([*held, *([last.decode()] if last else [])]):
                claim = {"claim_field": "worker", "claim_value": self._worker}
                if self._hand_back(**HAND_BACK.of(self._keys, self._graph, self._jobs, job_id=job_id, **claim)):
                    handed_back.append(job_id)
        return handed_back

    def pass_on(self) -> None:
        """Wake other workers if jobs wait: a worker that shuts down may have received messages without using them."""
        with redis_errors():
            waiting = self._waiting(_MESSAGES_HELD)
        for _ in waiting:
            self._wake(self._queue)

    def resend_lost(self, *, is_idle: bool = False) -> int:
        """Send messages when jobs have waited for some seconds while a worker was idle. Returns how many.

        ``is_idle``: this worker is; of others only the numbers are known, and one that stores behind counts twice.

        Redis may give a message to a socket that is gone (kombu's BRPOP): then it is in no key at all. A surplus
        message does no harm: its worker finds no job to claim.
        """
        call = LOST.of(
            self._keys,
            self._graph,
            self._jobs,
            ready_key=self._keys.ready(self._graph),
            ready_own_key=self._keys.ready(self._graph, self._digest),
            ready_any_key=self._keys.ready(self._graph, ""),
            paused_key=self._keys.paused(self._graph),
            digest=self._digest,
            is_idle=int(is_idle),
            resend_after_ms=int(_RESEND_AFTER_S * 1000),
        )
        with redis_errors():
            missing = int(self._lost(**call))
        for _ in range(missing):
            self._wake(self._queue)
        return missing

    @property
    def _queue(self) -> str:
        return queue_name(self._graph, self._digest)

    def _waiting(self, most: int) -> list[str]:
        """Return the ids of the first waiting jobs that this worker may draw: those of its model come first."""
        queued = self._redis.zrange(self._keys.queued(self._graph), 0, most - 1)
        if not self._digest or not queued:
            return [raw.decode() for raw in queued]
        found: list[str] = []
        for digest in (self._digest, NO_DIGEST):
            entries = self._redis.zrangebylex(self._keys.by_digest(self._graph), *edges_of(digest), 0, most)
            found += [entry.decode().rpartition(" ")[2] for entry in entries]
        first = queued[0].decode()  # one that an older release accepted or put back has no entry
        return found[:most] if found or not self._may_draw(first) else [first]

    def _may_draw(self, job_id: str) -> bool:
        digest = self._redis.hget(self._keys.job(job_id), "model_digest")
        return digest is None or digest.decode() == self._digest

    def _keys_of_worker(self) -> dict[str, str]:
        return {
            "ready_key": self._keys.ready(self._graph),
            "ready_own_key": self._keys.ready(self._graph, self._digest),
            "reaper_key": self._keys.reaper(self._graph),
        }

    def _lease_ms(self) -> int:
        return int(self._jobs.lease_s * 1000)

    def _overdue_message(self) -> str:
        return overdue_error(self._jobs.time_limit_s).message

    @property
    def _settling_s(self) -> float:
        """For how long workers renew their leases after Redis was away: no reaper takes them then.

        Redis may have been restarted (lua/reap.lua asks it for how long it has run), or its replies have a gap because
        it stood still or could not be reached.
        """
        return self._jobs.lease_s + 2

    def _just_came_back(self) -> bool:
        """Return whether this worker has had answers of Redis for less than that time."""
        self._note_answer()
        return time.monotonic() - self._back_at < self._settling_s

    def _note_answer(self) -> None:
        now = time.monotonic()
        if now - self._seen_at > max(_GAP_S, self._jobs.lease_s / 2):
            self._back_at = now
        self._seen_at = now

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return seconds + microseconds / 1e6
