-- An API process says which models it lists now: ``models`` as DIGEST GRAPH, ``graphs`` by name; ``removed`` are graphs that
-- it has stopped to list. A graph is removed from when the first process stops until any one lists it again.
-- Returns the count of reloads that were asked for, then {graph, milliseconds since it was removed, ...}.
local KEPT_MS = 3600 * 1000
local now = now_ms()
write_even_if_full()
for _, model in ipairs(models) do redis.call('ZADD', listed_key, now, model) end
for _, graph in ipairs(removed) do redis.call('HSETNX', removed_key, graph, now) end
if #graphs > 0 then redis.call('HDEL', removed_key, unpack(graphs)) end
redis.call('ZREMRANGEBYSCORE', listed_key, '-inf', now - KEPT_MS)
redis.call('EXPIRE', listed_key, KEPT_MS / 1000)
local since = redis.call('HGETALL', removed_key)
for i = 2, #since, 2 do since[i] = now - tonumber(since[i]) end
return {tonumber(redis.call('GET', reloads_key) or 0), since}
