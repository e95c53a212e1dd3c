-- The digests of models (graphs/definition/model_digest.py). Two servers may have one name for different models: then each
-- worker draws the jobs of its own digest. by_digest_key has an entry of each waiting job, so that the first one of a
-- digest is found in O(log n); NO_DIGEST there stands for jobs that any worker draws. digests_key has each digest by the
-- time (ms) at which a live worker had it; ANY_DIGEST there stands for workers that draw jobs of every digest, REAPED for
-- the last look at it.
local ANY_DIGEST, REAPED = '*', ''

-- Returns the entry of a waiting job in by_digest_key, and its digest if it has one. Entries are in the order of the
-- queue, as no place has more than 20 digits; those of jobs that were moved to the front are below 0 (work.lua) and
-- begin with a hyphen, which is before every digit.
local function entry_by_digest(job)
  local record = redis.call('HMGET', job.hash, 'model_digest', 'place')
  if not record[2] then return nil end
  local place = tonumber(record[2])
  local text = place < 0 and string.format('-%029.9f', 1e12 + place) or string.format('%030.9f', place)
  return string.format('%s %s %s', record[1] or NO_DIGEST, text, job.id), record[1]
end

-- The time of a digest begins with its first waiting job, if no worker has had it yet.
local function enter_by_digest(job)
  local entry, digest = entry_by_digest(job)
  if entry then redis.call('ZADD', by_digest_key, 0, entry) end
  if digest then redis.call('ZADD', digests_key, 'NX', now_ms(), digest) end
end

local function leave_by_digest(job)
  local entry = entry_by_digest(job)
  if entry then redis.call('ZREM', by_digest_key, entry) end
end

-- Returns up to ``most`` ids of the waiting jobs of a digest, the next one first. An exclamation mark follows the space.
-- An entry that an older release left behind, which knows no digests, is removed.
local function waiting_of_digest(digest, most)
  local ids = {}
  while #ids == 0 do
    local entries = redis.call('ZRANGEBYLEX', by_digest_key, '[' .. digest .. ' ', '(' .. digest .. '!', 'LIMIT', 0, most)
    if #entries == 0 then break end
    for _, entry in ipairs(entries) do
      local id = string.match(entry, ' (%S+)$')
      if redis.call('ZSCORE', queued_key, id) then ids[#ids + 1] = id else redis.call('ZREM', by_digest_key, entry) end
    end
  end
  return ids
end

-- Returns the id and the place of the first job that a worker of a digest may draw, or {}. The first of the queue is
-- looked at by itself, since a job of an older release has no entry by its digest.
local function first_of(digest)
  local first = redis.call('ZRANGE', queued_key, 0, 0, 'WITHSCORES')
  if #first == 0 or digest == '' then return first end
  local of_first = redis.call('HGET', job_keys(first[1]).hash, 'model_digest')
  if not of_first or of_first == digest then return first end
  local found = {}
  for _, mine in ipairs({digest, NO_DIGEST}) do
    local id = waiting_of_digest(mine, 1)[1]
    local place = id and redis.call('ZSCORE', queued_key, id)
    if id and (#found == 0 or tonumber(place) < tonumber(found[2])) then found = {id, place} end
  end
  return found
end
