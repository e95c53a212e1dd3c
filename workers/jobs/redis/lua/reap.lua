-- ARGV: max_attempts, lease_ms, time_limit_s, what to say of a job whose time was up. Every job of the graph whose lease
-- ran out goes back to its place in the queue, or ends when it was tried often enough, or had run for all of its time
-- when its worker gave the last sign of life. Returns the ids of those that wait again.
local max_attempts, lease_ms, time_limit_s = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local requeued = {}
even_if_full()
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now_ms(), 'WITHSCORES')
for i = 1, #over, 2 do
  local job_id, last_sign_ms = over[i], tonumber(over[i + 1]) - lease_ms
  local keys = keys_of(job_id)
  local job = redis.call('HMGET', keys.job, 'status', 'attempts', 'place', 'cancel_requested', 'started_at')
  if job[1] ~= 'in_progress' then
    redis.call('ZREM', keys.running, job_id)
  elseif job[4] then
    finish(keys, 'cancelled', {})
  elseif last_sign_ms / 1000 - tonumber(job[5]) >= time_limit_s then
    finish(keys, 'failed', failure('timeout', ARGV[7]))
  elseif tonumber(job[2]) >= max_attempts then
    crash(keys, job[2])
  else
    requeue(keys, job[3])
    requeued[#requeued + 1] = job_id
    count('reaped')
  end
end
return requeued
