-- ARGV: job id, worker, lease_ms. Returns 1 when this worker holds the job.
local keys = keys_of(ARGV[4])
local job = redis.call('HMGET', keys.job, 'status', 'worker')
if job[1] ~= 'in_progress' or job[2] ~= ARGV[5] then return 0 end
even_if_full()
redis.call('ZADD', keys.running, now_ms() + tonumber(ARGV[6]), keys.id)
return 1
