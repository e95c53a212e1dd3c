-- Ends the lease of a job whose child process died or is about to be ended. A cancelled job, one past its deadline and
-- one past its time limit end at once and do not run again. stopped_message: what the first two say when their process
-- is ended because of them; '' for a process that died by itself. Returns 1 when this worker held the job, else 0.
local job = job_keys(job_id)
local record = redis.call('HMGET', job.hash, 'status', 'worker', 'started_at', 'cancel_requested', 'deadline')
local started_s, is_cancelled, deadline_s = tonumber(record[3]), record[4], record[5]
if record[1] ~= STATUS_IN_PROGRESS or record[2] ~= worker then return 0 end
write_even_if_full()
local now = now_ms()
local is_past_deadline = deadline_s and now > deadline_s * 1000
if (is_cancelled or is_past_deadline) and stopped_message ~= '' then
  finish(job, STATUS_CANCELLED, failure(is_cancelled and 'ended_in_step' or 'deadline_exceeded', stopped_message))
elseif is_cancelled then
  finish(job, STATUS_CANCELLED, {})
elseif now / 1000 - started_s >= time_limit_s then
  finish(job, STATUS_FAILED, failure('timeout', overdue_message))
else
  redis.call('ZADD', running_key, now, job.id)
end
return 1
