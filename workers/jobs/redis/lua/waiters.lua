-- ARGV: job id, change. Returns how many clients wait for the job now, 0 when its record is gone.
local keys = keys_of(ARGV[4])
if redis.call('HEXISTS', keys.job, 'status') == 0 then return 0 end
even_if_full()
return redis.call('HINCRBY', keys.job, 'waiters', ARGV[5])
