-- The metrics of a graph: one hash, which the transition itself counts in, so that every count is exact even if the
-- process dies right afterwards. A metric never stops a transition: pcall ignores the refusal of a full Redis.
local function count(field, by)
  redis.pcall('HINCRBY', metrics_key, field, string.format('%.0f', by or 1))
end

-- Counts a value in a histogram: one field for each bucket (its upper bound in seconds), and the sum in microseconds.
local function observe(name, value_s)
  local bucket = 'inf'
  for _, bound in ipairs(DURATION_BOUNDS_S) do
    if value_s <= bound then
      bucket = string.format('%.6g', bound)
      break
    end
  end
  count(name .. ':le:' .. bucket)
  count(name .. ':us', math.max(value_s, 0) * 1e6)
end

local function since_created_s(job)
  local time = redis.call('TIME')
  local now = time[1] + time[2] / 1e6
  return now - tonumber(redis.call('HGET', job.hash, 'created_at') or now)
end

-- Adds a job to the sorted set of waiting jobs by their submission; the queue itself has another order.
local function add_waiting(job)
  -- When a queue is empty but for this job, entries that a refused write left behind are removed.
  if redis.call('ZCARD', queued_key) <= 1 then redis.pcall('DEL', waiting_key) end
  redis.pcall('ZADD', waiting_key, redis.call('HGET', job.hash, 'created_at'), job.id)
end

local function remove_waiting(job)
  redis.pcall('ZREM', waiting_key, job.id)
end

local function count_attempt(job)
  count('attempts')
  if redis.call('HSETNX', job.hash, 'has_waited', 1) == 1 then observe('wait', since_created_s(job)) end
end

local function count_erased(status)
  if status and not IS_FINAL[status] then count('cancelled:erased') end
end

-- Returns the error of a job from its JSON; {} where it cannot be read, as that never stops a transition.
local function read_error(text)
  local is_read, found = pcall(cjson.decode, text)
  return is_read and found or {}
end

-- Counts the end of a job. Returns the fields that are stored with the job: all but 'measured', which holds what a
-- worker measured and is only counted.
local function count_end(job, status, fields)
  local kept, code = {}, nil
  for i = 1, #fields, 2 do
    if fields[i] == 'measured' then
      for field, by in pairs(cjson.decode(fields[i + 1])) do count(field, by) end
    else
      kept[#kept + 1] = fields[i]
      kept[#kept + 1] = fields[i + 1]
    end
    if fields[i] == 'error' then code = string.match(read_error(fields[i + 1]).code or '', '^[%w_]+$') end
  end
  if status == STATUS_COMPLETED then
    count('completed')
    observe('job', since_created_s(job))
  elseif status == STATUS_FAILED then
    count('failed:' .. (code or 'unknown'))
  else
    count('cancelled:' .. (code or 'requested'))
  end
  return kept
end
