-- Keeps an answer, and ends the claim if it is still the caller's.
-- KEYS: answer, claim. ARGV: entry, milliseconds, token.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if redis.call('GET', KEYS[2]) == ARGV[3] then
  redis.call('DEL', KEYS[2])
end
return 1
