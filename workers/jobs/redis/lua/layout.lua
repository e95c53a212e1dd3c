-- KEYS: the layout's version, then keys that every version has had.
-- ARGV: the version of the process that calls, then the Redis type of each of those keys.
-- Compares the version, and writes it where there is none. Returns {outcome, what was found}: 'same', 'other' (another
-- version), 'foreign' (a key of another program), 'carried over' (data without a version) or 'new' (no data).
local found = redis.call('GET', KEYS[1])
if found then return {found == ARGV[1] and 'same' or 'other', found} end

local outcome = 'new'
for i = 2, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'none' then
    if kind ~= ARGV[i] then return {'foreign', KEYS[i]} end
    outcome = 'carried over'
  end
end
-- A write that takes no memory comes first: a full Redis then accepts the next one as well (prelude.lua).
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
return {outcome, ARGV[1]}
