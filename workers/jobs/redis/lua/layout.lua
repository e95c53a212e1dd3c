-- Compares the version of the layout, and writes it where there is none.
-- The data of older_versions can be used as it is.
-- Returns {outcome, what was found, 1 where jobs of an older layout are still to be counted (adopt.lua)}: 'same', 'other' (another version), 'foreign' (a key of another program),
-- 'carried over' (data of an older version, or without one) or 'new' (no data).
local found = redis.call('GET', LAYOUT_KEY)
local is_older = false
for _, older in ipairs(older_versions) do is_older = is_older or older == found end
if found and not is_older then return {found == version and 'same' or 'other', found, redis.call('EXISTS', ADOPTION_KEY)} end

local outcome = is_older and 'carried over' or 'new'
-- Every version has had these keys, with these types: they prove that the data is this service's.
for key, known_kind in pairs({[SEQUENCE_KEY] = 'string', [EVENTS_KEY] = 'stream', [WORKERS_KEY] = 'hash'}) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' then
    if kind ~= known_kind then return {'foreign', key, 0} end
    outcome = 'carried over'
  end
end
-- A full Redis accepts the second write because the first one takes no memory (shared.lua, write_even_if_full).
redis.call('DEL', LAYOUT_KEY)
redis.call('SET', LAYOUT_KEY, version)
-- Workers of an older layout go; those of this one say so again (heartbeat.lua).
if is_older then redis.call('DEL', WORKERS_KEY) end
if outcome == 'carried over' then redis.call('SET', ADOPTION_KEY, 1) end
return {outcome, version, redis.call('EXISTS', ADOPTION_KEY)}
