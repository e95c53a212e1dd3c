-- Moves a waiting job before all others of its graph, those of every priority, for an administrator. The one that was
-- moved last is first. Its owner's further jobs stay where they are, and its work counts in fair queueing as before. A
-- job that returns to the queue, because its worker died, returns to the place that it has from here.
-- Returns the status of the job, '' where there is no such job. One that is moved and first already stays as it is.
local FIRST_NUMBER = 4e9
local job = job_keys(job_id)
local status = redis.call('HGET', job.hash, 'status')
if status ~= STATUS_QUEUED then return status or '' end
local place = tonumber(redis.call('ZSCORE', queued_key, job.id) or 0)
if place < 0 and redis.call('ZRANK', queued_key, job.id) == 0 then return status end

write_even_if_full()
-- The count is deleted with the clock of fair queueing, when no job waits or runs (submit.lua).
local number = math.max(0, FIRST_NUMBER - redis.call('HINCRBY', fairness_key, 'front', 1))
place = string.format('%.17g', FRONT_RANK * 1e12 + number)
leave_queue(job)
redis.call('HSET', job.hash, 'place', place)
enter_queue(job, place)
announce_queued(job)
return status
