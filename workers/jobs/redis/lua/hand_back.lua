-- ARGV: job id, 'token' or 'worker', the claim's. A worker that is told to stop gives a running job back to its old place
-- in the queue. Its attempt does not count: the job had no part in its end. Returns 1, or 0 when the claim no longer holds.
local keys = keys_of(ARGV[4])
local job = redis.call('HMGET', keys.job, 'status', ARGV[5], 'attempts', 'place', 'cancel_requested')
if job[1] ~= 'in_progress' or job[2] ~= ARGV[6] then return 0 end
even_if_full()
if job[5] then
  finish(keys, 'cancelled', {})
else
  redis.call('HSET', keys.job, 'attempts', math.max(0, tonumber(job[3]) - 1))
  requeue(keys, job[4])
end
return 1
