"""What keeps accepted jobs from being lost: leases, the reaper, resent messages, signs of life.

Called every second from a worker's main process, never from the child that draws (a call into C++ that holds the
GIL would starve it) and never from Celery's event loop (it blocks while Redis is away).
"""

import time
from collections.abc import Callable
from dataclasses import replace

from config.settings import JobSettings, RedisSettings
from workers.jobs.job import overdue_error
from workers.jobs.observe.presence import WorkerPresence, live_workers, stale_names
from workers.jobs.redis import keys
from workers.jobs.redis.connection import connect, redis_errors
from workers.jobs.redis.layout import LAYOUT_SCRIPT, accept_layout, layout_arguments, layout_keys
from workers.jobs.redis.scripts import script, script_arguments, script_keys

_RESEND_AFTER_S = 5.0
# The message of the job that a worker runs, and one that it got while it was told to stop.
_MESSAGES_HELD = 2
# Rounds come every second: after a longer gap Redis was away, or this worker.
_GAP_S = 2.5


class Recovery:
    """One worker process's share of the upkeep of its graph; any number may run at once."""

    def __init__(
        self, redis_settings: RedisSettings, jobs: JobSettings, worker: str, graph: str, wake: Callable[[str], None]
    ) -> None:
        """``wake(graph)`` sends a message that makes a worker take the next job."""
        self._jobs, self._worker, self._graph, self._wake = jobs, worker, graph, wake
        self._redis = connect(redis_settings, retries=0)
        self._layout = self._redis.register_script(LAYOUT_SCRIPT)
        self._renew = self._redis.register_script(script("renew"))
        self._release = self._redis.register_script(script("release"))
        self._reap = self._redis.register_script(script("reap"))
        self._heartbeat = self._redis.register_script(script("heartbeat"))
        self._hand_back = self._redis.register_script(script("hand_back"))
        self._seen_at = time.monotonic()
        self._back_at = float("-inf")

    def check_layout(self) -> None:
        """Compare the layout's version in Redis. Raises ConfigurationError when this worker may not go on."""
        with redis_errors():
            answer = self._layout(keys=layout_keys(), args=layout_arguments())
        accept_layout(answer)

    def heartbeat(self, presence: WorkerPresence) -> None:
        """Publish this worker's state, and tidy up after workers that are long gone."""
        with redis_errors():
            now = self._now()
            self._heartbeat(
                keys=script_keys(self._graph, [keys.WORKERS]),
                args=script_arguments(self._jobs, presence.name, replace(presence, seen_at=now).to_json()),
            )
            if stale := stale_names(self._redis.hgetall(keys.WORKERS), now):
                self._redis.hdel(keys.WORKERS, *stale)

    def leave(self, name: str) -> None:
        """Take this worker's state away, at an orderly end."""
        with redis_errors():
            self._redis.hdel(keys.WORKERS, name)

    def renew_lease(self, job_id: str) -> None:
        """Say that this worker still runs the job."""
        with redis_errors():
            self._renew(
                keys=script_keys(self._graph),
                args=script_arguments(self._jobs, job_id, self._worker, self._lease_ms()),
            )

    def end_lease(self, job_id: str) -> None:
        """Say that this worker's child runs the job no longer: whoever reaps next requeues it.

        A job that had run for all of its time is not requeued but fails, here and now, as ``timeout``.
        """
        with redis_errors():
            self._release(
                keys=script_keys(self._graph),
                args=script_arguments(self._jobs, job_id, self._worker, *self._time_limit()),
            )

    @property
    def kill_after_s(self) -> float:
        """How long a child may be at a job; at its time limit it is to stop by itself, at its next step."""
        return self._jobs.time_limit_s + self._jobs.time_limit_grace_s

    def count_crash(self) -> None:
        """Count that this worker's child died of a job, and when."""
        with redis_errors():
            pipeline = self._redis.pipeline()
            pipeline.hincrby(keys.metrics(self._graph), "crashes", 1)
            pipeline.lpush(keys.crashes(self._graph), self._now())
            pipeline.ltrim(keys.crashes(self._graph), 0, 9)
            pipeline.execute()

    def reap(self) -> list[str]:
        """Requeue the jobs whose lease ran out and wake a worker for each. Returns their ids."""
        with redis_errors():
            if self._redis_just_came_back():
                return []
            limits = [self._jobs.max_attempts, self._lease_ms(), *self._time_limit()]
            found = self._reap(keys=script_keys(self._graph), args=script_arguments(self._jobs, *limits))
        requeued = [raw.decode() for raw in found]
        for _ in requeued:
            self._wake(self._graph)
        return requeued

    def hand_back(self) -> list[str]:
        """Requeue what this worker still holds, its child being dead, without counting the attempt. Returns the ids."""
        handed_back = []
        with redis_errors():
            for raw in self._redis.zrange(keys.running(self._graph), 0, -1):
                claim = script_arguments(self._jobs, raw.decode(), "worker", self._worker)
                if self._hand_back(keys=script_keys(self._graph), args=claim):
                    handed_back.append(raw.decode())
        return handed_back

    def pass_on(self) -> None:
        """Wake others where jobs wait: a worker that leaves may have used up messages without doing their work."""
        with redis_errors():
            waiting = int(self._redis.zcard(keys.queued(self._graph)))
        for _ in range(min(waiting, _MESSAGES_HELD)):
            self._wake(self._graph)

    def resend_lost(self) -> int:
        """Send messages when jobs have waited for some seconds while a worker was idle. Returns how many.

        Redis hands a message to a socket that may be gone (kombu's BRPOP): then it is in no key at all. A message too
        many does no harm: its worker finds nothing to take.
        """
        with redis_errors():
            waiting = self._redis.zrange(keys.queued(self._graph), 0, -1)
            idle = self._ready_workers() - int(self._redis.zcard(keys.running(self._graph)))
            if not waiting or idle <= 0 or not self._waits_long(waiting[0].decode()):
                return 0
            none_left = int(self._redis.llen(keys.queue_name(self._graph))) == 0
        missing = len(waiting) if none_left else min(idle, len(waiting))
        for _ in range(missing):
            self._wake(self._graph)
        return missing

    def _lease_ms(self) -> int:
        return int(self._jobs.lease_s * 1000)

    def _time_limit(self) -> tuple[int, str]:
        return self._jobs.time_limit_s, overdue_error(self._jobs.time_limit_s).message

    def _redis_just_came_back(self) -> bool:
        """Owners need a moment to renew after Redis was away: reaping at once would run live jobs twice.

        It may have been started anew, or have stood still or out of reach: then its answers have a gap.
        """
        uptime_s = int(self._redis.info("server")["uptime_in_seconds"])
        now, before = time.monotonic(), self._seen_at
        self._seen_at = now
        if now - before > max(_GAP_S, self._jobs.lease_s / 2):
            self._back_at = now
        return min(uptime_s, now - self._back_at) < self._jobs.lease_s + 2

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    def _ready_workers(self) -> int:
        alive = live_workers(self._redis.hgetall(keys.WORKERS), self._now())
        return sum(worker.ready and worker.graph == self._graph for worker in alive)

    def _waits_long(self, job_id: str) -> bool:
        created_at = self._redis.hget(keys.job(job_id), "created_at")
        return created_at is not None and self._now() - float(created_at) > _RESEND_AFTER_S
