-- Stores the record ARGV[1] under KEYS[1] for ARGV[2] milliseconds, unless the one there is newer.
-- 1 if it is stored. A record is `Stored::to_bytes`: the version is byte 1, the packet's timestamp is bytes 18 to 25,
-- big-endian, and its DNS message begins at byte 90. What counts is what `SignedPacket::is_newer_than` compares.
local function order(record)
    return string.sub(record, 18, 25) .. string.sub(record, 90)
end

-- Not `<`, which compares text by the server's locale, nor numbers, which are exact up to 2^53 only.
local function is_less(left, right)
    for at = 1, math.min(#left, #right) do
        local a, b = string.byte(left, at), string.byte(right, at)
        if a ~= b then
            return a < b
        end
    end
    return #left < #right
end

-- pcall: what is not a string is replaced.
local held = redis.pcall('GETRANGE', KEYS[1], 0, #ARGV[1] + 1000)
local is_record = type(held) == 'string' and #held >= 89 and string.byte(held) == string.byte(ARGV[1])
if is_record and is_less(order(ARGV[1]), order(held)) then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
