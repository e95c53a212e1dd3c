-- Claims up to ``limit`` deliveries that are due: no other process takes them for hold_ms.
-- Returns {id, token, id, token, ...}; a token is the time at which the claim ends.
local claimed, now = {}, now_ms()
for _, id in ipairs(redis.call('ZRANGEBYSCORE', DELIVERIES_KEY, '-inf', now, 'LIMIT', 0, limit)) do
  if redis.call('EXISTS', DELIVERY_PREFIX .. id) == 0 then
    redis.call('ZREM', DELIVERIES_KEY, id)
  else
    local held_until = string.format('%.0f', now + hold_ms)
    redis.call('ZADD', DELIVERIES_KEY, held_until, id)
    claimed[#claimed + 1] = id
    claimed[#claimed + 1] = held_until
  end
end
return claimed
