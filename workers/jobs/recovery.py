"""What keeps accepted jobs from being lost: leases, the reaper, resent messages, signs of life.

Called every second from a worker's main process, never from the child that draws (a call into C++ that holds the
GIL would starve it) and never from Celery's event loop (it blocks while Redis is away).
"""

import json
from collections.abc import Callable
from dataclasses import replace

from config.settings import JobSettings, RedisSettings
from workers.jobs import keys
from workers.jobs.connection import connect, redis_errors
from workers.jobs.job import Status, job_from_hash
from workers.jobs.presence import WorkerPresence, stale_names
from workers.jobs.scripts import job_keys, script

_RESEND_AFTER_S = 5.0


class Recovery:
    """One worker process's share of the fleet's upkeep; any number may run at once."""

    def __init__(
        self,
        redis_settings: RedisSettings,
        jobs: JobSettings,
        owner: str,
        graph: str,
        resend: Callable[[str, str], None],
    ) -> None:
        """``resend(graph, job_id)`` sends a job's message again."""
        self._jobs, self._owner, self._graph, self._send = jobs, owner, graph, resend
        self._redis = connect(redis_settings, retries=0)
        self._renew = self._redis.register_script(script("renew"))
        self._reap = self._redis.register_script(script("reap"))

    def heartbeat(self, presence: WorkerPresence) -> None:
        """Publish this worker's state, and tidy up after workers that are long gone."""
        with redis_errors():
            now = self._now()
            self._redis.hset(keys.WORKERS, presence.name, replace(presence, seen_at=now).to_json())
            stored = self._redis.hgetall(keys.WORKERS)
            if stale := stale_names(stored, now):
                self._redis.hdel(keys.WORKERS, *stale)

    def leave(self, name: str) -> None:
        """Take this worker's state away, at an orderly end."""
        with redis_errors():
            self._redis.hdel(keys.WORKERS, name)

    def renew_lease(self, job_id: str) -> None:
        """Say that this worker still runs the job."""
        self._set_lease(job_id, int(self._jobs.lease_s * 1000))

    def end_lease(self, job_id: str) -> None:
        """Say that this worker's child died while it ran the job: whoever reaps next requeues it."""
        self._set_lease(job_id, 0)

    def reap(self) -> list[str]:
        """Requeue the jobs whose lease ran out and send their messages again. Returns their ids."""
        with redis_errors():
            if self._redis_just_started():
                return []
            expired = self._redis.zrangebyscore(keys.RUNNING, 0, self._now() * 1000)
            return [job_id for raw in expired if self._reap_one(job_id := raw.decode())]

    def resend_lost(self) -> list[str]:
        """Send the message of every job that has waited for some seconds and has none. Returns their ids.

        Redis hands a message to a socket that may be gone (kombu's BRPOP): then it is in no key at all.
        """
        with redis_errors():
            waiting = [raw.decode() for raw in self._zrange(keys.queued(self._graph))]
            if not waiting:
                return []
            sent = self._message_ids()
            lost = [job_id for job_id in waiting if job_id not in sent and self._waits_long(job_id)]
        for job_id in lost:
            self._send(self._graph, job_id)
        return lost

    def _set_lease(self, job_id: str, lease_ms: int) -> None:
        with redis_errors():
            self._renew(keys=job_keys(job_id, self._graph), args=[job_id, self._owner, lease_ms])

    def _reap_one(self, job_id: str) -> bool:
        stored = self._redis.hgetall(keys.job(job_id))
        if not stored:
            self._redis.zrem(keys.RUNNING, job_id)
            return False
        graph = job_from_hash(job_id, stored).request.graph
        args = [job_id, self._jobs.max_attempts, self._jobs.record_ttl_s]
        if not self._reap(keys=job_keys(job_id, graph), args=args):
            return False
        self._send(graph, job_id)
        return True

    def _redis_just_started(self) -> bool:
        """Owners need a moment to renew after Redis was away: reaping at once would run live jobs twice."""
        info = self._redis.info("server")
        return int(info["uptime_in_seconds"]) < self._jobs.lease_s + 2

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    def _zrange(self, key: str) -> list[bytes]:
        found = self._redis.zrange(key, 0, -1)
        return list(found)

    def _message_ids(self) -> set[str]:
        """The ids of the jobs whose message waits or is held by a worker: a task's id is its job's."""
        waiting = self._redis.lrange(keys.queue_name(self._graph), 0, -1)
        held = self._redis.hvals(keys.CELERY_UNACKED)
        messages = [json.loads(raw) for raw in waiting] + [json.loads(raw)[0] for raw in held]
        return {str(message["headers"]["id"]) for message in messages}

    def _waits_long(self, job_id: str) -> bool:
        stored = self._redis.hgetall(keys.job(job_id))
        if not stored:
            return False
        job = job_from_hash(job_id, stored)
        return job.status is Status.QUEUED and self._now() - job.created_at > _RESEND_AFTER_S
