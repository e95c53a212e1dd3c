-- Ends a job that a worker has claimed. artifacts: encoded images; fields: fields of the record with their values;
-- work, measured_s: what the job asked for, and the seconds of its steps and of its pictures (measured_times.py); cold_s: how much
-- longer its slow first steps took than the others, which no estimate counts.
-- Returns 1, or 2 where no job waits; 0 when the claim no longer holds, or -1 when Redis has no room for the artifacts.
local job = job_keys(job_id)
local record = redis.call('HMGET', job.hash, 'token', 'started_at', 'cancel_requested', 'owner')
local started_s, is_cancelled, owner = tonumber(record[2]), record[3], record[4]
if record[1] ~= token then return 0 end

-- The deletion of the job's own input images may make enough room in a full Redis.
local artifact_bytes = 0
for _, artifact in ipairs(artifacts) do artifact_bytes = artifact_bytes + #artifact end
local needed = artifact_bytes - redis.call('STRLEN', job.image) - redis.call('STRLEN', job.mask)
local has_no_room = needed > 0 and is_full()
write_even_if_full()
if has_no_room and is_cancelled then
  new_status, artifacts, artifact_bytes, fields = STATUS_CANCELLED, {}, 0, {}
elseif has_no_room then
  -- Redis counts its memory before a script begins, so that the next call finds the room that this one makes.
  for _ = 1, MOST_SWEPT do evict_of_largest() end
  return -1
end

if artifact_bytes > 0 and owner then
  local room = room_bytes()
  local own_bound = math.min(room, max_kept_bytes or room * kept_share)
  make_room(owner, math.ceil(artifact_bytes * ALLOCATED), 0, own_bound, room)
end
for number, artifact in ipairs(artifacts) do
  redis.call('SET', job.artifacts .. (number - 1), artifact, 'EX', result_ttl_s)
end
if new_status == STATUS_CANCELLED and not is_cancelled then
  fields = failure('deadline_exceeded', 'The job took longer than Cancel-After.')
end
if new_status == STATUS_COMPLETED then
  local whole_s = string.format('%.6f', now_ms() / 1000 - started_s - cold_s)
  redis.call('LPUSH', times_key, work .. ' ' .. measured_s .. ' ' .. whole_s)
  redis.call('LTRIM', times_key, 0, most_times - 1)
end
finish(job, new_status, fields, artifact_bytes)
return redis.call('EXISTS', queued_key) == 1 and 1 or 2
