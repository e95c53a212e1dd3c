-- Renews the lease of a job. Returns 1 when this worker holds the job, else 0.
local job = job_keys(job_id)
local record = redis.call('HMGET', job.hash, 'status', 'worker')
if record[1] ~= STATUS_IN_PROGRESS or record[2] ~= worker then return 0 end
write_even_if_full()
redis.call('ZADD', running_key, now_ms() + lease_ms, job.id)
return 1
