-- Shared by every script: the clock, status events, and the one way a job ends.
-- Times are read from Redis, so that every process means the same moment.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function seconds(ms)
  return string.format('%.3f', ms / 1000)
end

local function announce(events, job_id, status)
  redis.call('XADD', events, 'MAXLEN', '~', 10000, '*', 'job_id', job_id, 'status', status)
end

-- The terminal transition: inputs go, the record stays for record_ttl_s.
local function finish(keys, job_id, status, record_ttl_s, fields)
  local now = now_ms()
  redis.call('HSET', keys.job, 'status', status, 'completed_at', seconds(now),
    'expires_at', seconds(now + record_ttl_s * 1000), unpack(fields))
  redis.call('HDEL', keys.job, 'token')
  redis.call('EXPIRE', keys.job, record_ttl_s)
  redis.call('DEL', keys.image, keys.mask)
  redis.call('ZREM', keys.running, job_id)
  redis.call('ZREM', keys.queued, job_id)
  announce(keys.events, job_id, status)
end

-- Too many workers died of this job: it ends rather than take the next one down.
local function crash(keys, job_id, attempts, record_ttl_s)
  local error = cjson.encode({
    code = 'worker_crashed',
    message = 'The worker died ' .. attempts .. ' times while it ran this job.',
  })
  finish(keys, job_id, 'failed', record_ttl_s, {'error', error})
end

local keys = {
  job = KEYS[1], queued = KEYS[2], running = KEYS[3], events = KEYS[4], image = KEYS[5], mask = KEYS[6],
}
