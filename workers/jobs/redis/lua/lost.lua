-- Returns how many messages are to be sent again: jobs have waited for resend_after_ms while a ready worker was free.
-- digest: that of the asking worker's model, '' where it draws jobs of every digest. is_idle: 1 where that worker is free
-- itself; a busy one may hold two jobs, so that the numbers alone hide a free one. One message is enough for each of them.
if redis.call('EXISTS', paused_key) == 1 then return 0 end
local first = first_of(digest)
local created_s = first[1] and redis.call('HGET', job_keys(first[1]).hash, 'created_at')
if not created_s or now_ms() - created_s * 1000 <= resend_after_ms then return 0 end
local now, waiting, running, ready = now_ms(), 0, 0, 0
if digest == '' then
  waiting, running = redis.call('ZCARD', queued_key), redis.call('ZCARD', running_key)
  ready = redis.call('ZCOUNT', ready_key, now - ALIVE_MS, '+inf')
else
  for _, mine in ipairs({digest, NO_DIGEST}) do
    waiting = waiting + redis.call('ZLEXCOUNT', by_digest_key, '[' .. mine .. ' ', '(' .. mine .. '!')
    running = running + (redis.call('HGET', running_work_key, 'jobs:' .. mine) or 0)
  end
  for _, key in ipairs({ready_own_key, ready_any_key}) do
    ready = ready + redis.call('ZCOUNT', key, now - ALIVE_MS, '+inf')
  end
end
local free = math.max(ready - running, is_idle)
if free <= 0 then return 0 end
return math.min(free, math.max(1, waiting))
