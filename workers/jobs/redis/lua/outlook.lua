-- Reads what the estimates of some jobs of a graph need; changes nothing. job_ids: those jobs.
-- Returns {how many jobs wait, the sums of the running jobs in thousandths, the times of the last jobs, and for each job
-- its place and the sums of the jobs before it, or -1 and '' for a job that does not wait; 1 where the queue is paused}
-- (work.lua has the sums).
local places = {}
for _, id in ipairs(job_ids) do
  local rank = redis.call('ZRANK', queued_key, id)
  places[#places + 1] = rank or -1
  places[#places + 1] = rank and sums_text(work_before(tonumber(redis.call('ZSCORE', queued_key, id)), rank)) or ''
end
return {
  redis.call('ZCARD', queued_key), redis.call('HGET', running_work_key, 'sums') or '', redis.call('LRANGE', times_key, 0, -1), places,
  redis.call('EXISTS', paused_key),
}
