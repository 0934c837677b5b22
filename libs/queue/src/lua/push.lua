-- Adds messages in the form in which apalis-redis 1.0.0 keeps them, but straight to the list of what is ready: apalis
-- itself schedules each message for the second of the pusher's clock, and fetching fails at 8,000 that are due.
-- KEYS: data, active list, prefix of meta data, done, dead
-- ARGV: most messages, channel, then id and payload of each message
-- Gives the number of messages added, or -1 if there is no room for all.
local waiting = redis.call('HLEN', KEYS[1]) - redis.call('SCARD', KEYS[4]) - redis.call('SCARD', KEYS[5])
local new = 0
for i = 3, #ARGV, 2 do
    new = new + 1 - redis.call('HEXISTS', KEYS[1], ARGV[i])
end
if waiting + new > tonumber(ARGV[1]) then
    return -1
end
local added = 0
for i = 3, #ARGV, 2 do
    local id = ARGV[i]
    if redis.call('HSETNX', KEYS[1], id, ARGV[i + 1]) == 1 then
        redis.call('HSET', KEYS[3] .. ':' .. id, 'attempts', 0, 'max_attempts', 25, 'status', 'Pending')
        redis.call('RPUSH', KEYS[2], id)
        added = added + 1
    end
end
if added > 0 then
    redis.call('PUBLISH', ARGV[2], added)
end
return added
