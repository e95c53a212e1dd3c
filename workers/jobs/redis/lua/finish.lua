-- Ends a job that a worker has claimed. artifacts: encoded images; fields: fields of the record with their values.
-- Returns 1, 0 when the claim no longer holds, or -1 when Redis has no room for the artifacts.
local job = job_keys(job_id)
local record = redis.call('HMGET', job.hash, 'token', 'cost', 'started_at', 'cancel_requested')
local cost, started_s, is_cancelled = tonumber(record[2] or 1), tonumber(record[3]), record[4]
if record[1] ~= token then return 0 end

-- The deletion of the job's own input images may make enough room in a full Redis.
local needed = -redis.call('STRLEN', job.image) - redis.call('STRLEN', job.mask)
for _, artifact in ipairs(artifacts) do needed = needed + #artifact end
if needed > 0 and is_full() then
  if not is_cancelled then return -1 end
  new_status, artifacts, fields = STATUS_CANCELLED, {}, {}
end

write_even_if_full()
for number, artifact in ipairs(artifacts) do
  redis.call('SET', job.artifacts .. (number - 1), artifact, 'EX', result_ttl_s)
end
if new_status == STATUS_CANCELLED and not is_cancelled then
  fields = failure('deadline_exceeded', 'The job took longer than Cancel-After.')
end
if new_status == STATUS_COMPLETED then
  -- The pace is a moving average: a quarter of it comes from the last job.
  local pace = (now_ms() / 1000 - started_s) / math.max(cost, 1e-6)
  local before = tonumber(redis.call('GET', pace_key) or pace)
  redis.call('SET', pace_key, string.format('%.6g', before + (pace - before) / 4))
end
finish(job, new_status, fields)
return 1
