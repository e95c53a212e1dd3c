-- ARGV: token, step, total_steps. Returns 'go on', 'cancel', or 'lost' when the claim no longer holds.
local job = redis.call('HMGET', keys.job, 'token', 'cancel_requested')
if job[1] ~= ARGV[1] then return 'lost' end
redis.call('HSET', keys.job, 'step', ARGV[2], 'total_steps', ARGV[3])
if job[2] then return 'cancel' end
return 'go on'
