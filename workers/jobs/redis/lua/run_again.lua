-- Puts a job back to its old place in the queue because the device failed while it drew it (trouble: what was seen). The
-- attempt is none that the job ended by itself: claims and reapers do not count it against max_attempts. After max_faults
-- such attempts the job fails with failed_message.
-- Returns the status that the job has then, or '' when the claim no longer holds.
local job = job_keys(job_id)
local record = redis.call('HMGET', job.hash, 'token', 'place', 'cancel_requested')
local place, is_cancelled = record[2], record[3]
if record[1] ~= token then return '' end
write_even_if_full()
count('device_faults:' .. trouble)
local faults = redis.call('HINCRBY', job.hash, 'device_faults', 1)
if is_cancelled then
  finish(job, STATUS_CANCELLED, {})
elseif faults >= max_faults then
  finish(job, STATUS_FAILED, failure('device_failed', failed_message))
else
  requeue(job, place)
end
return redis.call('HGET', job.hash, 'status')
