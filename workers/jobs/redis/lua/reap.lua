-- Requeues the jobs of the graph whose lease has ended, up to MOST_REQUEUED in a call. A job ends instead when it was cancelled, was tried
-- max_attempts times (but for those in which the device failed), or had already run for time_limit_s when its worker last renewed the lease.
-- A job that no live worker may draw, because its model has another digest, fails after digest_grace_ms.
-- Nothing happens while Redis has run for less than young_s, in which workers renew their leases. Also counts out what has expired (keeping.lua). Returns {job id, digest, ...} of the requeued jobs.
local MOST_FAILED, MOST_REQUEUED = 100, 100
local requeued = {}
if tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)') or 0) < young_s then return requeued end
write_even_if_full()

local function fail_of_digest(digest, before)
  local ids = waiting_of_digest(digest, MOST_FAILED)
  if #ids == 0 then redis.call('ZREM', digests_key, digest) end
  for _, id in ipairs(ids) do
    local job = job_keys(id)
    local record = redis.call('HMGET', job.hash, 'status', 'created_at')
    if record[1] ~= STATUS_QUEUED then
      leave_queue(job)
    elseif tonumber(record[2]) * 1000 <= before then
      finish(job, STATUS_FAILED, failure('model_changed', digest_message))
    end
  end
end

-- Time counts only while workers of the graph look at it: after a night without any, those of each digest may come back.
local function fail_without_workers()
  local first, now = redis.call('ZRANGE', queued_key, 0, 0)[1], now_ms()
  -- An older release puts a job back without its entry.
  if first then enter_by_digest(job_keys(first)) end
  local before, reaped = now - digest_grace_ms, tonumber(redis.call('ZSCORE', digests_key, REAPED) or 0)
  redis.call('ZADD', digests_key, now, REAPED)
  if now - reaped > ALIVE_MS then
    for _, digest in ipairs(redis.call('ZRANGE', digests_key, 0, -1)) do redis.call('ZADD', digests_key, now, digest) end
  elseif tonumber(redis.call('ZSCORE', digests_key, ANY_DIGEST) or 0) <= before then
    for _, digest in ipairs(redis.call('ZRANGEBYSCORE', digests_key, '-inf', before)) do
      if digest == ANY_DIGEST then redis.call('ZREM', digests_key, digest) else fail_of_digest(digest, before) end
    end
  end
end

-- Counts the work of jobs that an older release accepted, some of them in each call (work.lua).
local function count_older()
  local COUNTED_AT_ONCE, counted = 200, 0
  for rank = FRONT_RANK, LAST_RANK do counted = counted + read_sums(redis.call('HGET', work_key, node(rank, LEVELS, 0)))[1] end
  if counted >= redis.call('ZCARD', queued_key) then return end
  local first = tonumber(redis.call('HGET', work_key, 'cursor') or 0)
  local some = redis.call('ZRANGE', queued_key, first, first + COUNTED_AT_ONCE - 1, 'WITHSCORES')
  for i = 1, #some, 2 do
    local job = job_keys(some[i])
    if redis.call('EXISTS', job.hash) == 1 then add_work(job, some[i + 1]) end
  end
  redis.call('HSET', work_key, 'cursor', #some < 2 * COUNTED_AT_ONCE and 0 or first + COUNTED_AT_ONCE)
end

local over = redis.call('ZRANGEBYSCORE', running_key, '-inf', now_ms(), 'WITHSCORES', 'LIMIT', 0, MOST_REQUEUED)
for i = 1, #over, 2 do
  local job, renewed_ms = job_keys(over[i]), tonumber(over[i + 1]) - lease_ms
  local record = redis.call('HMGET', job.hash, 'status', 'attempts', 'place', 'cancel_requested', 'started_at', 'device_faults')
  local own_attempts = (record[2] or 0) - (record[6] or 0)
  if record[1] ~= STATUS_IN_PROGRESS then
    leave_running(job)
  elseif record[4] then
    finish(job, STATUS_CANCELLED, {})
  elseif renewed_ms / 1000 - tonumber(record[5]) >= time_limit_s then
    finish(job, STATUS_FAILED, failure('timeout', overdue_message))
  elseif own_attempts >= max_attempts then
    fail_as_crashed(job, own_attempts)
  else
    requeue(job, record[3])
    requeued[#requeued + 1] = job.id
    requeued[#requeued + 1] = redis.call('HGET', job.hash, 'model_digest') or ''
    count('reaped')
  end
end
fail_without_workers()
count_older()
sweep(10 * MOST_SWEPT)
return requeued
