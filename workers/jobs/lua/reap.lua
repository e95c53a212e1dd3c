-- ARGV: job id, max_attempts, record_ttl_s. A job whose lease ran out goes back to its place in the queue,
-- or ends when it was tried often enough. Returns 1 when it waits again and its message must be sent again.
local job_id = ARGV[1]
local lease = tonumber(redis.call('ZSCORE', keys.running, job_id) or 0)
if lease == 0 or lease > now_ms() then return 0 end
local job = redis.call('HMGET', keys.job, 'status', 'attempts', 'sequence', 'cancel_requested')
if job[1] ~= 'in_progress' then
  redis.call('ZREM', keys.running, job_id)
  return 0
end
if job[4] then
  finish(keys, job_id, 'cancelled', tonumber(ARGV[3]), {})
  return 0
end
if tonumber(job[2]) >= tonumber(ARGV[2]) then
  crash(keys, job_id, job[2], tonumber(ARGV[3]))
  return 0
end
redis.call('HSET', keys.job, 'status', 'queued', 'step', 0)
redis.call('HDEL', keys.job, 'token', 'owner')
redis.call('ZREM', keys.running, job_id)
redis.call('ZADD', keys.queued, job[3], job_id)
announce(keys.events, job_id, 'queued')
return 1
