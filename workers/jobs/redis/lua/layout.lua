-- Compares the version of the layout, and writes it where there is none.
-- known_keys: keys that every version has had; known_types: their Redis types.
-- Returns {outcome, what was found}: 'same', 'other' (another version), 'foreign' (a key of another program),
-- 'carried over' (data without a version) or 'new' (no data).
local found = redis.call('GET', layout_key)
if found then return {found == version and 'same' or 'other', found} end

local outcome = 'new'
for i, key in ipairs(known_keys) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' then
    if kind ~= known_types[i] then return {'foreign', key} end
    outcome = 'carried over'
  end
end
-- A full Redis accepts the second write because the first one takes no memory (shared.lua, write_even_if_full).
redis.call('DEL', layout_key)
redis.call('SET', layout_key, version)
return {outcome, version}
