-- KEYS[4]: the graph's pace; KEYS[5...]: where the pictures go.
-- ARGV: job id, token, status, number of pictures, pictures..., field, value, ...
-- Returns 1, or 0 when the claim no longer holds.
local keys = keys_of(ARGV[4])
local job = redis.call('HMGET', keys.job, 'token', 'cost', 'started_at', 'deadline', 'cancel_requested')
if job[1] ~= ARGV[5] then return 0 end
local status, pictures, fields = ARGV[6], tonumber(ARGV[7]), {}
for i = 1, pictures do redis.call('SET', KEYS[4 + i], ARGV[7 + i], 'EX', keys.result_ttl_s) end
for i = 8 + pictures, #ARGV do fields[#fields + 1] = ARGV[i] end
if status == 'cancelled' and not job[5] then fields = failure('deadline_exceeded', 'The job took longer than Cancel-After.') end
if status == 'completed' then
  -- The average forgets slowly: a quarter of it is always the last job.
  local pace = (now_ms() / 1000 - tonumber(job[3])) / math.max(tonumber(job[2] or 1), 1e-6)
  local before = tonumber(redis.call('GET', KEYS[4]) or pace)
  redis.call('SET', KEYS[4], string.format('%.6g', before + (pace - before) / 4))
end
finish(keys, status, fields)
return 1
