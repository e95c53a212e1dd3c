-- The work that waits and runs, as sums: so the time before a job is known without reading the jobs before it.
-- work_key (hash) has a tree for each priority: a leaf for each QUANTUM of virtual time, and above it nodes of CHILDREN
-- nodes each; field 'RANK:LEVEL:INDEX' -> 'jobs steps pictures steps*pixels pictures*pixels'. The last level has one node.
-- A job changes one node of each level when it enters and when it leaves, and a place is found from at most CHILDREN - 1
-- nodes of each level. running_work_key (hash) has in 'sums' the same of the running jobs, in
-- thousandths of what is left, and in 'jobs:DIGEST' how many run.
-- A job's 'summed' is its leaf while it is counted, 'left' its thousandths while it runs.
-- A place is RANK * 1e12 + a time in virtual time. Ranks are those of priorities, from 0 to LAST_RANK, and before them FRONT_RANK:
-- that of jobs that were moved to the front (front.lua), in whose place a number stands for the time.
local FRONT_RANK, LAST_RANK = -1, 2
local QUANTUM, CHILDREN, LEVELS, WHOLE = 0.125, 8, 12, 1000
local LAST_LEAF = CHILDREN ^ LEVELS - 1

local function read_sums(text)
  local sums = {0, 0, 0, 0, 0}
  local place = 0
  for number in string.gmatch(text or '', '%S+') do
    place = place + 1
    sums[place] = tonumber(number)
  end
  return sums
end

local function add_sums(sums, more, factor)
  for place = 1, 5 do sums[place] = sums[place] + more[place] * factor end
  return sums
end

local function sums_text(sums)
  return string.format('%.0f %.0f %.0f %.0f %.0f', unpack(sums))
end

-- Returns the sums of one job. A record of before 0.2 has no work; its cost stands for it (measured_times.py, read_work).
local function sums_of(job)
  local record = redis.call('HMGET', job.hash, 'work', 'cost')
  local steps, pictures, pixels = string.match(record[1] or '', '^(%d+) (%d+) (%d+)$')
  if not steps then steps, pictures, pixels = 1, 1, math.floor((record[2] or 0) * 1e6 + 0.5) end
  return {1, steps + 0, pictures + 0, steps * pixels, pictures * pixels}
end

-- Returns the priority and the leaf of a place in the queue.
local function leaf_of(place)
  local rank = math.floor(place / 1e12)
  return rank, math.max(0, math.min(LAST_LEAF, math.floor((place - rank * 1e12) / QUANTUM)))
end

local function node(rank, level, index)
  return string.format('%d:%d:%.0f', rank, level, index)
end

local function change_nodes(rank, leaf, sums, sign)
  local fields, changed, gone = {}, {}, {}
  for level = 0, LEVELS do
    fields[#fields + 1] = node(rank, level, leaf)
    leaf = math.floor(leaf / CHILDREN)
  end
  for place, text in ipairs(redis.call('HMGET', work_key, unpack(fields))) do
    local now = add_sums(read_sums(text), sums, sign)
    if now[1] > 0 then
      changed[#changed + 1] = fields[place]
      changed[#changed + 1] = sums_text(now)
    else
      gone[#gone + 1] = fields[place]
    end
  end
  if #changed > 0 then redis.call('HSET', work_key, unpack(changed)) end
  if #gone > 0 then redis.call('HDEL', work_key, unpack(gone)) end
end

-- Counts a job that has entered the queue at a place, once.
local function add_work(job, place)
  local rank, leaf = leaf_of(tonumber(place))
  if redis.call('HSETNX', job.hash, 'summed', string.format('%d %.0f', rank, leaf)) == 1 then
    change_nodes(rank, leaf, sums_of(job), 1)
  end
end

local function remove_work(job)
  local rank, leaf = string.match(redis.call('HGET', job.hash, 'summed') or '', '^(-?%d+) (%d+)$')
  if not rank then return end
  change_nodes(tonumber(rank), tonumber(leaf), sums_of(job), -1)
  redis.call('HDEL', job.hash, 'summed')
end

-- Changes what is left of a running job to so many thousandths, 0 once it runs no longer.
local function set_left(job, left)
  local before = tonumber(redis.call('HGET', job.hash, 'left') or 0)
  if left == before then return end
  local sums = add_sums(read_sums(redis.call('HGET', running_work_key, 'sums')), sums_of(job), left - before)
  redis.call('HSET', running_work_key, 'sums', sums_text(sums))
  if left > 0 then redis.call('HSET', job.hash, 'left', left) else redis.call('HDEL', job.hash, 'left') end
  if left > 0 and before > 0 then return end
  local count = 'jobs:' .. (redis.call('HGET', job.hash, 'model_digest') or NO_DIGEST)
  if redis.call('HINCRBY', running_work_key, count, left > 0 and 1 or -1) <= 0 then
    redis.call('HDEL', running_work_key, count)
  end
end

local function enter_running(job, lease_end)
  redis.call('ZADD', running_key, lease_end, job.id)
  set_left(job, WHOLE)
end

local function leave_running(job)
  redis.call('ZREM', running_key, job.id)
  set_left(job, 0)
  -- Where none runs, nothing is left, even if jobs were removed by hand.
  if redis.call('EXISTS', running_key) == 0 then redis.call('DEL', running_work_key) end
end

-- Returns the sums of the jobs before a waiting job, of which there are so many. Those in the job's own leaf count by the
-- average of that leaf.
local function work_before(place, jobs_before)
  local rank, leaf = leaf_of(place)
  local fields, index = {node(rank, 0, leaf)}, leaf
  for level = 0, LEVELS - 1 do
    for sibling = index - index % CHILDREN, index - 1 do fields[#fields + 1] = node(rank, level, sibling) end
    index = math.floor(index / CHILDREN)
  end
  for higher = FRONT_RANK, rank - 1 do fields[#fields + 1] = node(higher, LEVELS, 0) end
  local found = redis.call('HMGET', work_key, unpack(fields))
  local own, sums = read_sums(found[1]), {0, 0, 0, 0, 0}
  for place_of_node = 2, #fields do add_sums(sums, read_sums(found[place_of_node]), 1) end
  local in_own = math.max(0, math.min(own[1], jobs_before - sums[1]))
  return own[1] > 0 and add_sums(sums, own, in_own / own[1]) or sums
end
