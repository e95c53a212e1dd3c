"""The job store as a worker uses it: claim a job, record its steps, end it. Synchronous; the API's side is store.py.

Every call after the claim carries its token. A worker that lost its claim, because its lease ended and another worker
runs the job, changes nothing any more.
"""

import json
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from config.settings import JobSettings, RedisSettings
from graphs.errors import StoreFull
from workers.jobs.job import Job, JobError, job_from_hash
from workers.jobs.observe.measured_times import MOST_KEPT, work_of
from workers.jobs.queue_bounds import kept_bounds
from workers.jobs.redis.connection import connect, redis_errors
from workers.jobs.redis.keys import Keys, queue_name
from workers.jobs.redis.script import flat
from workers.jobs.redis.scripts import CLAIM, FINISH, HAND_BACK, PROGRESS, RUN_AGAIN
from workers.jobs.status import ClaimState, Status

log = logging.getLogger(__name__)

# About two minutes with the pauses between: a finished image is kept while Redis restarts.
_FINISH_RETRIES = 60
_NO_ROOM = -1
_ENDED_AND_NONE_WAITS = 2
# A full Redis has room again when artifacts of earlier jobs expire, so a worker keeps new ones for as long as that.
_ROOM_CHECK_S = 1.0
_ROOM_MARGIN_S = 60.0


@dataclass(frozen=True)
class Claim:
    """A job that this worker has claimed, with its input images as PNG, and whether more jobs waited behind it."""

    job: Job
    token: str
    image: bytes | None
    mask: bytes | None
    more_wait: bool = False


@dataclass(frozen=True)
class WakeMessage:
    """A message that wakes a worker, and the key of the queue that it came from."""

    queue_key: str
    content: bytes


@dataclass(frozen=True)
class Preview:
    """A partial image, encoded in the request's output format: the index of its image, and its own number from 0."""

    image_index: int
    partial_image_index: int
    encoded: bytes


class Claims:
    """The claims of one worker process, whose name is ``worker``.

    Every method raises ServiceUnavailable when Redis cannot be reached, unless it says otherwise.
    """

    def __init__(
        self,
        redis_settings: RedisSettings,
        jobs: JobSettings,
        worker: str,
        digest: str = "",
        message: Callable[[str], str] = lambda _: "",
    ) -> None:
        """``digest``: that of the worker's model, '' where it draws jobs of every digest.

        ``message(queue)`` makes what wakes a further worker where more jobs wait; '' wakes none.
        """
        self._message = message
        # Whether more jobs may wait, as the end of the last one found.
        self.more_wait = True
        # What is added to the graph's metrics by the next claim; another thread than the one that claims may add to it.
        self._counted: deque[Mapping[str, int]] = deque()
        self._jobs = jobs
        self._digest = digest
        self._worker = worker
        self._keys = Keys.of(redis_settings)
        self._redis = connect(redis_settings, retries=_FINISH_RETRIES)
        self._quick = connect(redis_settings, retries=0)
        self._claim = self._redis.register_script(CLAIM.source(self._keys))
        self._finish = self._redis.register_script(FINISH.source(self._keys))
        self._run_again = self._redis.register_script(RUN_AGAIN.source(self._keys))
        self._progress = self._quick.register_script(PROGRESS.source(self._keys))
        self._hand_back = self._quick.register_script(HAND_BACK.source(self._keys))

    def claim_next(self, graph: str) -> Claim | None:
        """Claim the first job in a graph's queue that this worker may draw; None when none waits."""
        counted = list(self._counted)
        call = CLAIM.of(
            self._keys,
            graph,
            self._jobs,
            fairness_key=self._keys.fairness(graph),
            claim_key=self._keys.claim(self._worker),
            paused_key=self._keys.paused(graph),
            messages_key=self._keys.messages(graph, self._digest),
            message=self._message(queue_name(graph, self._digest)),
            worker=self._worker,
            digest=self._digest,
            # redis-py repeats the call when its reply is lost: the same nonce returns the same claim.
            nonce=secrets.token_hex(8),
            lease_ms=int(self._jobs.lease_s * 1000),
            max_attempts=self._jobs.max_attempts,
            counted=flat({name: str(number) for name, number in sum(map(Counter, counted), Counter[str]()).items()}),
        )
        with redis_errors():
            claimed = self._claim(**call)
        for _ in counted:
            self._counted.popleft()
        if not claimed:
            return None
        job_id, token, image, mask, more_wait, *record = claimed
        job = job_from_hash(job_id.decode(), dict(zip(record[::2], record[1::2], strict=True)))
        return Claim(job, token.decode(), image or None, mask or None, bool(more_wait))

    def take_message(self, graph: str, timeout_s: float) -> WakeMessage | None:
        """Wait for a message to this worker's queues, as Celery does; None where none comes in that time."""
        queues = dict.fromkeys([self._keys.messages(graph, self._digest), self._keys.messages(graph)])
        with redis_errors():
            found = self._quick.brpop(list(queues), timeout_s)
        return WakeMessage(found[0].decode(), found[1]) if found else None

    def give_back(self, message: WakeMessage) -> None:
        """Put a message back as the next one of its queue, for another worker."""
        with redis_errors():
            self._quick.rpush(message.queue_key, message.content)

    def progress(self, claim: Claim, step: int, total_steps: int, preview: Preview | None = None) -> ClaimState:
        """Record a step, with a preview if there is one. Returns whether the worker goes on."""
        call = PROGRESS.of(
            self._keys,
            claim.job.request.graph,
            self._jobs,
            owner_events_key=self._keys.owner_events(claim.job.options.owner),
            job_id=claim.job.id,
            token=claim.token,
            step=step,
            total_steps=total_steps,
            image_index=preview.image_index if preview else None,
            partial_image_index=preview.partial_image_index if preview else None,
            preview=preview.encoded if preview else b"",
        )
        with redis_errors():
            return ClaimState(self._progress(**call).decode())

    def complete(
        self,
        claim: Claim,
        artifacts: Sequence[bytes],
        seconds: Mapping[str, float],
        measured: Mapping[str, int] | None = None,
        warnings: Sequence[str] = (),
        steps_s: Sequence[float] = (),
        last_step: tuple[int, int] | None = None,
    ) -> bool:
        """Store the artifacts and end the job; False when the claim no longer holds.

        ``last_step``: its number and the number of all. ``seconds`` by stage and ``warnings`` stay with the job;
        ``measured`` is added to the graph's metrics in the same step. While Redis is full this waits for room, for as
        long as artifacts are kept. Raises StoreFull when none comes.
        """
        rounded = {stage: round(value, 6) for stage, value in seconds.items()}
        counts = {**_image_counts(claim, len(artifacts)), **(measured or {})}
        fields = {"artifacts": str(len(artifacts)), "seconds": json.dumps(rounded), "measured": json.dumps(counts)}
        fields["artifact_sizes"] = json.dumps([len(artifact) for artifact in artifacts])
        if last_step:  # not every step was recorded
            fields |= {"step": str(last_step[0]), "total_steps": str(last_step[1])}
        if warnings:
            fields["worker_warnings"] = json.dumps(list(warnings))
        # The first steps of a new size are compiled; they count as the others, since the next job's are not.
        cold_s = max(0.0, sum(steps_s) - median(steps_s) * len(steps_s)) if steps_s else 0.0
        measured_s = f"{seconds.get('denoise', 0.0) - cold_s:.6f} {_beside_steps_s(seconds):.6f}"
        give_up_at = time.monotonic() + self._jobs.result_ttl_s + _ROOM_MARGIN_S
        has_warned = False
        while (outcome := self._end(claim, Status.COMPLETED, fields, artifacts, measured_s, cold_s)) == _NO_ROOM:
            if time.monotonic() > give_up_at:
                raise StoreFull
            if not has_warned:
                log.warning("%s is drawn, but Redis is full; its artifacts wait for room", claim.job.id)
            has_warned = True
            time.sleep(_ROOM_CHECK_S)  # noqa: TID251 - no event ends this pause early
        return bool(outcome)

    def fail(self, claim: Claim, error: JobError) -> bool:
        """End the job with an error; False when the claim no longer holds."""
        # A file's name may have bytes that are no UTF-8, which Python keeps as lone surrogates: no JSON can have those.
        message = error.message.encode(errors="replace").decode()
        return bool(self._end(claim, Status.FAILED, {"error": json.dumps({"code": error.code, "message": message})}))

    def cancelled(self, claim: Claim) -> bool:
        """End the job as cancelled; False when the claim no longer holds."""
        return bool(self._end(claim, Status.CANCELLED, {}))

    def hand_back(self, claim: Claim) -> bool:
        """Put the job back to its place in the queue, without counting the attempt; False when the claim does not hold.

        It is tried only once: where Redis cannot be reached, the lease ends, which requeues the job as well.
        """
        held = {"claim_field": "token", "claim_value": claim.token}
        with redis_errors():
            return bool(
                self._hand_back(
                    **HAND_BACK.of(self._keys, claim.job.request.graph, self._jobs, job_id=claim.job.id, **held)
                )
            )

    def run_again(self, claim: Claim, trouble: str, failed_message: str) -> Status | None:
        """Put the job back to its place because the device failed (``trouble``), which is not the job's fault.

        A job that met ``max_attempts`` failures of devices fails with the message. Returns its status then; None when
        the claim does not hold.
        """
        call = RUN_AGAIN.of(
            self._keys,
            claim.job.request.graph,
            self._jobs,
            job_id=claim.job.id,
            token=claim.token,
            trouble=trouble,
            max_faults=self._jobs.max_attempts,
            failed_message=failed_message,
        )
        with redis_errors():
            status = self._run_again(**call).decode()
        return Status(status) if status else None

    def count(self, added: Mapping[str, int]) -> None:
        """Add to the graph's metrics, with the next claim, what is known only after a transition."""
        self._counted.append(added)

    def _end(
        self,
        claim: Claim,
        status: Status,
        fields: Mapping[str, str],
        artifacts: Sequence[bytes] = (),
        measured_s: str = "",
        cold_s: float = 0.0,
    ) -> int:
        graph = claim.job.request.graph
        call = FINISH.of(
            self._keys,
            graph,
            self._jobs,
            times_key=self._keys.times(graph),
            job_id=claim.job.id,
            token=claim.token,
            new_status=status.value,
            work=str(work_of(claim.job.request)),
            measured_s=measured_s,
            cold_s=cold_s,
            most_times=MOST_KEPT,
            **kept_bounds(self._jobs, claim.job.options.owner).arguments(),
            artifacts=list(artifacts),
            fields=flat(fields),
        )
        with redis_errors():
            outcome = int(self._finish(**call))
        self.more_wait = outcome != _ENDED_AND_NONE_WAITS
        return outcome


def _beside_steps_s(seconds: Mapping[str, float]) -> float:
    return sum(value for stage, value in seconds.items() if stage not in ("denoise", "generate"))


def _image_counts(claim: Claim, images: int) -> dict[str, int]:
    request = claim.job.request
    return {"images": images, "pixels": images * request.width * request.height}
