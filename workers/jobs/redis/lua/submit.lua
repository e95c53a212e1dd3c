-- KEYS[5..8]: submission counter, the owner's jobs, fairness, the key of "once only".
-- ARGV: job id, max_queued, image, mask, owner, priority (0 is first), cost, request digest, once_ttl_s, join
-- ('always', 'live' or 'never'), start_by (unix seconds or ''), bytes, max_queued_bytes, and the owner's bounds (in jobs
-- and in bytes), then field, value, ...
-- Returns {outcome, job id}: 'queued', 'joined' (this request made that job before), 'conflict', or {'full', which bound}.
local keys = keys_of(ARGV[4])
local max_queued, image, mask = tonumber(ARGV[5]), ARGV[6], ARGV[7]
local owner, priority, cost = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local digest, once_ttl_s, join, start_by = ARGV[11], tonumber(ARGV[12]), ARGV[13], ARGV[14]
local bytes, max_bytes = tonumber(ARGV[15]), tonumber(ARGV[16])
local max_owner_queued, max_owner_bytes = tonumber(ARGV[17]), tonumber(ARGV[18])

-- Whoever submits waits for the job until it says otherwise (waiters.lua). One that never gives up, which is also one
-- that polls, takes the limit away that an earlier one set.
local function joined(job_id)
  local job = ARGV[1] .. job_id
  even_if_full()
  count('joined')
  redis.call('HINCRBY', job, 'waiters', 1)
  if start_by == '' then
    redis.call('HDEL', job, 'start_by')
  elseif redis.call('HEXISTS', job, 'start_by') == 1 then
    redis.call('HSET', job, 'start_by', start_by)
  end
  return {'joined', job_id}
end

local made = join ~= 'never' and redis.call('GET', KEYS[8])
if made then
  local made_digest, made_id = string.match(made, '^(%S+) (%S+)$')
  local status = redis.call('HGET', ARGV[1] .. made_id, 'status')
  if made_digest ~= digest then return {'conflict', made_id} end
  local lives = status == 'queued' or status == 'in_progress' or status == 'completed'
  if status and (join == 'always' or lives) then
    return joined(made_id)
  end
end
if redis.call('EXISTS', keys.job) == 1 then
  local same = redis.call('HGET', keys.job, 'digest') == digest and redis.call('HGET', keys.job, 'owner') == owner
  return same and joined(keys.id) or {'conflict', keys.id}
end
local backlog = redis.call('HMGET', keys.backlog, 'bytes', 'jobs:' .. owner, 'bytes:' .. owner)
if redis.call('ZCARD', keys.queued) >= max_queued then return {'full', 'jobs'} end
if (backlog[1] or 0) + bytes > max_bytes then return {'full', 'bytes'} end
if tonumber(backlog[2] or 0) >= max_owner_queued then return {'full', 'owner_jobs'} end
if (backlog[3] or 0) + bytes > max_owner_bytes then return {'full', 'owner_bytes'} end
if is_full() then return {'full', 'memory'} end

-- Start-time fair queueing: within a priority, an owner's next job starts where its last one ended in virtual time,
-- so owners take turns by cost, and a single owner's jobs keep their order.
-- A running job may come back to its old place: the clock starts anew only when nothing runs either.
if redis.call('ZCARD', keys.queued) + redis.call('ZCARD', keys.running) == 0 then redis.call('DEL', KEYS[7]) end
if redis.call('HLEN', KEYS[7]) > 300 then
  -- Owners whose jobs the clock has passed start where it stands, remembered or not.
  local known = redis.call('HGETALL', KEYS[7])
  for i = 1, #known, 2 do
    local rank = string.match(known[i], '^(%d+):')
    local passed = rank and tonumber(redis.call('HGET', KEYS[7], 'clock:' .. rank) or 0)
    if passed and tonumber(known[i + 1]) <= passed then redis.call('HDEL', KEYS[7], known[i]) end
  end
end
local clock = tonumber(redis.call('HGET', KEYS[7], 'clock:' .. priority) or 0)
local reach = tonumber(redis.call('HGET', KEYS[7], priority .. ':' .. owner) or 0)
local start = math.max(clock, reach)
redis.call('HSET', KEYS[7], priority .. ':' .. owner, string.format('%.17g', start + cost))
local place = string.format('%.17g', priority * 1e12 + start)

local fields = {}
for i = 19, #ARGV do fields[#fields + 1] = ARGV[i] end
if start_by ~= '' then
  fields[#fields + 1] = 'start_by'
  fields[#fields + 1] = start_by
end
local sequence = redis.call('INCR', KEYS[5])
redis.call('HSET', keys.job, 'status', 'queued', 'sequence', sequence, 'place', place, 'attempts', 0, 'cost', cost,
  'waiters', 1, 'owner', owner, 'bytes', bytes, 'digest', digest, 'created_at', seconds(now_ms()), unpack(fields))
if image ~= '' then redis.call('SET', keys.image, image) end
if mask ~= '' then redis.call('SET', keys.mask, mask) end
enter_queue(keys, place)
redis.call('ZADD', KEYS[6], sequence, keys.id)
-- Longer than any record can last: no job waits for a week.
redis.call('EXPIRE', KEYS[6], keys.record_ttl_s + 7 * 86400)
-- Records expire by themselves; their names leave the owner's list here, a few at each submission.
for _, old in ipairs(redis.call('ZRANGE', KEYS[6], 0, 1)) do
  if redis.call('EXISTS', ARGV[1] .. old) == 0 then redis.call('ZREM', KEYS[6], old) end
end
if once_ttl_s > 0 then redis.call('SET', KEYS[8], digest .. ' ' .. keys.id, 'EX', once_ttl_s) end
announce(keys, 'queued', 'queue_position', redis.call('ZRANK', keys.queued, keys.id))
count('submitted')
return {'queued', keys.id}
