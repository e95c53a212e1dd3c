-- Removes the state of a worker that shuts down; another one reaps the jobs of its graph.
write_even_if_full()
redis.call('HDEL', WORKERS_KEY, worker)
for _, key in ipairs({WORKERS_SEEN_KEY, ready_key, ready_own_key}) do redis.call('ZREM', key, worker) end
if redis.call('GET', reaper_key) == worker then redis.call('DEL', reaper_key) end
return 1
