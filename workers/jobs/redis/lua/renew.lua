-- Renews the lease of a job. Returns whether its worker goes on: CLAIM_GO_ON, CLAIM_CANCEL, or CLAIM_LOST when this worker
-- does not hold the job.
local job = job_keys(job_id)
local record = redis.call('HMGET', job.hash, 'status', 'worker', 'cancel_requested', 'deadline')
local is_cancelled, deadline_s = record[3], record[4]
if record[1] ~= STATUS_IN_PROGRESS or record[2] ~= worker then return CLAIM_LOST end
write_even_if_full()
redis.call('ZADD', running_key, now_ms() + lease_ms, job.id)
if is_cancelled or (deadline_s and now_ms() > deadline_s * 1000) then return CLAIM_CANCEL end
return CLAIM_GO_ON
