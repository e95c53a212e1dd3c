-- KEYS[5]: the graph's pace; KEYS[6...]: where the pictures go.
-- ARGV: job id, token, status, number of pictures, pictures..., field, value, ...
-- Returns 1, 0 when the claim no longer holds, or -1 when there is no room for the pictures.
local keys = keys_of(ARGV[4])
local job = redis.call('HMGET', keys.job, 'token', 'cost', 'started_at', 'deadline', 'cancel_requested')
if job[1] ~= ARGV[5] then return 0 end
local status, pictures, fields = ARGV[6], tonumber(ARGV[7]), {}
-- A job ends in a full Redis all the same where its own inputs make the room.
local needed = -redis.call('STRLEN', keys.image) - redis.call('STRLEN', keys.mask)
for i = 1, pictures do needed = needed + #ARGV[7 + i] end
if needed > 0 and is_full() then
  if not job[5] then return -1 end
  status, pictures = 'cancelled', 0
end
even_if_full()
for i = 1, pictures do redis.call('SET', KEYS[5 + i], ARGV[7 + i], 'EX', keys.result_ttl_s) end
for i = 8 + tonumber(ARGV[7]), status == ARGV[6] and #ARGV or 0 do fields[#fields + 1] = ARGV[i] end
if status == 'cancelled' and not job[5] then fields = failure('deadline_exceeded', 'The job took longer than Cancel-After.') end
if status == 'completed' then
  -- The average forgets slowly: a quarter of it is always the last job.
  local pace = (now_ms() / 1000 - tonumber(job[3])) / math.max(tonumber(job[2] or 1), 1e-6)
  local before = tonumber(redis.call('GET', KEYS[5]) or pace)
  redis.call('SET', KEYS[5], string.format('%.6g', before + (pace - before) / 4))
end
finish(keys, status, fields)
return 1
