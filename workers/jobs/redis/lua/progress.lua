-- Records a step, and a preview if it is not ''. A full Redis records the step alone.
-- Returns whether the worker goes on: CLAIM_GO_ON, CLAIM_CANCEL or CLAIM_LOST.
local job = job_keys(job_id)
local record = redis.call('HMGET', job.hash, 'token', 'cancel_requested', 'deadline')
local is_cancelled, deadline_s = record[2], record[3]
if record[1] ~= token then return CLAIM_LOST end
local has_preview = preview ~= '' and not is_full()
write_even_if_full()
redis.call('HSET', job.hash, 'step', step, 'total_steps', total_steps)
set_left(job, math.max(1, math.floor(WHOLE * (1 - math.min(1, total_steps > 0 and step / total_steps or 0)))))
announce(job, 'progress', {'step', step, 'total_steps', total_steps})
if has_preview then
  redis.call('HINCRBY', job.hash, 'preview_bytes', #preview)
  announce(job, 'preview', {'image_index', image_index, 'partial_image_index', partial_image_index}, preview)
end
if is_cancelled or (deadline_s and now_ms() > deadline_s * 1000) then return CLAIM_CANCEL end
return CLAIM_GO_ON
