-- Returns what the stream of an owner's events has after an entry, at most so many entries, and keeps the stream for
-- half of OWNER_EVENTS_LIFE_S at least. Only the streams of owners who are followed exist: announce (shared.lua) makes
-- none.
-- after: the id of an entry; '' for a client that begins at the end. Returns {first id, last id, entries}.
write_even_if_full()
if redis.call('EXISTS', owner_events_key) == 0 then redis.call('XADD', owner_events_key, '*', 'type', 'start') end
if redis.call('TTL', owner_events_key) < OWNER_EVENTS_LIFE_S / 2 then
  redis.call('EXPIRE', owner_events_key, OWNER_EVENTS_LIFE_S)
end
local first = redis.call('XRANGE', owner_events_key, '-', '+', 'COUNT', 1)[1][1]
local last = redis.call('XREVRANGE', owner_events_key, '+', '-', 'COUNT', 1)[1][1]
local found = {}
if after ~= '' then found = redis.call('XRANGE', owner_events_key, '(' .. after, '+', 'COUNT', most) end
return {first, last, found}
