-- What all scripts share: the clock, a job's keys, and how to write in a full Redis.
-- Times are those of Redis, so that all processes have the same clock.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function seconds(ms)
  return string.format('%.3f', ms / 1000)
end

-- Returns a job's id and its keys (workers/jobs/redis/keys.py).
local function job_keys(job_id)
  local hash = JOB_PREFIX .. job_id
  return {
    id = job_id, hash = hash, image = hash .. ':image', mask = hash .. ':mask', events = hash .. ':events',
    artifacts = hash .. ':artifact:',
  }
end

-- Returns whether a job exists and belongs to the owner. Every script that acts on an id for a client asks this itself.
local function is_owned(job, owner)
  return redis.call('HGET', job.hash, 'owner') == owner
end

-- Lets the following writes of a script pass in a full Redis (maxmemory). Redis refuses a script only at its first write,
-- and only if that may take memory ("Scripting with Lua", scripts under low memory). Scripts that claim, renew, requeue
-- or end a job call this, so that jobs go on; a script that stores artifacts does not.
local function write_even_if_full()
  redis.call('ZREM', DELIVERIES_KEY, '')
end

-- Returns whether Redis is full. Call it before any other write: it tries a write that changes nothing.
local function is_full()
  local answer = redis.pcall('INCRBY', SEQUENCE_KEY, 0)
  return type(answer) == 'table' and answer.err ~= nil
end
