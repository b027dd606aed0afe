-- Appends an event to the log of a group. The scripts that also bring it to other processes have this in front.
--
-- KEYS 1 the log's state: a hash of its epoch e, its newest offset s with its tag t, and its policy p
--      2 its entries: a stream with the ids <offset>-0
-- ARGV 1 an epoch that no log has had: 16 hexadecimal digits
--      2, 3, 4 epoch, offset and tag of the newest entry that this process has seen; all empty if it has seen none
--      5 how many entries are kept   6, 7 the lifetimes of the entries and of the state, in seconds
--      8 the event   9 the tag of the new entry: 3 random bytes   10 8 more, which name this very append
--      11 the policy, as a text
local NONE = '\0\0\0'
local now = redis.call('TIME')[1]
local had = redis.call('HMGET', KEYS[1], 'e', 's', 't', 'p')
local e, s, t = had[1], tonumber(had[2] or 0) or 0, had[3] or NONE
local seen = tonumber(ARGV[3]) or 0
-- The log is new, or the server has lost entries that this process has seen: both are a new epoch. What is left of the log
-- stays in it.
if not e then e, s, t = ARGV[1], 0, NONE end
if e == ARGV[2] and (s < seen or (s == seen and t ~= ARGV[4])) then e = ARGV[1] end
s = s + 1
local function add()
  -- This comes first, because Redis refuses a script for lack of memory only before it has written.
  redis.call('HSET', KEYS[1], 'e', e, 's', s, 't', ARGV[9], 'p', ARGV[11])
  if s == 1 then redis.call('DEL', KEYS[2]) end
  local head = ARGV[9] .. t .. ARGV[10] .. struct.pack('>I4', now)
  return redis.pcall('XADD', KEYS[2], 'MAXLEN', ARGV[5], string.format('%.0f-0', s), 'd', head .. ARGV[8])
end
local added = add()
if type(added) == 'table' and s > 1 then
  -- The stream does not belong to this state.
  e, s, t = ARGV[1], 1, NONE
  added = add()
end
if type(added) == 'table' then return redis.error_reply(added.err) end
redis.call('EXPIRE', KEYS[2], ARGV[6])
redis.call('EXPIRE', KEYS[1], ARGV[7])
local other = had[4] and had[4] ~= ARGV[11] and had[4] or ''
