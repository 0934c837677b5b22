-- Prepares for a new worker. apalis keeps a worker's description for ever, but a time to live that it has already stays.
-- And it ends each worker that fetches a message without payload or meta data, again and again: those are dropped.
-- KEYS: the worker's description, active list, data, prefix of meta data. ARGV: seconds to live, most messages
-- Gives the number of messages dropped.
redis.call('HSET', KEYS[1], 'backend_name', 'RedisStorage')
redis.call('EXPIRE', KEYS[1], ARGV[1])
local dropped = 0
for _, id in ipairs(redis.call('LRANGE', KEYS[2], 0, tonumber(ARGV[2]) - 1)) do
    local meta = redis.call('HMGET', KEYS[4] .. ':' .. id, 'attempts', 'max_attempts', 'status')
    local whole = tonumber(meta[1]) and tonumber(meta[2]) and meta[3]
    if not whole or redis.call('HEXISTS', KEYS[3], id) == 0 then
        redis.call('LREM', KEYS[2], 1, id)
        redis.call('HDEL', KEYS[3], id)
        redis.call('DEL', KEYS[4] .. ':' .. id)
        dropped = dropped + 1
    end
end
return dropped
