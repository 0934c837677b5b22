-- Counts the messages that are not handled yet, wherever they are.
-- KEYS: data, done, dead
return redis.call('HLEN', KEYS[1]) - redis.call('SCARD', KEYS[2]) - redis.call('SCARD', KEYS[3])
