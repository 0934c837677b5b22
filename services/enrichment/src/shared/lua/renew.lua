-- Makes claims last, and makes those again that the server has lost. KEYS: claims. ARGV: token, milliseconds.
for _, key in ipairs(KEYS) do
  local holder = redis.call('GET', key)
  if holder == ARGV[1] then
    redis.call('PEXPIRE', key, ARGV[2])
  elseif not holder then
    redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
  end
end
return 1
