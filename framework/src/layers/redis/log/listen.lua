-- Says to all who listen to a group that one more process does. All count the events without a notice from there on,
-- each with the same numbers, which are greater than all before.
--
-- KEYS 1 the log's state; j in it is the number of the last process
-- ARGV 1 the topic beside that of the group   2 the lifetime of the state in seconds
local j = math.max((tonumber(redis.call('HGET', KEYS[1], 'j') or 0) or 0) + 1, tonumber(redis.call('TIME')[1]))
j = string.format('%.0f', j)
redis.call('HSET', KEYS[1], 'j', j)
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[1], 'j' .. j)
return j
