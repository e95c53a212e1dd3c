-- KEYS[4]: the owner's jobs; KEYS[5...]: its pictures.   ARGV: job id.
-- Takes away everything of a job. A worker that runs it loses its claim, and stops at the next step.
local keys = keys_of(ARGV[4])
local status = redis.call('HGET', keys.job, 'status')
count_erased(keys, status)
if status == 'queued' or status == 'in_progress' then announce(keys, 'cancelled') end
redis.call('ZREM', keys.queued, keys.id)
redis.call('ZREM', keys.running, keys.id)
redis.call('ZREM', KEYS[4], keys.id)
redis.call('DEL', keys.job, keys.image, keys.mask, keys.job_events)
for i = 5, #KEYS do redis.call('DEL', KEYS[i]) end
return 1
