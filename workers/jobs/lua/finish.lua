-- ARGV: job id, token, status, record_ttl_s, result_ttl_s, number of pictures, pictures..., field, value, ...
-- KEYS[7...]: where the pictures go. Returns 1, or 0 when the claim no longer holds.
local job_id, token, status = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HGET', keys.job, 'token') ~= token then return 0 end
local pictures = tonumber(ARGV[6])
for i = 1, pictures do redis.call('SET', KEYS[6 + i], ARGV[6 + i], 'EX', ARGV[5]) end
local fields = {}
for i = 7 + pictures, #ARGV do fields[#fields + 1] = ARGV[i] end
finish(keys, job_id, status, tonumber(ARGV[4]), fields)
return 1
