-- Claims the first job of the queue that a worker process may draw: one with the digest of its model, or with none.
-- digest: '' for a worker that draws jobs of every digest. nonce: one for each claim that is asked for.
-- counted: what is added to the graph's metrics: field, number, ... message: wakes a further worker where more jobs wait
-- (shared.lua).
-- Returns {job id, token, input image, mask, whether more jobs wait (1 or 0), field, value, ...}, or {} when no job waits.
-- The token proves in every later call that the claim still holds.

-- A call with a known nonce repeats one whose reply was lost; it returns the same claim.
local CLAIM_KEPT_S = 600
local function claimed(job, token)
  local found = {job.id, token, redis.call('GET', job.image) or '', redis.call('GET', job.mask) or '',
    #first_of(digest) > 0 and 1 or 0}
  for _, text in ipairs(redis.call('HGETALL', job.hash)) do found[#found + 1] = text end
  return found
end

local last_id = redis.call('GET', claim_key)
if last_id then
  local record = redis.call('HMGET', job_keys(last_id).hash, 'nonce', 'token')
  if record[1] == nonce and record[2] then return claimed(job_keys(last_id), record[2]) end
end

write_even_if_full()
for i = 1, #counted, 2 do count(counted[i], counted[i + 1]) end
if redis.call('EXISTS', paused_key) == 1 then return {} end
while true do
  local first = first_of(digest)
  if #first == 0 then return {} end
  local job, place = job_keys(first[1]), tonumber(first[2])
  local record = redis.call('HMGET', job.hash, 'status', 'attempts', 'start_by', 'deadline', 'device_faults')
  local attempts, own_attempts, now = tonumber(record[2] or 0), (record[2] or 0) - (record[5] or 0), now_ms()
  local latest_start_s = math.min(tonumber(record[3] or 1e300), tonumber(record[4] or 1e300))
  if record[1] ~= STATUS_QUEUED then
    leave_queue(job)
  elseif now > latest_start_s * 1000 then
    finish(job, STATUS_CANCELLED, failure('deadline_exceeded', 'No client waited for this job any longer.'))
  elseif own_attempts >= max_attempts then
    fail_as_crashed(job, own_attempts)
  else
    local rank = math.floor(place / 1e12)
    -- A job that returned to its old place does not turn the clock back, and one that was moved to the front has none.
    if rank > FRONT_RANK then
      local clock = math.max(place - rank * 1e12, tonumber(redis.call('HGET', fairness_key, 'clock:' .. rank) or 0))
      redis.call('HSET', fairness_key, 'clock:' .. rank, string.format('%.17g', clock))
    end
    local token = worker .. '/' .. (attempts + 1)
    redis.call('HSET', job.hash, 'status', STATUS_IN_PROGRESS, 'worker', worker, 'token', token,
      'nonce', nonce, 'attempts', attempts + 1, 'started_at', seconds(now), 'step', 0)
    redis.call('SET', claim_key, job.id, 'EX', CLAIM_KEPT_S)
    enter_running(job, now + lease_ms)
    leave_queue(job)
    list_as(job, STATUS_IN_PROGRESS, STATUS_QUEUED)
    announce(job, STATUS_IN_PROGRESS, {'attempt', attempts + 1})
    count_attempt(job)
    local claim = claimed(job, token)
    if claim[5] == 1 then wake(messages_key, message) end
    return claim
  end
end
