-- ARGV: hold_ms, how many at most. Claims deliveries that are due: none else is to take them for hold_ms.
-- Returns {id, token, id, token, ...}.
local claimed, now = {}, now_ms()
for _, id in ipairs(redis.call('ZRANGEBYSCORE', DELIVERIES, '-inf', now, 'LIMIT', 0, ARGV[2])) do
  if redis.call('EXISTS', DELIVERY .. id) == 0 then
    redis.call('ZREM', DELIVERIES, id)
  else
    local held = string.format('%.0f', now + tonumber(ARGV[1]))
    redis.call('ZADD', DELIVERIES, held, id)
    claimed[#claimed + 1] = id
    claimed[#claimed + 1] = held
  end
end
return claimed
