-- ARGV: job id. A waiting job ends at once, as does one whose worker gave no sign of life for as long as its lease; a
-- running one ends at its next step. Returns the status.
local keys = keys_of(ARGV[4])
even_if_full()
local status = redis.call('HGET', keys.job, 'status')
local lease = status == 'in_progress' and tonumber(redis.call('ZSCORE', keys.running, keys.id) or 0)
if status == 'queued' or (lease and lease <= now_ms()) then
  finish(keys, 'cancelled', {})
  return 'cancelled'
end
if status == 'in_progress' then redis.call('HSET', keys.job, 'cancel_requested', 1) end
return status
