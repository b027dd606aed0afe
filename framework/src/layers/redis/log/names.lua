-- Does nothing if the group has other names now than the caller knows. The script that writes to queues begins with this.
--
-- KEYS 3 the names of the group
-- ARGV 16 `=` and the names that the caller knows, in their order, with spaces between them; empty if it has just looked
--      17 the time before which names have expired
if ARGV[16] ~= '' then
  local names = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[17], '+inf')
  if '=' .. table.concat(names, ' ') ~= ARGV[16] then return {} end
end
