-- Keeps an answer, and ends the claim if it is still the caller's. A failure takes the place of no answer, however old
-- that is; an entry's first byte says what it is.
-- KEYS: answer, claim. ARGV: entry, milliseconds, token, 1 if it is no failure.
local known = redis.call('GETRANGE', KEYS[1], 0, 0)
if ARGV[4] == '1' or known == '' or known == string.sub(ARGV[1], 1, 1) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
if redis.call('GET', KEYS[2]) == ARGV[3] then
  redis.call('DEL', KEYS[2])
end
return 1
