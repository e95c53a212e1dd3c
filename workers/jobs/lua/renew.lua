-- ARGV: job id, owner, lease_ms (0 ends the lease now). Returns 1 when this owner holds the job.
local job = redis.call('HMGET', keys.job, 'status', 'owner')
if job[1] ~= 'in_progress' or job[2] ~= ARGV[2] then return 0 end
redis.call('ZADD', keys.running, now_ms() + tonumber(ARGV[3]), ARGV[1])
return 1
