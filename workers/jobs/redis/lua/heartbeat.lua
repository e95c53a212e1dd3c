-- KEYS[5]: the workers.   ARGV: a worker's name, its heartbeat.
even_if_full()
return redis.call('HSET', KEYS[5], ARGV[4], ARGV[5])
