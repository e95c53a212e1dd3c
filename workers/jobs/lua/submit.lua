-- ARGV: job id, max_queued, image, mask, then field, value, ...   KEYS[7]: the submission counter.
local job_id, max_queued = ARGV[1], tonumber(ARGV[2])
if redis.call('EXISTS', keys.job) == 1 then return 'exists' end
if redis.call('ZCARD', keys.queued) >= max_queued then return 'full' end
local fields = {}
for i = 5, #ARGV do fields[#fields + 1] = ARGV[i] end
local sequence = redis.call('INCR', KEYS[7])
redis.call('HSET', keys.job, 'status', 'queued', 'sequence', sequence, 'attempts', 0,
  'created_at', seconds(now_ms()), unpack(fields))
if ARGV[3] ~= '' then redis.call('SET', keys.image, ARGV[3]) end
if ARGV[4] ~= '' then redis.call('SET', keys.mask, ARGV[4]) end
redis.call('ZADD', keys.queued, sequence, job_id)
announce(keys.events, job_id, 'queued')
return 'queued'
