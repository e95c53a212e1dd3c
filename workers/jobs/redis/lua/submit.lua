-- Stores a job as queued. fields: further fields of its record with their values.
-- name: the owner's own name for the job, or ''. priority_rank: 0 is the highest priority; start_by: unix seconds, or ''
-- for a job that may start at any time;
-- join: 'always', 'live' or 'never' (store.py, Idempotency).
-- message: wakes a worker (shared.lua); one step stores the job and sends it.
-- Returns {'queued', job id, submission number, time of submission}; {outcome, job id}: 'joined' (this request made that job
-- before) or 'conflict' (another request of the owner has the idempotency key or the name); {'full', which bound, its
-- numbers, ...};
-- {'other adapters', ''}: the added adapters have another version;
-- or {'evicting', ''}: ended jobs went, and the same call again finds the room, or makes more.
local job = job_keys(job_id)

-- adapters_version: that for which the request was resolved, or '' for any.
if adapters_version ~= '' and (redis.call('GET', adapters_version_key) or '0') ~= adapters_version then
  return {'other adapters', ''}
end

-- Every submission counts as a client that waits, until that client leaves (waiters.lua). A client that never gives up,
-- or one that polls, removes the start_by of an earlier submission.
local function join_job(earlier_id)
  local earlier = job_keys(earlier_id)
  write_even_if_full()
  count('joined')
  redis.call('HINCRBY', earlier.hash, 'waiters', 1)
  if start_by == '' then
    redis.call('HDEL', earlier.hash, 'start_by')
  elseif redis.call('HEXISTS', earlier.hash, 'start_by') == 1 then
    redis.call('HSET', earlier.hash, 'start_by', start_by)
  end
  if redis.call('HGET', earlier.hash, 'status') == STATUS_QUEUED then wake(messages_key, message) end
  return {'joined', earlier_id}
end

-- Returns whether the request made its job for another model of this name.
local function is_of_other_model(known)
  local of_known = known and redis.call('HGET', job_keys(string.match(known, ' (%S+)$')).hash, 'model_digest')
  return of_known and of_known ~= model_digest
end

-- The same request to two models is two requests: the second model's has a key of its own.
if model_digest ~= '' and idempotency_ttl_s > 0 then
  local own_key = idempotency_key .. '@' .. model_digest
  if redis.call('EXISTS', own_key) == 1 or is_of_other_model(redis.call('GET', idempotency_key)) then
    idempotency_key = own_key
  end
end
local known = join ~= 'never' and redis.call('GET', idempotency_key)
if known then
  local known_digest, known_id = string.match(known, '^(%S+) (%S+)$')
  local status = is_owned(job_keys(known_id), owner) and redis.call('HGET', job_keys(known_id).hash, 'status')
  if known_digest ~= digest then return {'conflict', known_id} end
  local lives = status and (not IS_FINAL[status] or status == STATUS_COMPLETED)
  if status and (join == 'always' or lives) then return join_job(known_id) end
end
-- The id of this call is found where the call came twice; the name itself is an id of jobs from before names were kept.
local name_key = NAME_PREFIX .. owner .. ':' .. name
for _, earlier_id in ipairs({job.id, name ~= '' and redis.call('GET', name_key) or '', name}) do
  local earlier = job_keys(earlier_id)
  if earlier_id ~= '' and is_owned(earlier, owner) then
    local known_as = redis.call('HMGET', earlier.hash, 'digest', 'model_digest')
    local is_same = known_as[1] == digest and (model_digest == '' or not known_as[2] or known_as[2] == model_digest)
    return is_same and join_job(earlier_id) or {'conflict', earlier_id}
  end
end

local backlog = redis.call('HMGET', backlog_key, 'bytes', 'jobs:' .. owner, 'bytes:' .. owner)
if redis.call('ZCARD', queued_key) >= max_queued then return {'full', 'jobs'} end
if (backlog[1] or 0) + size_bytes > max_queued_bytes then return {'full', 'bytes'} end
if tonumber(backlog[2] or 0) >= max_owner_queued then return {'full', 'owner_jobs'} end
if (backlog[3] or 0) + size_bytes > max_owner_bytes then return {'full', 'owner_bytes'} end
-- What Redis keeps (keeping.lua). Redis counts its memory before a script begins.
local is_memory_full = is_full()
write_even_if_full()
sweep(MOST_SWEPT)
if is_memory_full then
  local has_evicted = evict_of_largest()
  for _ = 2, MOST_SWEPT do evict_of_largest() end
  return has_evicted and {'evicting', ''} or {'full', 'memory'}
end
local room, kept_bytes = room_bytes(), estimate(size_bytes)
local own_bound = math.min(room, max_kept_bytes or math.floor(room * kept_share))
if kept_bytes > own_bound then return {'full', 'too_large', whole(kept_bytes), whole(own_bound)} end
-- An owner's unfinished jobs may take half of what those of the others leave, so that some is always left for one more
-- owner ("dynamic thresholds", Choudhury and Hahne 1998, with alpha 1). Without keys there is one owner, with all of it.
local unfinished = redis.call('HMGET', KEPT_KEY, 'unfinished', 'unfinished:' .. owner)
local own_unfinished = tonumber(unfinished[2] or 0)
local share = math.min(own_bound, math.floor((room - ((unfinished[1] or 0) - own_unfinished)) * kept_share))
if own_unfinished == 0 and kept_bytes > share then return {'full', 'kept_bytes', whole(kept_bytes), whole(share)} end
if own_unfinished + kept_bytes > share then
  return {'full', 'owner_kept_bytes', whole(own_unfinished), whole(share)}
end
local own_jobs = redis.call('ZCARD', owner_jobs(owner, STATUS_QUEUED))
  + redis.call('ZCARD', owner_jobs(owner, STATUS_IN_PROGRESS))
if max_kept and own_jobs >= max_kept then return {'full', 'owner_kept_jobs', whole(own_jobs), whole(max_kept)} end
if not make_room(owner, kept_bytes, 1, own_bound, room) then return {'evicting', ''} end

-- Start-time fair queueing: within a priority, an owner's next job starts where its last one ended in virtual time. So
-- owners take turns by cost, and the jobs of one owner keep their order.
-- The clock starts anew only when nothing runs either, because a running job may return to its old place.
if redis.call('ZCARD', queued_key) + redis.call('ZCARD', running_key) == 0 then redis.call('DEL', fairness_key) end
if redis.call('HLEN', fairness_key) > 300 then
  -- Owners whose last job the clock has passed start at the clock anyway, so their entries can go.
  local entries = redis.call('HGETALL', fairness_key)
  for i = 1, #entries, 2 do
    local rank = string.match(entries[i], '^(%d+):')
    local passed = rank and tonumber(redis.call('HGET', fairness_key, 'clock:' .. rank) or 0)
    if passed and tonumber(entries[i + 1]) <= passed then redis.call('HDEL', fairness_key, entries[i]) end
  end
end
local clock = tonumber(redis.call('HGET', fairness_key, 'clock:' .. priority_rank) or 0)
local last_end = tonumber(redis.call('HGET', fairness_key, priority_rank .. ':' .. owner) or 0)
local start = math.max(clock, last_end)
redis.call('HSET', fairness_key, priority_rank .. ':' .. owner, string.format('%.17g', start + cost))
local place = string.format('%.17g', priority_rank * 1e12 + start)

if start_by ~= '' then
  fields[#fields + 1] = 'start_by'
  fields[#fields + 1] = start_by
end
local sequence, created_at = redis.call('INCR', SEQUENCE_KEY), seconds(now_ms())
redis.call('HSET', job.hash, 'status', STATUS_QUEUED, 'sequence', sequence, 'place', place, 'attempts', 0, 'cost', cost,
  'waiters', 1, 'owner', owner, 'bytes', size_bytes, 'kept', whole(kept_bytes), 'digest', digest,
  'created_at', created_at, unpack(fields))
hold(owner, kept_bytes)
if model_digest ~= '' then redis.call('HSET', job.hash, 'model_digest', model_digest) end
if image ~= '' then redis.call('SET', job.image, image) end
if mask ~= '' then redis.call('SET', job.mask, mask) end
enter_queue(job, place)
redis.call('ZADD', owner_jobs(owner), sequence, job.id)
redis.call('EXPIRE', owner_jobs(owner), record_ttl_s + LONGEST_LIFE_S)
list_as(job, STATUS_QUEUED)
if name ~= '' then
  redis.call('HSET', job.hash, 'name', name)
  redis.call('SET', name_key, job.id, 'EX', record_ttl_s + LONGEST_LIFE_S)
end
-- Each submission removes up to two ids of records that are gone from the owner's list, for records removed by hand.
for _, old_id in ipairs(redis.call('ZRANGE', owner_jobs(owner), 0, 1)) do
  if redis.call('EXISTS', job_keys(old_id).hash) == 0 then redis.call('ZREM', owner_jobs(owner), old_id) end
end
if idempotency_ttl_s > 0 then
  redis.call('HSET', job.hash, 'once', idempotency_key)
  redis.call('SET', idempotency_key, digest .. ' ' .. job.id, 'EX', idempotency_ttl_s)
end
announce_queued(job)
count('submitted')
wake(messages_key, message)
return {'queued', job.id, sequence, created_at}
