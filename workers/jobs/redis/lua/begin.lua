-- Begins an attempt of a delivery. It counts even if the worker dies during it.
-- Returns {the token of the attempt, field, value, ...}, or {} when the claim no longer holds, because the message came
-- too late or twice.
local delivery = DELIVERY_PREFIX .. event_id
local due = tonumber(redis.call('ZSCORE', DELIVERIES_KEY, event_id) or -1)
if due ~= tonumber(token) or redis.call('EXISTS', delivery) == 0 then return {} end
local held_until = string.format('%.0f', math.max(now_ms() + hold_ms, due + 1))
redis.call('ZADD', DELIVERIES_KEY, held_until, event_id)
redis.call('ZADD', HELD_DELIVERIES_KEY, held_until, event_id)
redis.call('HINCRBY', delivery, 'attempts', 1)
local stored = redis.call('HGETALL', delivery)
table.insert(stored, 1, held_until)
return stored
