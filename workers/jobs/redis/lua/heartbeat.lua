-- Publishes the state of a worker: presence is the rest of its JSON (observe/presence.py) behind the time, which is Redis's.
-- is_ready: 1 where it takes jobs. digest: that of its model, '' for one that draws jobs of every digest. Forgets a few
-- workers that were last seen before FORGOTTEN_MS.
-- Returns 1 where this worker is the one that reaps the jobs of the graph until REAPER_MS, as one does at a time.
local REAPER_MS, FORGOTTEN_MS, FORGOTTEN_AT_ONCE, READY_TTL_S = 4500, 60000, 10, 3600
local now = now_ms()
write_even_if_full()
redis.call('ZADD', digests_key, now, digest == '' and ANY_DIGEST or digest)
-- A change of anything but its times and what it does just now is read by those who know the rest (presences.lua).
local function lasting(json)
  for _, pattern in ipairs({'^{"seen_at": [^,]*, ', '"clock": [%d.]+', '"activity": %b{}'}) do
    json = string.gsub(json, pattern, '')
  end
  return json
end
if lasting(redis.call('HGET', WORKERS_KEY, worker) or '') ~= lasting(presence) then
  redis.call('ZADD', WORKERS_CHANGED_KEY, now, worker)
end
redis.call('ZREMRANGEBYSCORE', WORKERS_CHANGED_KEY, '-inf', now - CHANGES_KEPT_MS)
redis.call('HSET', WORKERS_KEY, worker, '{"seen_at": ' .. seconds(now) .. ', ' .. presence)
redis.call('ZADD', WORKERS_SEEN_KEY, now, worker)
for _, key in ipairs({ready_key, ready_own_key}) do
  if is_ready == 1 then redis.call('ZADD', key, now, worker) else redis.call('ZREM', key, worker) end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - FORGOTTEN_MS)
  redis.call('EXPIRE', key, READY_TTL_S)
end
local gone = redis.call('ZRANGEBYSCORE', WORKERS_SEEN_KEY, '-inf', now - FORGOTTEN_MS, 'LIMIT', 0, FORGOTTEN_AT_ONCE)
for _, name in ipairs(gone) do
  redis.call('HDEL', WORKERS_KEY, name)
  redis.call('ZREM', WORKERS_SEEN_KEY, name)
  redis.call('ZADD', WORKERS_CHANGED_KEY, now, name)
end
local reaper = redis.call('GET', reaper_key)
if reaper and reaper ~= worker then return 0 end
redis.call('SET', reaper_key, worker, 'PX', REAPER_MS)
return 1
