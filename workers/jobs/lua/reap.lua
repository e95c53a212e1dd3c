-- ARGV: max_attempts. Every job of the graph whose lease ran out goes back to its place in the queue, or ends when it
-- was tried often enough. Returns the ids of those that wait again.
local requeued = {}
for _, job_id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now_ms())) do
  local keys = keys_of(job_id)
  local job = redis.call('HMGET', keys.job, 'status', 'attempts', 'place', 'cancel_requested')
  if job[1] ~= 'in_progress' then
    redis.call('ZREM', keys.running, job_id)
  elseif job[4] then
    finish(keys, 'cancelled', {})
  elseif tonumber(job[2]) >= tonumber(ARGV[4]) then
    crash(keys, job[2])
  else
    redis.call('HSET', keys.job, 'status', 'queued', 'step', 0)
    redis.call('HDEL', keys.job, 'token', 'worker')
    redis.call('ZREM', keys.running, job_id)
    redis.call('ZADD', keys.queued, job[3], job_id)
    announce(keys, 'queued', 'queue_position', redis.call('ZRANK', keys.queued, job_id))
    requeued[#requeued + 1] = job_id
    waits(keys)
    count('reaped')
  end
end
return requeued
