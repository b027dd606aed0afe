-- Publishes the new entry. The topic of the group gets the event as always, and the topic beside it a notice just
-- before.
--
-- ARGV 12 the topic beside it   13 the topic of the group
redis.call('PUBLISH', ARGV[12], 'l' .. e .. ':' .. string.format('%.0f', s) .. ':' .. ARGV[9] .. t)
return {e, s, t, other, redis.call('PUBLISH', ARGV[13], ARGV[8])}
