-- KEYS[5]: the owner's jobs; KEYS[6...]: its pictures.   ARGV: job id.
-- Takes away everything of a job. A worker that runs it loses its claim, and stops at the next step.
local keys = keys_of(ARGV[4])
even_if_full()
local status = redis.call('HGET', keys.job, 'status')
count_erased(status)
if status == 'queued' or status == 'in_progress' then announce(keys, 'cancelled') end
leave_queue(keys)
redis.call('ZREM', keys.running, keys.id)
redis.call('ZREM', KEYS[5], keys.id)
redis.call('DEL', keys.job, keys.image, keys.mask, keys.job_events)
for i = 6, #KEYS do redis.call('DEL', KEYS[i]) end
return 1
