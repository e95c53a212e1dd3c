-- Shared by every script: the clock, events, and the one way a job ends.
-- Times are read from Redis, so that every process means the same moment.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function seconds(ms)
  return string.format('%.3f', ms / 1000)
end

-- Redis refuses a script at its first write that may take memory when it is full (maxmemory), and does all of one that
-- wrote something else before ("Scripting with Lua", scripts under low memory). Whatever moves, renews or ends a job
-- begins with this and so goes on; what brings pictures does not.
local function even_if_full()
  redis.call('ZREM', KEYS[1], '')
end

-- Asked with a write that changes nothing, and before any other.
local function is_full()
  local answer = redis.pcall('INCRBY', SEQUENCE, 0)
  return type(answer) == 'table' and answer.err ~= nil
end

-- What waits of a graph, and for whom: its bytes in all, and each owner's jobs and bytes. Counted where a job enters
-- or leaves the queue and nowhere else, so that the counts cannot drift from it.
local function count_waiting(keys, sign)
  local job = redis.call('HMGET', keys.job, 'owner', 'bytes')
  if not job[2] then return end
  for field, change in pairs({bytes = job[2], ['bytes:' .. job[1]] = job[2], ['jobs:' .. job[1]] = 1}) do
    if redis.call('HINCRBY', keys.backlog, field, sign * change) <= 0 then redis.call('HDEL', keys.backlog, field) end
  end
end

local function enter_queue(keys, place)
  if redis.call('ZADD', keys.queued, place, keys.id) == 1 then count_waiting(keys, 1) end
  waits(keys)
end

local function leave_queue(keys)
  if redis.call('ZREM', keys.queued, keys.id) == 1 then count_waiting(keys, -1) end
  waits_no_more(keys)
  -- Where nothing waits, nothing is counted: not even what was taken out of the queue by hand.
  if redis.call('EXISTS', keys.queued) == 0 then redis.call('DEL', keys.backlog) end
end

-- The outbox: a webhook's delivery is written by the transition that it tells of, so that whoever dies after that
-- loses nothing. Its id follows from the submission and the event's number, its record brings all that is told.
local function post(keys, kind, number)
  local wanted = redis.call('HGET', keys.job, 'webhook_events')
  if not wanted or not string.find(' ' .. wanted .. ' ', ' ' .. kind .. ' ', 1, true) then return end
  local job, now = redis.call('HMGET', keys.job, 'webhook_url', 'webhook_data', 'sequence'), now_ms()
  local id = 'evt_' .. string.sub(redis.sha1hex(keys.id .. ' ' .. job[3] .. ' ' .. number), 1, 32)
  redis.call('HSET', DELIVERY .. id, 'job_id', keys.id, 'type', kind, 'created_at', seconds(now), 'url', job[1],
    'data', job[2], 'attempts', 0)
  redis.call('EXPIRE', DELIVERY .. id, DELIVERY_TTL_S)
  redis.call('ZADD', DELIVERIES, now, id)
  -- What nobody delivers (no worker for webhooks runs) does not pile up.
  redis.call('ZREMRANGEBYSCORE', DELIVERIES, '-inf', now - DELIVERY_TTL_S * 1000)
end

-- Two entries: the job's own stream tells what happened (its ids are the sequence numbers), the common one wakes
-- whoever waits for the job.
local function announce(keys, kind, ...)
  local number = redis.call('HINCRBY', keys.job, 'events', 1)
  redis.call('XADD', keys.job_events, number .. '-0', 'type', kind, ...)
  redis.call('XADD', keys.events, 'MAXLEN', '~', 10000, '*', 'job_id', keys.id, 'type', kind)
  post(keys, kind, number)
end

-- The terminal transition: inputs go, the record stays for record_ttl_s, the pictures for result_ttl_s.
local function finish(keys, status, fields)
  fields = count_end(keys, status, fields)
  local now = now_ms()
  redis.call('HSET', keys.job, 'status', status, 'completed_at', seconds(now),
    'expires_at', seconds(now + keys.result_ttl_s * 1000), unpack(fields))
  redis.call('HDEL', keys.job, 'token', 'nonce')
  redis.call('DEL', keys.image, keys.mask)
  redis.call('ZREM', keys.running, keys.id)
  leave_queue(keys)
  announce(keys, status)
  redis.call('EXPIRE', keys.job, keys.record_ttl_s)
  redis.call('EXPIRE', keys.job_events, math.min(keys.result_ttl_s, keys.record_ttl_s))
end

-- Back to its old place: the claim is over, another worker may begin the job anew.
local function requeue(keys, place)
  redis.call('HSET', keys.job, 'status', 'queued', 'step', 0)
  redis.call('HDEL', keys.job, 'token', 'worker', 'nonce')
  redis.call('ZREM', keys.running, keys.id)
  enter_queue(keys, place)
  announce(keys, 'queued', 'queue_position', redis.call('ZRANK', keys.queued, keys.id))
end

local function failure(code, message)
  return {'error', cjson.encode({code = code, message = message})}
end

-- Too many workers died of this job: it ends rather than take the next one down.
local function crash(keys, attempts)
  finish(keys, 'failed', failure('worker_crashed', 'The worker died ' .. attempts .. ' times while it ran this job.'))
end

local function expire(keys)
  finish(keys, 'cancelled', failure('deadline_exceeded', 'Nobody waited for this job any longer.'))
end

-- KEYS: a graph's queued, running, the common events, a graph's backlog.   ARGV: job key's beginning, record_ttl_s, result_ttl_s.
local function keys_of(job_id)
  local job = ARGV[1] .. job_id
  return {
    id = job_id, queued = KEYS[1], running = KEYS[2], events = KEYS[3], backlog = KEYS[4], job = job,
    image = job .. ':image', mask = job .. ':mask', job_events = job .. ':events', record_ttl_s = tonumber(ARGV[2]),
    result_ttl_s = tonumber(ARGV[3]),
  }
end
