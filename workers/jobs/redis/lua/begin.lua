-- ARGV: event id, token, hold_ms. An attempt begins, and counts even if the worker dies of it.
-- Returns {the attempt's own token, field, value, ...}, or {} when the claim no longer holds: a message that came too
-- late or twice.
local id, hold_ms = ARGV[1], tonumber(ARGV[3])
local due = tonumber(redis.call('ZSCORE', DELIVERIES, id) or -1)
if due ~= tonumber(ARGV[2]) or redis.call('EXISTS', DELIVERY .. id) == 0 then return {} end
local held = string.format('%.0f', math.max(now_ms() + hold_ms, due + 1))
redis.call('ZADD', DELIVERIES, held, id)
redis.call('HINCRBY', DELIVERY .. id, 'attempts', 1)
local stored = redis.call('HGETALL', DELIVERY .. id)
table.insert(stored, 1, held)
return stored
