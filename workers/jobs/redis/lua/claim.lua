-- KEYS[5]: fairness.   ARGV: worker (one worker process), lease_ms, max_attempts, nonce (one for each claim asked for).
-- Takes the first job of the queue. Returns {job id, token}, or {} when none waits: the token proves in every later
-- call that the claim still holds.
local worker, lease_ms, max_attempts, nonce = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]

-- The same question once more, because its answer was lost: it is answered with the same claim.
for _, job_id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local held = redis.call('HMGET', ARGV[1] .. job_id, 'nonce', 'token')
  if held[1] == nonce and held[2] then return {job_id, held[2]} end
end

even_if_full()
while true do
  local next_up = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  if #next_up == 0 then return {} end
  local keys = keys_of(next_up[1])
  local job = redis.call('HMGET', keys.job, 'status', 'attempts', 'start_by', 'deadline')
  local attempts, now = tonumber(job[2] or 0), now_ms()
  local latest = math.min(tonumber(job[3] or 1e300), tonumber(job[4] or 1e300))
  if job[1] ~= 'queued' then
    leave_queue(keys)
  elseif now > latest * 1000 then
    expire(keys)
  elseif attempts >= max_attempts then
    crash(keys, attempts)
  else
    local place = tonumber(next_up[2])
    local priority = math.floor(place / 1e12)
    -- A job that came back to its old place does not turn the clock back.
    local clock = math.max(place - priority * 1e12, tonumber(redis.call('HGET', KEYS[5], 'clock:' .. priority) or 0))
    redis.call('HSET', KEYS[5], 'clock:' .. priority, string.format('%.17g', clock))
    local token = worker .. '/' .. (attempts + 1)
    redis.call('HSET', keys.job, 'status', 'in_progress', 'worker', worker, 'token', token,
      'nonce', nonce, 'attempts', attempts + 1, 'started_at', seconds(now), 'step', 0)
    redis.call('ZADD', keys.running, now + lease_ms, keys.id)
    leave_queue(keys)
    announce(keys, 'in_progress', 'attempt', attempts + 1)
    count_attempt(keys)
    return {keys.id, token}
  end
end
