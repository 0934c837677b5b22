-- Ends claims that are the caller's. KEYS: claims. ARGV: token.
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then
    redis.call('DEL', key)
  end
end
return 1
