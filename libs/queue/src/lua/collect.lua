-- Deletes messages that were handled. An id is only ever in one place, so none of these waits or is at work.
-- KEYS: data, prefix of meta data, done, dead. ARGV: most messages
-- Gives the number of messages deleted.
local collected = 0
for _, handled in ipairs({KEYS[3], KEYS[4]}) do
    local room = tonumber(ARGV[1]) - collected
    local ids = room > 0 and redis.call('SPOP', handled, room) or {}
    if #ids > 0 then
        local metas = {}
        for i, id in ipairs(ids) do
            metas[i] = KEYS[2] .. ':' .. id
        end
        redis.call('HDEL', KEYS[1], unpack(ids))
        redis.call('DEL', unpack(metas))
        collected = collected + #ids
    end
end
return collected
