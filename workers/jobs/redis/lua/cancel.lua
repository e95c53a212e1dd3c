-- Cancels a job. A waiting job ends at once, as does a running one whose lease is over; any other running job ends at its
-- next step. Returns the status; nothing happens to a job of another owner.
local job = job_keys(job_id)
if not is_owned(job, owner) then return false end
write_even_if_full()
local status = redis.call('HGET', job.hash, 'status')
local lease_end = status == STATUS_IN_PROGRESS and tonumber(redis.call('ZSCORE', running_key, job.id) or 0)
if status == STATUS_QUEUED or (lease_end and lease_end <= now_ms()) then
  finish(job, STATUS_CANCELLED, {})
  return STATUS_CANCELLED
end
if status == STATUS_IN_PROGRESS then redis.call('HSET', job.hash, 'cancel_requested', 1) end
return status
