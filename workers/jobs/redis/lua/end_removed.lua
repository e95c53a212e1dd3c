-- Fails the waiting jobs of a graph that has been removed for removed_grace_ms, up to MOST_FAILED in a call. Once no job
-- waits or runs, the graph counts as removed no more. Returns how many jobs failed.
local MOST_FAILED = 100
local since = tonumber(redis.call('HGET', removed_key, removed_graph) or '')
if not since or now_ms() - since < removed_grace_ms then return 0 end
write_even_if_full()
local failed = 0
for _, id in ipairs(redis.call('ZRANGE', queued_key, 0, MOST_FAILED - 1)) do
  local job = job_keys(id)
  if redis.call('HGET', job.hash, 'status') == STATUS_QUEUED then
    finish(job, STATUS_FAILED, failure('model_removed', message))
    failed = failed + 1
  else
    leave_queue(job)
  end
end
if redis.call('EXISTS', queued_key, running_key) == 0 then redis.call('HDEL', removed_key, removed_graph) end
return failed
