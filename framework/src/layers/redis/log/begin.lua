-- Begins a new epoch, if the log has none, or if it has lost entries that this process has seen. What is left of the log
-- stays in it.
--
-- KEYS 1 the log's state   2 its entries
-- ARGV 1 an epoch that no log has had   2, 3, 4 epoch, offset and tag of the newest entry that this process has seen
--      5 the lifetime of the state in seconds
local NONE = '\0\0\0'
local had = redis.call('HMGET', KEYS[1], 'e', 's', 't')
local s, seen = tonumber(had[2] or 0) or 0, tonumber(ARGV[3]) or 0
local lost = not had[1]
if had[1] and had[1] == ARGV[2] then
  if s < seen then
    lost = true
  elseif s == seen then
    lost = (had[3] or NONE) ~= ARGV[4]
  elseif seen > 0 then
    -- Another process has gone on from the older state. The entry itself says so, or the next one.
    local next = string.format('%.0f-0', seen + 1)
    for _, entry in ipairs(redis.call('XRANGE', KEYS[2], ARGV[3] .. '-0', next)) do
      local from = entry[1] == next and 4 or 1
      if string.sub(entry[2][2], from, from + 2) ~= ARGV[4] then lost = true end
    end
  end
end
if not lost then return 0 end
redis.call('HSET', KEYS[1], 'e', ARGV[1])
if not had[1] then
  redis.call('HSET', KEYS[1], 's', 0, 't', NONE)
  redis.call('DEL', KEYS[2])
end
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
