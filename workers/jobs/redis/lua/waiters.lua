-- Changes the number of clients that wait for a job. Returns the new number, or 0 when the record is gone.
local job = job_keys(job_id)
if redis.call('HEXISTS', job.hash, 'status') == 0 then return 0 end
write_even_if_full()
return redis.call('HINCRBY', job.hash, 'waiters', change)
