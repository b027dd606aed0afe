-- Notes events that are in no log.
--
-- KEYS 1 the log's state; w in it is the newest mark of such events
-- ARGV 1 the mark of the newest event   2 the lifetime of the state in seconds
--      3 1 if nobody else has these events, so that nobody who was away has missed none of them; otherwise 0
local had = tonumber(redis.call('HGET', KEYS[1], 'w') or '') or -math.huge
local mark = tonumber(ARGV[1])
if ARGV[3] == '1' then
  mark = math.max(had, mark, 0)
  mark = mark + math.max(mark * 2.3e-16, 1e-9)
elseif had >= mark then
  return 0
end
redis.call('HSET', KEYS[1], 'w', string.format('%.17g', mark))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
