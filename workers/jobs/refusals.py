"""Why a submission was refused: the error, in a sentence that names the cause and what to do."""

from collections.abc import Sequence

from config.settings import JobSettings
from graphs.api_keys import ANYONE
from graphs.errors import ImagegenError, QueueFull, RequestTooLarge, StoreFull
from workers.jobs.observe.measured_times import read_times, read_work
from workers.jobs.queue_bounds import Bound, queue_bounds
from workers.jobs.redis.clients import AsyncRedisClient
from workers.jobs.redis.connection import redis_errors
from workers.jobs.redis.keys import Keys

_LONGEST_WAIT_S = 60
# Enough jobs for an average.
_JOBS_READ = 20
_MIB = 2**20
_KEPT_BYTES = "IMAGEGEN_JOBS__MAX_KEPT_BYTES_PER_KEY"
_KEPT_JOBS = "IMAGEGEN_JOBS__MAX_KEPT_PER_KEY"
_MEMORY = "Redis's maxmemory (IMAGEGEN_REDIS__MAX_MEMORY_BYTES)"


async def refusal(
    redis: AsyncRedisClient, keys: Keys, jobs: JobSettings, graph: str, owner: str, reason: str, numbers: Sequence[int]
) -> ImagegenError:
    """Return the error for a bound that ``lua/submit.lua`` returns, with its numbers."""
    if reason == "memory":
        return await _memory_full(redis, keys)
    if reason == "too_large":
        needed, bound = numbers
        what = "one job may take" if owner == ANYONE.id else f"one API key may keep ({_KEPT_BYTES})"
        return RequestTooLarge(
            f"In Redis the request takes {needed} bytes, more than the {bound} that {what}; see {_MEMORY}."
        )
    if reason == "kept_bytes":
        needed, share = numbers
        return StoreFull(
            f"The jobs of other clients that have not ended leave {share / _MIB:.1f} MiB of Redis for a job of this "
            f"one, which takes {needed / _MIB:.1f} MiB; room comes as they end. See {_MEMORY}."
        )
    retry_after_s = await _retry_after_s(redis, keys, graph)
    if reason == "owner_kept_bytes":
        held, bound = numbers
        whose = "The jobs of all clients" if owner == ANYONE.id else "The jobs of this API key"
        setting = _MEMORY if owner == ANYONE.id else f"{_KEPT_BYTES} and {_MEMORY}"
        return QueueFull(
            f"{whose} that have not ended, with webhooks that are not delivered, take {held / _MIB:.1f} MiB of Redis, "
            f"and may take {bound / _MIB:.1f} MiB now ({setting}); wait until some have ended, or cancel some.",
            retry_after_s=retry_after_s,
        )
    if reason == "owner_kept_jobs":
        held, bound = numbers
        return QueueFull(
            f"{held} jobs of this API key have not ended, and {bound} of its jobs may be kept in all ({_KEPT_JOBS}); "
            "wait until some have ended, or cancel some.",
            retry_after_s=retry_after_s,
        )
    return QueueFull(queue_bounds(jobs, owner).sentence(Bound(reason), graph), retry_after_s=retry_after_s)


async def _memory_full(redis: AsyncRedisClient, keys: Keys) -> StoreFull:
    """Return the error for a Redis at its maxmemory in which no ended job is left: something else takes the memory."""
    with redis_errors():
        memory = await redis.info("memory")
        unfinished = int(await redis.hget(keys.kept, "unfinished") or 0)
    used, limit = (int(memory.get(name, 0)) / _MIB for name in ("used_memory", "maxmemory"))
    return StoreFull(
        f"The job store (Redis) is full: it uses {used:.1f} MiB, and its maxmemory is {limit:.1f} MiB. Jobs that have "
        f"not ended take {unfinished / _MIB:.1f} MiB of that, and no ended job is left to make room. What else Redis "
        "holds is not of jobs; room comes as jobs end."
    )


async def _retry_after_s(redis: AsyncRedisClient, keys: Keys, graph: str) -> int:
    """Return about the time in which an eighth of the queue is drawn, at most a minute."""
    with redis_errors():
        times = read_times(await redis.lrange(keys.times(graph), 0, -1))
        ahead = await redis.zcard(keys.queued(graph)) // 8 + 1
        first = await redis.zrange(keys.queued(graph), 0, min(ahead, _JOBS_READ) - 1)
        records = [await redis.hmget(keys.job(raw.decode()), ["work", "cost"]) for raw in first]
    works = [read_work(work, float(cost or 0.0)) for work, cost in records]
    # Before anything is measured, a step of a megapixel counts as a second.
    seconds = [times.seconds(work) or work.steps * work.pixels / 1e6 for work in works]
    return int(min(_LONGEST_WAIT_S, max(1, sum(seconds) / max(1, len(seconds)) * ahead)))
