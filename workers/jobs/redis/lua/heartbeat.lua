-- Publishes the state of a worker (observe/presence.py). digests: those of live workers of its graph that this process
-- knows of, '' for one that draws jobs of every digest.
write_even_if_full()
for _, digest in ipairs(digests) do
  redis.call('ZADD', digests_key, now_ms(), digest == '' and ANY_DIGEST or digest)
end
return redis.call('HSET', WORKERS_KEY, worker, presence)
