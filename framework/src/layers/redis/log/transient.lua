-- Publishes an event of a Greenroom process that is not kept. A notice just before says whose it is.
--
-- ARGV 1 the topic beside that of the group   2 the topic of the group   3 the event
redis.call('PUBLISH', ARGV[1], 't')
return redis.call('PUBLISH', ARGV[2], ARGV[3])
