"""What is done inside the server, all of it or nothing between two commands of others."""

from __future__ import annotations

from .server import Script

POSITION_DIGITS = 19
"""Digits of a position, with zeros in front: Lua's numbers lose digits beyond 2**53, texts of one
length compare as the numbers do."""

MISSING, BEHIND = -1, -2
"""What `WRITE` answers where it wrote nothing: the marker is not there, or it counts fewer writes
than were acknowledged."""

MARKER_INCARNATION = "incarnation"
MARKER_WRITES = "writes:"

WRITE = Script(
    f"""
local marker = KEYS[1]
if redis.call('HGET', marker, '{MARKER_INCARNATION}') ~= ARGV[1] then
    return {{{MISSING}}}
end
local partitions, at = tonumber(ARGV[2]), 3
for n = 1, partitions do
    local counted = redis.call('HGET', marker, '{MARKER_WRITES}' .. ARGV[at]) or '0'
    if tonumber(counted) < tonumber(ARGV[at + 1]) then
        return {{{BEHIND}}}
    end
    at = at + 2
end
for n = 2, #KEYS do
    local body, milliseconds = ARGV[at], ARGV[at + 1]
    at = at + 2
    local held = redis.call('GETRANGE', KEYS[n], 0, {POSITION_DIGITS - 1})
    if held <= string.sub(body, 1, {POSITION_DIGITS}) then
        if milliseconds == '0' then
            redis.call('SET', KEYS[n], body)
        else
            redis.call('SET', KEYS[n], body, 'PX', milliseconds)
        end
    end
end
local counts = {{}}
for n = 1, partitions do
    counts[n] = redis.call('HINCRBY', marker, '{MARKER_WRITES}' .. ARGV[1 + 2 * n], 1)
end
return counts
"""
)
"""KEYS: the marker, then rows. ARGV: the incarnation, the number of partitions, each partition with
the writes that were acknowledged; then for each row its body and how many milliseconds it is kept
(0: for ever). A row that holds a newer position stays. Answers the partitions' counts of writes."""
