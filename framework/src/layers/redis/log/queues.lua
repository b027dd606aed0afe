-- Brings the new entry to the queues of processes, each up to its capacity.
--
-- KEYS 4 and more: the queues
-- ARGV 12 the score of the messages   13 the time before which messages have expired   14 their lifetime in seconds
--      15 with what the messages to Greenroom's processes begin
--      18 and more: for each queue its message, then for each its capacity, then for each 1 if it belongs to a process
--      of Greenroom, otherwise 0
local n, full, failed, why = #KEYS - 3, 0, 0, ''
local mark = ARGV[15] .. e .. ':' .. string.format('%.0f', s) .. ':' .. ARGV[9] .. t
for i = 1, n do
  local key, message = KEYS[3 + i], ARGV[17 + i]
  if ARGV[17 + 2 * n + i] == '1' then message = mark .. message end
  local done = redis.pcall('ZCOUNT', key, 0, ARGV[13])
  if type(done) == 'number' and done > 0 then done = redis.pcall('ZREMRANGEBYSCORE', key, 0, ARGV[13]) end
  if type(done) == 'number' then
    if redis.call('ZCARD', key) >= tonumber(ARGV[17 + n + i]) then
      full = full + 1
    else
      done = redis.pcall('ZADD', key, ARGV[12], message)
      if type(done) == 'number' then redis.call('EXPIRE', key, ARGV[14]) end
    end
  end
  if type(done) == 'table' then failed, why = failed + 1, key .. ': ' .. done.err end
end
return {e, s, t, other, full, failed, why}
