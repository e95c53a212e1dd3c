-- What /metrics tells of a graph: one hash, written by the very transition that it counts, so that a count is exact
-- whoever dies after it. Statistics never stop a transition: a Redis that is full refuses them alone (pcall).
-- It comes in front of prelude.lua, and knows a graph by its queue, which is every script's first key.
local function graph_key(beginning)
  return beginning .. string.sub(KEYS[1], #QUEUED + 1)
end

local function count(field, by)
  redis.pcall('HINCRBY', graph_key(METRICS), field, string.format('%.0f', by or 1))
end

-- A histogram: how many fell into each bucket (its upper bound in seconds), and their sum in microseconds.
local function observe(name, value_s)
  local bucket = 'inf'
  for _, bound in ipairs(DURATION_BOUNDS) do
    if value_s <= bound then
      bucket = string.format('%.6g', bound)
      break
    end
  end
  count(name .. ':le:' .. bucket)
  count(name .. ':us', math.max(value_s, 0) * 1e6)
end

local function since_created_s(keys)
  local time = redis.call('TIME')
  local now = time[1] + time[2] / 1e6
  return now - tonumber(redis.call('HGET', keys.job, 'created_at') or now)
end

-- Beside the queue, whose order is another: the jobs that wait, the one submitted first in front.
local function waits(keys)
  -- Whatever was left behind goes when a queue begins anew.
  if redis.call('ZCARD', keys.queued) <= 1 then redis.pcall('DEL', graph_key(WAITING)) end
  redis.pcall('ZADD', graph_key(WAITING), redis.call('HGET', keys.job, 'created_at'), keys.id)
end

local function waits_no_more(keys)
  redis.pcall('ZREM', graph_key(WAITING), keys.id)
end

local function count_attempt(keys)
  count('attempts')
  if redis.call('HSETNX', keys.job, 'has_waited', 1) == 1 then observe('wait', since_created_s(keys)) end
end

local function count_erased(status)
  if status == 'queued' or status == 'in_progress' then count('cancelled:erased') end
end

-- Counts a job's end. Returns the fields that stay with the job: all but 'measured', what a worker measured of it.
local function count_end(keys, status, fields)
  local kept, code = {}, nil
  for i = 1, #fields, 2 do
    if fields[i] == 'measured' then
      for field, by in pairs(cjson.decode(fields[i + 1])) do count(field, by) end
    else
      kept[#kept + 1] = fields[i]
      kept[#kept + 1] = fields[i + 1]
    end
    if fields[i] == 'error' then code = string.match(cjson.decode(fields[i + 1]).code, '^[%w_]+$') end
  end
  if status == 'completed' then
    count('completed')
    observe('job', since_created_s(keys))
  elseif status == 'failed' then
    count('failed:' .. (code or 'unknown'))
  else
    count('cancelled:' .. (code or 'requested'))
  end
  return kept
end
