-- ARGV: job id, worker, time_limit_s, what to say of a job whose time was up.
-- The child that ran the job is gone, or is about to be: the job's lease ends now, and with its time the job itself.
-- Returns 1 when this worker held the job.
local keys = keys_of(ARGV[4])
local job = redis.call('HMGET', keys.job, 'status', 'worker', 'started_at', 'cancel_requested')
if job[1] ~= 'in_progress' or job[2] ~= ARGV[5] then return 0 end
even_if_full()
local now = now_ms()
if not job[4] and now / 1000 - tonumber(job[3]) >= tonumber(ARGV[6]) then
  finish(keys, 'failed', failure('timeout', ARGV[7]))
else
  redis.call('ZADD', keys.running, now, keys.id)
end
return 1
