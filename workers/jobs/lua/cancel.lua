-- ARGV: job id, record_ttl_s. A waiting job ends at once, a running one at its next step. Returns the status.
local status = redis.call('HGET', keys.job, 'status')
if status == 'queued' then
  finish(keys, ARGV[1], 'cancelled', tonumber(ARGV[2]), {})
  return 'cancelled'
end
if status == 'in_progress' then redis.call('HSET', keys.job, 'cancel_requested', 1) end
return status
