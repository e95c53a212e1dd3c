-- Publishes the state of a worker (observe/presence.py).
write_even_if_full()
return redis.call('HSET', WORKERS_KEY, worker, presence)
