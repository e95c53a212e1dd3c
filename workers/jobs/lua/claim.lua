-- ARGV: job id, owner (one worker process), lease_ms, max_attempts, record_ttl_s.
-- Returns {outcome, token}: the token proves in every later call that the claim still holds.
local job_id, owner, lease_ms, max_attempts = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local job = redis.call('HMGET', keys.job, 'status', 'owner', 'attempts')
local status, attempts = job[1], tonumber(job[3] or 0)
if status ~= 'queued' and status ~= 'in_progress' then return {'over', ''} end
if status == 'in_progress' then
  local lease = tonumber(redis.call('ZSCORE', keys.running, job_id) or 0)
  -- The same owner may take its own job over: it runs one at a time, so the former child is gone.
  if lease > now_ms() and job[2] ~= owner then return {'busy', ''} end
end
if attempts >= max_attempts then
  crash(keys, job_id, attempts, tonumber(ARGV[5]))
  return {'over', ''}
end
attempts = attempts + 1
local token = owner .. '/' .. attempts
redis.call('HSET', keys.job, 'status', 'in_progress', 'owner', owner, 'token', token, 'attempts', attempts,
  'started_at', seconds(now_ms()), 'step', 0)
redis.call('ZADD', keys.running, now_ms() + lease_ms, job_id)
redis.call('ZREM', keys.queued, job_id)
announce(keys.events, job_id, 'in_progress')
return {'claimed', token}
