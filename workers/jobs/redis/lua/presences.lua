-- Reads the heartbeats of workers that have changed since since_ms, or all of them where that is nil or too long ago.
-- Returns {now in ms, 1 if these are all, {name, heartbeat or '' of a worker that has left, ...}, the names of silent
-- workers, how many workers there are}.
local now = now_ms()
local silent, count = redis.call('ZRANGEBYSCORE', WORKERS_SEEN_KEY, '-inf', now - ALIVE_MS), redis.call('HLEN', WORKERS_KEY)
if not since_ms or since_ms > now or now - since_ms > CHANGES_KEPT_MS / 2 then
  return {now, 1, redis.call('HGETALL', WORKERS_KEY), silent, count}
end
local found = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', WORKERS_CHANGED_KEY, since_ms, '+inf')) do
  found[#found + 1] = name
  found[#found + 1] = redis.call('HGET', WORKERS_KEY, name) or ''
end
return {now, 0, found, silent, count}
