-- ARGV: event id, token, delay_ms or '' for never again. An attempt ends. Returns 1, or 0 when its claim no longer holds.
local id = ARGV[1]
if tonumber(redis.call('ZSCORE', DELIVERIES, id) or -1) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '' then
  redis.call('ZREM', DELIVERIES, id)
  redis.call('DEL', DELIVERY .. id)
else
  redis.call('ZADD', DELIVERIES, string.format('%.0f', now_ms() + tonumber(ARGV[3])), id)
end
return 1
