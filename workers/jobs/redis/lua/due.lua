-- Claims up to ``limit`` deliveries that are due: no other process takes them for hold_ms. Owners take turns; at most
-- per_owner deliveries of an owner and per_receiver to a receiver are claimed at a time, over all processes.
-- Returns {id, token, id, token, ...}; a token is the time at which the claim ends.
local READ, POSTPONED_MS = 10000, 2000
local now, claims_of, waiting, claimed = now_ms(), {}, {}, {}

local function parties(id)
  local record = redis.call('HMGET', DELIVERY_PREFIX .. id, 'url', 'owner', 'receiver')
  return record[1] and {id = id, owner = 'owner ' .. (record[2] or ''), receiver = 'at ' .. (record[3] or record[1])}
end

local function count_claim(delivery)
  claims_of[delivery.owner] = (claims_of[delivery.owner] or 0) + 1
  claims_of[delivery.receiver] = (claims_of[delivery.receiver] or 0) + 1
end

redis.call('ZREMRANGEBYSCORE', HELD_DELIVERIES_KEY, '-inf', now)
for _, id in ipairs(redis.call('ZRANGE', HELD_DELIVERIES_KEY, 0, -1)) do
  local held = parties(id)
  if held then count_claim(held) end
end
local due = redis.call('ZRANGEBYSCORE', DELIVERIES_KEY, '-inf', now, 'LIMIT', 0, READ)
for _, id in ipairs(due) do
  local delivery = parties(id)
  if delivery then waiting[#waiting + 1] = delivery else forget_delivery(id) end
end

local held_until = string.format('%.0f', now + hold_ms)
for turn = 1, per_owner do
  for _, delivery in ipairs(waiting) do
    local is_free = (claims_of[delivery.owner] or 0) < turn and (claims_of[delivery.receiver] or 0) < per_receiver
    if is_free and not delivery.is_claimed and #claimed < 2 * limit then
      delivery.is_claimed = true
      count_claim(delivery)
      redis.call('ZADD', DELIVERIES_KEY, held_until, delivery.id)
      redis.call('ZADD', HELD_DELIVERIES_KEY, held_until, delivery.id)
      claimed[#claimed + 1] = delivery.id
      claimed[#claimed + 1] = held_until
    end
  end
end

-- More may be due than was read: those that have to wait make room for what is behind them.
if #due == READ then
  for _, delivery in ipairs(waiting) do
    if not delivery.is_claimed then redis.call('ZADD', DELIVERIES_KEY, now + POSTPONED_MS, delivery.id) end
  end
end
return claimed
