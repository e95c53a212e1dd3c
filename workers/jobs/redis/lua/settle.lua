-- Ends an attempt of a delivery: it is due again after delay_ms, or deleted when there is none.
-- Returns 1, or 0 when the claim no longer holds.
if tonumber(redis.call('ZSCORE', DELIVERIES_KEY, event_id) or -1) ~= tonumber(token) then return 0 end
if delay_ms then
  redis.call('ZREM', HELD_DELIVERIES_KEY, event_id)
  redis.call('ZADD', DELIVERIES_KEY, string.format('%.0f', now_ms() + delay_ms), event_id)
else
  forget_delivery(event_id)
end
return 1
