-- Charges requests to a key, by the generic cell rate algorithm. All times are nanoseconds.
-- The value of a key is the time at which all of its credit is back, in decimal digits.
-- A double holds 53 bits, so times are in two parts: seconds, and nanoseconds of a second.
local interval, refill, queue = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local asked, returned = tonumber(ARGV[4]), tonumber(ARGV[5])
-- The clock of the server: those of the gateways do not matter.
local now = redis.call('TIME')
local seconds, nanos = tonumber(now[1]), tonumber(now[2]) * 1000

local before = 0
local state = redis.call('GET', KEYS[1])
if state then
  local whole, part = tonumber(string.sub(state, 1, -10)), tonumber(string.sub(state, -9))
  if whole and part then before = math.max((whole - seconds) * 1e9 + (part - nanos), 0) end
end

-- No key owes more than it could have spent: its limit may have changed.
local ahead = math.max(math.min(before, refill + queue) - returned * interval, 0)
local granted = math.max(math.min(math.floor((refill + queue - ahead) / interval), asked), 0)
local after = ahead + granted * interval
if after ~= before then
  if after > 0 then
    local part = nanos + after
    local carried = math.floor(part / 1e9)
    local value = string.format('%.0f%09.0f', seconds + carried, part - carried * 1e9)
    redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', math.ceil(after / 1e6)))
  else
    redis.call('DEL', KEYS[1])
  end
end
return { granted, ahead }
