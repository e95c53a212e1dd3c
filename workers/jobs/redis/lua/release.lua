-- Ends the lease of a job whose child process died or is about to be killed. A job past its time limit ends at once.
-- Returns 1 when this worker held the job, else 0.
local job = job_keys(job_id)
local record = redis.call('HMGET', job.hash, 'status', 'worker', 'started_at', 'cancel_requested')
if record[1] ~= STATUS_IN_PROGRESS or record[2] ~= worker then return 0 end
write_even_if_full()
local now = now_ms()
if not record[4] and now / 1000 - tonumber(record[3]) >= time_limit_s then
  finish(job, STATUS_FAILED, failure('timeout', overdue_message))
else
  redis.call('ZADD', running_key, now, job.id)
end
return 1
