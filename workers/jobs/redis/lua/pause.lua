-- Pauses a graph, so that no job of it is claimed (is_paused 1), or resumes it (0), which wakes a worker (shared.lua). Jobs that
-- run go on, and further ones are accepted.
-- Returns 1 where that changed anything.
write_even_if_full()
local was_paused = redis.call('EXISTS', paused_key)
if is_paused == 1 then
  if was_paused == 0 then redis.call('SET', paused_key, seconds(now_ms())) end
  return 1 - was_paused
end
redis.call('DEL', paused_key)
if was_paused == 1 and redis.call('EXISTS', queued_key) == 1 then wake(messages_key, message) end
return was_paused
