-- Reads jobs that wait, in the order of the queue, for administrators: nothing of what they ask for but its amount.
-- Changes nothing. after: the id of the job before the first of them, '' for the first jobs; most: how many.
-- Returns {how many jobs are before the first of them, how many wait, {id, place, owner, time of submission, priority,
-- work, cost}, ...}; {} where the graph ``of_graph`` has no job with the id ``after``.
local before = 0
if after ~= '' then
  local record = redis.call('HMGET', job_keys(after).hash, 'place', 'request')
  local rank, place, request = redis.call('ZRANK', queued_key, after), record[1], record[2]
  -- A place says nothing about the queue of another graph.
  if not place or not (rank or request and cjson.decode(request).graph == of_graph) then return {} end
  -- Where it waits no longer, its place says what follows; jobs with the same place are shown again.
  before = rank and rank + 1 or redis.call('ZCOUNT', queued_key, '-inf', '(' .. place)
end
local found = {before, redis.call('ZCARD', queued_key)}
local waiting = redis.call('ZRANGE', queued_key, before, before + most - 1, 'WITHSCORES')
for i = 1, #waiting, 2 do
  local record = redis.call('HMGET', job_keys(waiting[i]).hash, 'owner', 'created_at', 'options', 'work', 'cost')
  local options = record[3] and cjson.decode(record[3]) or {}
  found[#found + 1] = {
    waiting[i], waiting[i + 1], record[1] or '', record[2] or '0', options.priority or '', record[4] or '',
    record[5] or '0',
  }
end
return found
