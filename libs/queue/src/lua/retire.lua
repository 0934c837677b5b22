-- Clears up after a worker that has ended. What it had taken and not acknowledged waits again, first in line: apalis
-- would leave it until the worker counts as dead.
-- KEYS: workers, the worker's messages, active list, the worker's description. ARGV: the worker's name, channel
-- Gives the number of messages that wait again.
local ids = redis.call('SMEMBERS', KEYS[2])
for _, id in ipairs(ids) do
    redis.call('LPUSH', KEYS[3], id)
end
redis.call('DEL', KEYS[2], KEYS[4])
redis.call('ZREM', KEYS[1], ARGV[1])
if #ids > 0 then
    redis.call('PUBLISH', ARGV[2], #ids)
end
return #ids
