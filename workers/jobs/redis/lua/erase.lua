-- Deletes everything that is stored of a job. A worker that runs it loses its claim and stops at the next step.
-- Returns 1, or 0 where there is no such job of this owner.
local job = job_keys(job_id)
if not is_owned(job, owner) then return 0 end
write_even_if_full()
local status = redis.call('HGET', job.hash, 'status')
count_erased(status)
if status and not IS_FINAL[status] then announce(job, STATUS_CANCELLED) end
leave_queue(job)
redis.call('ZREM', running_key, job.id)
redis.call('ZREM', owner_jobs_key, job.id)
local name = redis.call('HGET', job.hash, 'name')
if name and redis.call('GET', NAME_PREFIX .. owner .. ':' .. name) == job.id then
  redis.call('DEL', NAME_PREFIX .. owner .. ':' .. name)
end
redis.call('DEL', job.hash, job.image, job.mask, job.events)
for index = 0, artifact_count - 1 do redis.call('DEL', job.artifacts .. index) end
return 1
