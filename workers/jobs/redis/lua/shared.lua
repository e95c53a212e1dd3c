-- What the scripts share: the queue, events, and the one way in which a job ends.
-- Counts a job in or out of the graph's backlog: all waiting bytes, and each owner's waiting jobs and bytes. It is called
-- only where a job enters or leaves the queue, so the counts always agree with the queue.
local function count_backlog(job, sign)
  local record = redis.call('HMGET', job.hash, 'owner', 'bytes')
  local owner, bytes = record[1], record[2]
  if not bytes then return end
  for field, change in pairs({bytes = bytes, ['bytes:' .. owner] = bytes, ['jobs:' .. owner] = 1}) do
    if redis.call('HINCRBY', backlog_key, field, sign * change) <= 0 then redis.call('HDEL', backlog_key, field) end
  end
end

local function enter_queue(job, place)
  if redis.call('ZADD', queued_key, place, job.id) == 1 then count_backlog(job, 1) end
  add_work(job, place)
  enter_by_digest(job)
  add_waiting(job)
end

local function leave_queue(job)
  if redis.call('ZREM', queued_key, job.id) == 1 then count_backlog(job, -1) end
  remove_work(job)
  leave_by_digest(job)
  remove_waiting(job)
  -- An empty queue has no backlog, even if its jobs were removed by hand or by an older release.
  if redis.call('EXISTS', queued_key) == 0 then redis.call('DEL', backlog_key, by_digest_key, work_key) end
end

-- Deletes a webhook delivery and counts it out of what its owner keeps.
local function forget_delivery(id)
  local bytes, owner = string.match(redis.call('HGET', DELIVERY_SIZES_KEY, id) or '', '^(%d+) (.+)$')
  if owner then hold(owner, -bytes) end
  redis.call('HDEL', DELIVERY_SIZES_KEY, id)
  redis.call('ZREM', DELIVERIES_KEY, id)
  redis.call('ZREM', HELD_DELIVERIES_KEY, id)
  redis.call('DEL', DELIVERY_PREFIX .. id)
end

-- Writes the webhook delivery of an event if the client asked for it. The transition itself does so (a transactional
-- outbox): a process that dies afterwards loses no delivery. The id follows from the submission and the event's number.
local function write_delivery(job, kind, number)
  local wanted = redis.call('HGET', job.hash, 'webhook_events')
  if not wanted or not string.find(' ' .. wanted .. ' ', ' ' .. kind .. ' ', 1, true) then return end
  local record, now = redis.call('HMGET', job.hash, 'webhook_url', 'webhook_data', 'sequence', 'name', 'owner',
    'webhook_receiver'), now_ms()
  local id = 'evt_' .. string.sub(redis.sha1hex(job.id .. ' ' .. record[3] .. ' ' .. number), 1, 32)
  redis.call('HSET', DELIVERY_PREFIX .. id, 'job_id', record[4] or job.id, 'type', kind, 'created_at', seconds(now),
    'url', record[1], 'data', record[2], 'attempts', 0, 'owner', record[5] or '', 'receiver', record[6] or record[1])
  redis.call('EXPIRE', DELIVERY_PREFIX .. id, DELIVERY_TTL_S)
  redis.call('ZADD', DELIVERIES_KEY, now, id)
  if record[5] then
    local bytes = math.ceil(DELIVERY_OVERHEAD_BYTES + (#record[1] * 2 + #record[2]) * ALLOCATED)
    redis.call('HSET', DELIVERY_SIZES_KEY, id, whole(bytes) .. ' ' .. record[5])
    hold(record[5], bytes)
  end
  -- Where no webhook worker runs, old deliveries are removed here.
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', DELIVERIES_KEY, '-inf', now - DELIVERY_TTL_S * 1000, 'LIMIT', 0, 10)) do
    forget_delivery(old)
  end
end

-- Writes an event to the job's own stream, whose ids are the sequence numbers; to that of its owner's events, if the owner
-- is followed (follow.lua), without the picture; and to a common one, which wakes the API processes: that of ends those
-- with clients that wait, the other one only those with clients that follow jobs. values: name, number, ...
local function announce(job, kind, values, picture)
  local number, now = redis.call('HINCRBY', job.hash, 'events', 1), now_ms()
  local record = redis.call('HMGET', job.hash, 'owner', 'name')
  local event = {'type', kind, 'at_ms', now, unpack(values)}
  if record[1] then
    redis.call('XADD', owner_events(record[1]), 'NOMKSTREAM', 'MAXLEN', '~', OWNER_EVENTS_KEPT, '*',
      'job_id', record[2] or job.id, 'number', number, unpack(event))
  end
  if picture then event[#event + 1], event[#event + 2] = 'picture', picture end
  redis.call('XADD', job.events, number .. '-0', unpack(event))
  redis.call('XADD', IS_FINAL[kind] and EVENTS_KEY or STEPS_KEY, 'MAXLEN', '~', 10000, '*', 'job_id', job.id, 'type', kind,
    'owner', record[1] or '')
  write_delivery(job, kind, number)
end

local function announce_queued(job)
  announce(job, STATUS_QUEUED, {'queue_position', redis.call('ZRANK', queued_key, job.id)})
end

-- Notes a job that failed among the last ones of its graph, for administrators: ID {"owner", "worker", "code",
-- "message"} by the time of its end. At most MOST_FAILURES are kept, with the beginning of their messages, and none for
-- longer than a record.
local MOST_FAILURES, LONGEST_MESSAGE_BYTES = 100, 500
local function note_failure(job, fields, now)
  local record, found = redis.call('HMGET', job.hash, 'owner', 'worker'), {}
  for i = 1, #fields, 2 do
    if fields[i] == 'error' then found = read_error(fields[i + 1]) end
  end
  local message = found.message or ''
  if #message > LONGEST_MESSAGE_BYTES then
    -- The last character may have been cut in two.
    message = string.gsub(string.sub(message, 1, LONGEST_MESSAGE_BYTES), '[\192-\255][\128-\191]*$', '') .. '...'
  end
  local noted = {owner = record[1] or '', worker = record[2] or '', code = found.code or '', message = message}
  redis.call('ZADD', failures_key, now, job.id .. ' ' .. cjson.encode(noted))
  redis.call('ZREMRANGEBYSCORE', failures_key, '-inf', now - record_ttl_s * 1000)
  local surplus = redis.call('ZCARD', failures_key) - MOST_FAILURES
  if surplus > 0 then redis.call('ZREM', failures_key, unpack(redis.call('ZRANGE', failures_key, 0, surplus - 1))) end
  redis.call('EXPIRE', failures_key, record_ttl_s)
end

local function forget_failure(job)
  for _, noted in ipairs(redis.call('ZRANGE', failures_key, 0, -1)) do
    if string.sub(noted, 1, #job.id + 1) == job.id .. ' ' then redis.call('ZREM', failures_key, noted) end
  end
end

-- Ends a job: its input images are deleted, its record stays for record_ttl_s and its artifacts for result_ttl_s.
local function finish(job, status, fields, artifact_bytes)
  fields = count_end(job, status, fields)
  local now = now_ms()
  keep_ended(job, status, fields, artifact_bytes or 0, now)
  -- A note never stops a transition.
  if status == STATUS_FAILED then pcall(note_failure, job, fields, now) end
  redis.call('HSET', job.hash, 'status', status, 'completed_at', seconds(now),
    'expires_at', seconds(now + result_ttl_s * 1000), unpack(fields))
  redis.call('HDEL', job.hash, 'token', 'nonce')
  redis.call('DEL', job.image, job.mask)
  leave_running(job)
  leave_queue(job)
  announce(job, status, {})
  redis.call('EXPIRE', job.hash, record_ttl_s)
  local named = redis.call('HMGET', job.hash, 'owner', 'name')
  if named[2] then redis.call('EXPIRE', NAME_PREFIX .. named[1] .. ':' .. named[2], record_ttl_s) end
  redis.call('EXPIRE', job.events, math.min(result_ttl_s, record_ttl_s))
end

-- Puts a running job back to its old place in the queue and ends its claim.
local function requeue(job, place)
  list_as(job, STATUS_QUEUED, STATUS_IN_PROGRESS)
  redis.call('HSET', job.hash, 'status', STATUS_QUEUED, 'step', 0)
  redis.call('HDEL', job.hash, 'token', 'worker', 'nonce')
  leave_running(job)
  enter_queue(job, place)
  announce_queued(job)
end

-- Returns the fields of a job's error.
local function failure(code, message)
  return {'error', cjson.encode({code = code, message = message})}
end

-- Fails a job that several workers died of, before it costs another one.
local function fail_as_crashed(job, attempts)
  finish(job, STATUS_FAILED,
    failure('worker_crashed', 'The worker died ' .. attempts .. ' times while it ran this job.'))
end

-- Sends a message that makes a worker take the next job, unless one waits already: the worker that takes it takes job after
-- job, and sends the next message where more wait (claim.lua). message: as Celery and Kombu write it, or '' for none.
local function wake(messages, message)
  if message ~= '' and redis.call('LLEN', messages) == 0 then redis.call('LPUSH', messages, message) end
end
