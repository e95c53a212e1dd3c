-- ARGV: job id, worker, lease_ms (0 ends the lease now), and 'crashed' where the worker's child died of the job.
-- Returns 1 when this worker holds the job.
local keys = keys_of(ARGV[4])
local job = redis.call('HMGET', keys.job, 'status', 'worker')
if job[1] ~= 'in_progress' or job[2] ~= ARGV[5] then return 0 end
redis.call('ZADD', keys.running, now_ms() + tonumber(ARGV[6]), keys.id)
if ARGV[7] == 'crashed' then
  count('crashes')
  redis.pcall('LPUSH', graph_key(CRASHES), seconds(now_ms()))
  redis.pcall('LTRIM', graph_key(CRASHES), 0, 9)
end
return 1
