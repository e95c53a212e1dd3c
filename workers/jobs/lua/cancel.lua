-- ARGV: job id. A waiting job ends at once, a running one at its next step. Returns the status.
local keys = keys_of(ARGV[4])
local status = redis.call('HGET', keys.job, 'status')
if status == 'queued' then
  finish(keys, 'cancelled', {})
  return 'cancelled'
end
if status == 'in_progress' then redis.call('HSET', keys.job, 'cancel_requested', 1) end
return status
