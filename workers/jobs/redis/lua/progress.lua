-- ARGV: job id, token, step, total_steps, then for a preview: image index, partial image index, picture.
-- Returns 'go on', 'cancel', or 'lost' when the claim no longer holds.
local keys = keys_of(ARGV[4])
local job = redis.call('HMGET', keys.job, 'token', 'cancel_requested', 'deadline')
if job[1] ~= ARGV[5] then return 'lost' end
local full = ARGV[10] and is_full()
even_if_full()
redis.call('HSET', keys.job, 'step', ARGV[6], 'total_steps', ARGV[7])
announce(keys, 'progress', 'step', ARGV[6], 'total_steps', ARGV[7])
if ARGV[10] and not full then
  announce(keys, 'preview', 'image_index', ARGV[8], 'partial_image_index', ARGV[9], 'picture', ARGV[10])
end
if job[2] or (job[3] and now_ms() > tonumber(job[3]) * 1000) then return 'cancel' end
return 'go on'
