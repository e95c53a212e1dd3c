-- Requeues every job of the graph whose lease has ended. A job ends instead when it was cancelled, was tried
-- max_attempts times (but for those in which the device failed), or had already run for time_limit_s when its worker last renewed the lease.
-- Also counts out what has expired (keeping.lua). Returns the ids of the requeued jobs.
local requeued = {}
write_even_if_full()
local over = redis.call('ZRANGEBYSCORE', running_key, '-inf', now_ms(), 'WITHSCORES')
for i = 1, #over, 2 do
  local job, renewed_ms = job_keys(over[i]), tonumber(over[i + 1]) - lease_ms
  local record = redis.call('HMGET', job.hash, 'status', 'attempts', 'place', 'cancel_requested', 'started_at', 'device_faults')
  local own_attempts = (record[2] or 0) - (record[6] or 0)
  if record[1] ~= STATUS_IN_PROGRESS then
    redis.call('ZREM', running_key, job.id)
  elseif record[4] then
    finish(job, STATUS_CANCELLED, {})
  elseif renewed_ms / 1000 - tonumber(record[5]) >= time_limit_s then
    finish(job, STATUS_FAILED, failure('timeout', overdue_message))
  elseif own_attempts >= max_attempts then
    fail_as_crashed(job, own_attempts)
  else
    requeue(job, record[3])
    requeued[#requeued + 1] = job.id
    count('reaped')
  end
end
sweep(10 * MOST_SWEPT)
return requeued
