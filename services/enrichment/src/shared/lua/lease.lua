-- Gives a replica its share of an upstream's slots. The sum of all shares never exceeds the limit: what a replica has
-- stays its own until it gives it back, or until its lease is over and the last request that it may have sent has been
-- forgotten by the upstream.
-- KEYS: the upstream's hash. ARGV: replica, limit, lease ms, grace ms, wanted (0 or 1), slots still resting.
-- Returns: slots, milliseconds until slots are given at all.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local me, limit, lease, grace = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local wanted, resting = tonumber(ARGV[5]), tonumber(ARGV[6])

local seen = tonumber(redis.call('HGET', KEYS[1], 'seen') or '0')
local born = tonumber(redis.call('HGET', KEYS[1], 'born') or '0')
local silent = now - seen > lease
redis.call('HSET', KEYS[1], 'seen', now)

local others, replicas, vanished = 0, {}, false
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local name = entries[i]
  if name ~= 'seen' and name ~= 'born' and name ~= me then
    vanished = silent
    local count, wants, ends = string.match(entries[i + 1], '^(%d+):(%d):(%d+)$')
    if tonumber(ends) + grace < now then
      redis.call('HDEL', KEYS[1], name)
    else
      others = others + tonumber(count)
      if wants == '1' and tonumber(ends) > now then
        replicas[#replicas + 1] = name
      end
    end
  end
end

-- This server may have lost what it knew, or may have been away from replicas that had a share and never gave it
-- back: they may be going on by themselves. Nothing is given until all of them have had the time to come back.
if born == 0 or vanished then
  born = now
  redis.call('HSET', KEYS[1], 'born', born)
end

local share = 0
local ready = born + lease + grace
if wanted == 1 then
  replicas[#replicas + 1] = me
  table.sort(replicas)
  local place = 0
  for i, name in ipairs(replicas) do
    if name == me then place = i - 1 end
  end
  -- What does not divide goes round, so that nobody is left out for long.
  local turn = math.floor(now / 5000)
  share = math.floor(limit / #replicas)
  if (place + turn) % #replicas < limit % #replicas then
    share = share + 1
  end
  share = math.max(0, math.min(share, limit - others))
  if now < ready then share = 0 end
end

local recorded = math.max(share, math.min(resting, math.max(0, limit - others)))
if wanted == 1 or recorded > 0 then
  redis.call('HSET', KEYS[1], me, string.format('%d:%d:%d', recorded, wanted, now + lease))
else
  redis.call('HDEL', KEYS[1], me)
end
redis.call('PEXPIRE', KEYS[1], 604800000)
return {share, math.max(0, ready - now)}
