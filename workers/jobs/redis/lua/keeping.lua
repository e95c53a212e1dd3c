-- What Redis keeps for each owner, in estimated bytes that are never too few (docs/jobs.md, "What an owner keeps").
-- KEPT_KEY (hash): 'unfinished' and 'unfinished:OWNER', the bytes of jobs that have not ended and of webhooks that are not
-- delivered; 'ended', the bytes of ended jobs; 'evicted:REASON', a count. KEPT_ENDED_KEY: owners by the bytes of their
-- ended jobs. ENDED_SIZES_KEY (hash): an ended job's id -> 'bytes of its record' 'bytes of its result' 'owner'.
-- RECORD_ENDS_KEY, RESULT_ENDS_KEY: ended jobs by the time at which their record and result end.
local MOST_EVICTED, MOST_SWEPT = 500, 20

local function whole(number)
  return string.format('%.0f', number)
end

-- Returns the key of an owner's list: of all jobs, or of those with a status.
local function owner_jobs(owner, status)
  return OWNER_PREFIX .. owner .. ':jobs' .. (status and ':' .. status or '')
end

local function owner_ended(owner)
  return OWNER_PREFIX .. owner .. ':ended'
end

local function owner_events(owner)
  return OWNER_PREFIX .. owner .. ':events'
end

local function estimate(bytes)
  return math.ceil(JOB_OVERHEAD_BYTES + bytes * ALLOCATED)
end

local function add_kept(field, bytes)
  if redis.call('HINCRBY', KEPT_KEY, field, whole(bytes)) <= 0 then redis.call('HDEL', KEPT_KEY, field) end
end

-- Counts bytes of an owner that cannot be evicted; a negative number counts them out.
local function hold(owner, bytes)
  add_kept('unfinished', bytes)
  add_kept('unfinished:' .. owner, bytes)
end

local function add_ended(owner, bytes)
  add_kept('ended', bytes)
  if tonumber(redis.call('ZINCRBY', KEPT_ENDED_KEY, whole(bytes), owner)) <= 0 then
    redis.call('ZREM', KEPT_ENDED_KEY, owner)
  end
end

-- Puts a job on its owner's list of a status, and takes it off that of its former one.
local function list_as(job, status, former)
  local record = redis.call('HMGET', job.hash, 'owner', 'sequence')
  if not record[1] then return end
  if former then redis.call('ZREM', owner_jobs(record[1], former), job.id) end
  local list = owner_jobs(record[1], status)
  redis.call('ZADD', list, record[2], job.id)
  redis.call('EXPIRE', list, record_ttl_s + LONGEST_LIFE_S)
end

-- Counts an ended job among what its owner keeps. ends_ms: when its record and its result end.
local function add_to_ended(job, owner, record_bytes, result_bytes, ended_ms, record_ends_ms, result_ends_ms)
  redis.call('HSET', ENDED_SIZES_KEY, job.id, whole(record_bytes) .. ' ' .. whole(result_bytes) .. ' ' .. owner)
  redis.call('ZADD', RECORD_ENDS_KEY, whole(record_ends_ms), job.id)
  redis.call('ZADD', RESULT_ENDS_KEY, whole(result_ends_ms), job.id)
  redis.call('ZADD', owner_ended(owner), whole(ended_ms), job.id)
  add_ended(owner, record_bytes + result_bytes)
end

-- Counts the end of a job, before its input images are deleted. fields: those that its end adds to the record.
local function keep_ended(job, status, fields, artifact_bytes, now)
  local record = redis.call('HMGET', job.hash, 'owner', 'kept', 'bytes', 'preview_bytes', 'events', 'status')
  local owner = record[1]
  if not owner then return end
  if record[2] then hold(owner, -record[2]) end
  local bytes = (record[3] or 0) - redis.call('STRLEN', job.image) - redis.call('STRLEN', job.mask)
  for _, text in ipairs(fields) do bytes = bytes + #text end
  local result_bytes = math.ceil((artifact_bytes + (record[4] or 0)) * ALLOCATED + ((record[5] or 0) + 1) * STEP_BYTES)
  local result_ends_ms = now + math.min(result_ttl_s, record_ttl_s) * 1000
  add_to_ended(job, owner, estimate(math.max(0, bytes)), result_bytes, now, now + record_ttl_s * 1000, result_ends_ms)
  redis.call('EXPIRE', owner_ended(owner), record_ttl_s + LONGEST_LIFE_S)
  redis.call('HDEL', job.hash, 'kept', 'preview_bytes')
  list_as(job, status, record[6])
end

-- Deletes all keys of a job: a name or an idempotency key only where it still stands for this job.
local function delete_data(job, owner)
  local record = redis.call('HMGET', job.hash, 'name', 'once', 'artifacts')
  local name = record[1] and NAME_PREFIX .. owner .. ':' .. record[1]
  if name and redis.call('GET', name) == job.id then redis.call('DEL', name) end
  local once = record[2] and redis.call('GET', record[2])
  if once and string.match(once, ' (%S+)$') == job.id then redis.call('DEL', record[2]) end
  for index = 0, (tonumber(record[3]) or 0) - 1 do redis.call('DEL', job.artifacts .. index) end
  redis.call('DEL', job.hash, job.image, job.mask, job.events)
end

local function read_sizes(job)
  local sizes = redis.call('HGET', ENDED_SIZES_KEY, job.id)
  if not sizes then return nil end
  return string.match(sizes, '^(%d+) (%d+) (.+)$')
end

-- Deletes an ended job and counts it out. Returns whether it was counted.
local function forget(job)
  local record_bytes, result_bytes, owner = read_sizes(job)
  if not owner then return false end
  add_ended(owner, -record_bytes - result_bytes)
  redis.call('HDEL', ENDED_SIZES_KEY, job.id)
  for _, key in ipairs({RECORD_ENDS_KEY, RESULT_ENDS_KEY, owner_ended(owner), owner_jobs(owner)}) do
    redis.call('ZREM', key, job.id)
  end
  for _, status in ipairs(ENDED_LISTS) do redis.call('ZREM', owner_jobs(owner, status), job.id) end
  delete_data(job, owner)
  return true
end

-- Counts out the result of a job, which Redis itself deletes at this time.
local function end_result(job)
  redis.call('ZREM', RESULT_ENDS_KEY, job.id)
  local record_bytes, result_bytes, owner = read_sizes(job)
  if not owner then return end
  redis.call('HSET', ENDED_SIZES_KEY, job.id, record_bytes .. ' 0 ' .. owner)
  add_ended(owner, -result_bytes)
  if redis.call('ZREM', owner_jobs(owner, STATUS_COMPLETED), job.id) == 1 then
    local list, life_s = owner_jobs(owner, SHOWN_EXPIRED), redis.call('TTL', owner_jobs(owner))
    redis.call('ZADD', list, redis.call('ZSCORE', owner_jobs(owner), job.id) or 0, job.id)
    if life_s > 0 then redis.call('EXPIRE', list, life_s) end
  end
end

-- Counts out results and records whose time is over, at most so many of each. Returns how many results.
local function sweep(most)
  local now = now_ms()
  local results = redis.call('ZRANGEBYSCORE', RESULT_ENDS_KEY, '-inf', now, 'LIMIT', 0, most)
  for _, id in ipairs(results) do end_result(job_keys(id)) end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', RECORD_ENDS_KEY, '-inf', now, 'LIMIT', 0, most)) do
    if not forget(job_keys(id)) then redis.call('ZREM', RECORD_ENDS_KEY, id) end
  end
  return #results
end

-- Evicts the ended job of an owner that ended first. Returns whether there was one.
local function evict_oldest(owner, reason)
  local oldest = redis.call('ZRANGE', owner_ended(owner), 0, 0)[1]
  if not oldest then
    redis.call('ZREM', KEPT_ENDED_KEY, owner)
    return false
  end
  if not forget(job_keys(oldest)) then redis.call('ZREM', owner_ended(owner), oldest) end
  redis.call('HINCRBY', KEPT_KEY, 'evicted:' .. reason, 1)
  return true
end

-- Evicts the oldest ended job of the owner whose ended jobs take the most. Returns whether there was one.
local function evict_of_largest()
  local largest = redis.call('ZREVRANGE', KEPT_ENDED_KEY, 0, 0)[1]
  return largest and evict_oldest(largest, 'memory') or false
end

-- Returns how many bytes all jobs together may take: a share of maxmemory, or of half of the machine's memory.
local function room_bytes()
  local memory = redis.call('INFO', 'memory')
  local limit = tonumber(string.match(memory, '\nmaxmemory:(%d+)') or 0)
  if limit == 0 then limit = tonumber(string.match(memory, '\ntotal_system_memory:(%d+)') or 1e15) / 2 end
  return math.floor(limit * ROOM_SHARE)
end

local function kept_by(owner)
  return (redis.call('HGET', KEPT_KEY, 'unfinished:' .. owner) or 0) + (redis.call('ZSCORE', KEPT_ENDED_KEY, owner) or 0)
end

local function kept_by_all()
  local kept = redis.call('HMGET', KEPT_KEY, 'unfinished', 'ended')
  return (kept[1] or 0) + (kept[2] or 0)
end

-- Evicts ended jobs until so many more bytes, and jobs, of the owner fit: its own above its bound, then those of the owner
-- who keeps the most. Returns false where that takes another call.
local function make_room(owner, bytes, jobs, own_bound, room)
  local left = MOST_EVICTED
  local function try(is_over, evict)
    while is_over() do
      if left == 0 then return false end
      if not evict() then return true end
      left = left - 1
    end
    return true
  end
  return try(function() return kept_by(owner) + bytes > own_bound end,
      function() return evict_oldest(owner, 'owner_bytes') end)
    and try(function() return jobs > 0 and max_kept and redis.call('ZCARD', owner_jobs(owner)) + jobs > max_kept end,
      function() return evict_oldest(owner, 'owner_jobs') end)
    and try(function() return kept_by_all() + bytes > room end, evict_of_largest)
end
