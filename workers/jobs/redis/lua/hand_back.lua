-- Puts a running job back to its old place in the queue, for a worker that shuts down. The attempt does not count: the
-- job did not cause its end. claim_field: 'token' or 'worker', which of the two proves the claim.
-- Returns 1, or 0 when the claim no longer holds.
local job = job_keys(job_id)
local record = redis.call('HMGET', job.hash, 'status', claim_field, 'attempts', 'place', 'cancel_requested')
if record[1] ~= STATUS_IN_PROGRESS or record[2] ~= claim_value then return 0 end
write_even_if_full()
if record[5] then
  finish(job, STATUS_CANCELLED, {})
else
  redis.call('HSET', job.hash, 'attempts', math.max(0, tonumber(record[3]) - 1))
  requeue(job, record[4])
end
return 1
