-- Counts the jobs of an older layout, which has no sizes, and puts them on the lists by status. A job that is counted already
-- stays as it is. cursor: that of SCAN, '0' at first. Returns the next cursor; '0': all of them are counted.
write_even_if_full()

-- The lists live as long as any record on them, and not shorter than before.
local function extend(list, record_life_ms)
  local life_s = LONGEST_LIFE_S + math.ceil(math.max(record_life_ms, 0) / 1000)
  redis.call('EXPIRE', list, math.max(redis.call('TTL', list), life_s))
end

local function adopt(job, record)
  local size, owner, status, sequence = 0, record.owner, record.status, record.sequence or 0
  if not owner then
    owner = record.options and cjson.decode(record.options).owner or 'anyone'
    redis.call('HSET', job.hash, 'owner', owner)
  end
  for field, value in pairs(record) do size = size + #field + #value end
  local list = status
  if IS_FINAL[status] then
    local now, artifact_bytes = now_ms(), 0
    local life_ms = redis.call('PTTL', job.hash)
    local result_ends_ms = (tonumber(record.expires_at) or 0) * 1000
    for index = 0, (tonumber(record.artifacts) or 0) - 1 do
      artifact_bytes = artifact_bytes + redis.call('STRLEN', job.artifacts .. index)
    end
    if status == STATUS_COMPLETED and result_ends_ms <= now then list = SHOWN_EXPIRED end
    local result_bytes = math.ceil(artifact_bytes * ALLOCATED + redis.call('XLEN', job.events) * STEP_BYTES)
    add_to_ended(job, owner, estimate(size), result_bytes, (tonumber(record.completed_at) or 0) * 1000,
      now + math.max(life_ms, 0), result_ends_ms)
  else
    size = size + redis.call('STRLEN', job.image) + redis.call('STRLEN', job.mask)
    redis.call('HSET', job.hash, 'kept', whole(estimate(size)))
    hold(owner, estimate(size))
  end
  for _, key in ipairs({owner_jobs(owner), owner_jobs(owner, list)}) do
    redis.call('ZADD', key, sequence, job.id)
    extend(key, redis.call('PTTL', job.hash))
  end
end

local found = redis.call('SCAN', cursor, 'MATCH', JOB_PREFIX .. '*', 'COUNT', 500, 'TYPE', 'hash')
for _, key in ipairs(found[2]) do
  local job, record, stored = job_keys(string.sub(key, #JOB_PREFIX + 1)), {}, redis.call('HGETALL', key)
  for i = 1, #stored, 2 do record[stored[i]] = stored[i + 1] end
  local is_counted = record.kept or redis.call('HEXISTS', ENDED_SIZES_KEY, job.id) == 1
  if record.status and not is_counted then adopt(job, record) end
end
if found[1] == '0' then redis.call('DEL', ADOPTION_KEY) end
return found[1]
