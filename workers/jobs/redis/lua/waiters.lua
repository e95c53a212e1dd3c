-- Changes the number of clients that wait for a job. Returns the new number, or 0 when the owner has no such job any more.
local job = job_keys(job_id)
if not is_owned(job, owner) then return 0 end
write_even_if_full()
return redis.call('HINCRBY', job.hash, 'waiters', change)
