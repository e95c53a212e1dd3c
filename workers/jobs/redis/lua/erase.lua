-- Deletes everything that is stored of a job. A worker that runs it loses its claim and stops at the next step.
-- Returns 1, or 0 where there is no such job of this owner. if_alone: 1 takes back a submission that was not accepted,
-- which counts as a client that waits: the job stays if it has ended or another client waits for it.
local job = job_keys(job_id)
if not is_owned(job, owner) then return 0 end
write_even_if_full()
local status = redis.call('HGET', job.hash, 'status')
if if_alone == 1 and (redis.call('HINCRBY', job.hash, 'waiters', -1) > 0 or IS_FINAL[status]) then return 0 end
count_erased(status)
if status and not IS_FINAL[status] then announce(job, STATUS_CANCELLED, {}) end
if status == STATUS_FAILED then forget_failure(job) end
leave_queue(job)
leave_running(job)
if not forget(job) then
  hold(owner, -(redis.call('HGET', job.hash, 'kept') or 0))
  redis.call('ZREM', owner_jobs(owner), job.id)
  if status then redis.call('ZREM', owner_jobs(owner, status), job.id) end
  delete_data(job, owner)
end
return 1
