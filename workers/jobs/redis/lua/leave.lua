-- Removes the state of a worker that shuts down; another one reaps the jobs of its graph.
write_even_if_full()
if redis.call('HDEL', WORKERS_KEY, worker) == 1 then redis.call('ZADD', WORKERS_CHANGED_KEY, now_ms(), worker) end
for _, key in ipairs({WORKERS_SEEN_KEY, ready_key, ready_own_key}) do redis.call('ZREM', key, worker) end
if redis.call('GET', reaper_key) == worker then redis.call('DEL', reaper_key) end
return 1
