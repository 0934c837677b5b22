-- Names the server's content: a key that goes with it, and the server's run, because a server that was started
-- again may have lost its last second or minute.
-- KEYS: generation. ARGV: the generation if there is none
local generation = redis.call('GET', KEYS[1])
if not generation then
    generation = ARGV[1]
    redis.call('SET', KEYS[1], generation)
end
-- Not every user of a hosted Redis may ask for this.
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
return generation .. '-' .. run
