"""The Lua that has to be atomic. Times are the server's; a `tag` names what somebody holds in `unacked`.

Tags of ours are `<incarnation>:<number>` for what a worker holds, and `<incarnation>:p<number>:<step>` for what is
parked. Whoever settles something does so by its tag, and only if that is still in `unacked`: after a worker was fenced
its tags are gone, so nothing that it says late has any effect.
"""

from __future__ import annotations

from .script import Script

# A server that is out of memory refuses scripts whose first write needs some; those that begin with a removal may go on. So
# leases are renewed, and messages taken, also then.

_NOW = "local t = redis.call('TIME') local now = t[1] + t[2] / 1e6 "

#: Reserve a batch. KEYS: record, unacked, index, lists. ARGV: tag prefix, first number, room, share, how many
#: lists of one priority there are (they stand together), number of the worker's connection, suffix of each list. Lists of one
#: priority give `share` each at most, in a second round what is left. Returns false if the worker is fenced (or has another
#: connection by now: nobody would see what a late command takes), else a flat list of (number of list, messages).
#: A key that is no list must not end the script: what was taken from the others before would be lost.
RESERVE = Script(
    _NOW
    + """
if redis.call('HGET', KEYS[1], 'connection') ~= ARGV[6] then return false end
local trouble
local prefix, n, room, share = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local found, hash, index, width = {}, {}, {}, tonumber(ARGV[5])
local function take(i, most)
    local got = redis.pcall('RPOP', KEYS[i], most)
    if got and got.err then
      trouble = got
    elseif got then
      local suffix = ARGV[i + 3]
      for _, message in ipairs(got) do
        local tag = prefix .. n
        n = n + 1
        hash[#hash + 1] = tag
        hash[#hash + 1] = '[' .. message .. suffix
        index[#index + 1] = now
        index[#index + 1] = tag
      end
      room = room - #got
      found[#found + 1] = i - 4
      found[#found + 1] = got
    end
end
for base = 4, #KEYS, width do
  for round = 1, width > 1 and 2 or 1 do
    for i = base, base + width - 1 do
      if room <= 0 then break end
      take(i, round == 1 and math.min(share, room) or room)
    end
  end
end
for from = 1, #hash, 2000 do
  local to = math.min(from + 1999, #hash)
  redis.call('HSET', KEYS[2], unpack(hash, from, to))
  redis.call('ZADD', KEYS[3], unpack(index, from, to))
end
if #hash > 0 then redis.call('HSET', KEYS[1], 'next', n) end
return #hash == 0 and trouble or found
"""
)

#: Take over what `BLMOVE` gave. KEYS: record, unacked, index, pending, list. ARGV: tag prefix, number, message, suffix. Returns
#: false if the worker is fenced, else whether it is ours (1 or 0) and how many more wait.
ADOPT = Script(
    _NOW
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local tag = ARGV[1] .. ARGV[2]
if redis.call('LREM', KEYS[4], 1, ARGV[3]) == 0 then return {redis.call('HEXISTS', KEYS[2], tag), 1} end
redis.call('HSET', KEYS[2], tag, '[' .. ARGV[3] .. ARGV[4])
redis.call('ZADD', KEYS[3], now, tag)
if tonumber(ARGV[2]) >= tonumber(redis.call('HGET', KEYS[1], 'next') or 0) then
  redis.call('HSET', KEYS[1], 'next', ARGV[2] + 1)
end
return {1, redis.call('LLEN', KEYS[5])}
"""
)

#: Acknowledge early. KEYS: record, index. ARGV: tags. Returns false if the worker is fenced (whoever reaps it may have looked
#: already, and would offer them again), else how many were not begun before.
BEGIN = Script(
    """
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local count = 0
for from = 1, #ARGV, 2000 do
  count = count + redis.call('ZREM', KEYS[2], unpack(ARGV, from, math.min(from + 1999, #ARGV)))
end
return count
"""
)

#: Put messages back. KEYS: unacked, index. ARGV: for each: tag, list, message, front (1 or 0). Returns how many were there.
GIVE_BACK = Script(
    """
local count = 0
for i = 1, #ARGV, 4 do
  if redis.call('HDEL', KEYS[1], ARGV[i]) == 1 then
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call(ARGV[i + 3] == '1' and 'RPUSH' or 'LPUSH', ARGV[i + 1], ARGV[i + 2])
    count = count + 1
  end
end
return count
"""
)

#: Park what is held. KEYS: unacked, index, due, nudges. ARGV: visibility timeout, queue, then for each: tag, new tag, due,
#: message (or '' for the one that is held). Tells idle workers of what comes before all else.
PARK = Script(
    _NOW
    + """
local count, first = 0, redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
for i = 3, #ARGV, 4 do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  if value then
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('ZREM', KEYS[2], ARGV[i])
    if ARGV[i + 3] ~= '' then value = ARGV[i + 3] end
    redis.call('HSET', KEYS[1], ARGV[i + 1], value)
    redis.call('ZADD', KEYS[2], ARGV[i + 2] - ARGV[1], ARGV[i + 1])
    redis.call('ZADD', KEYS[3], ARGV[i + 2], ARGV[i + 1])
    count = count + 1
  end
end
local now_first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
if now_first ~= first then redis.call('PUBLISH', KEYS[4], ARGV[2]) end
return count
"""
)

#: Publish what is not yet due. KEYS: unacked, index, due, nudges. ARGV: visibility timeout, queue, then for each: tag, due, value.
POSTPONE = Script(
    """
local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
for i = 3, #ARGV, 3 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
  redis.call('ZADD', KEYS[2], ARGV[i + 1] - ARGV[1], ARGV[i])
  redis.call('ZADD', KEYS[3], ARGV[i + 1], ARGV[i])
end
local now_first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
if now_first ~= first then redis.call('PUBLISH', KEYS[4], ARGV[2]) end
return (#ARGV - 2) / 3
"""
)

#: Make ready what is due. KEYS: unacked, index, due, lists. ARGV: at most, length of the suffix. The last part of a tag says
#: which list. Returns how many, and the seconds until the next one ('' if there is none).
PROMOTE = Script(
    _NOW
    + """
local tags = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, ARGV[1])
for i = #tags, 1, -1 do
  local tag = tags[i]
  local value = redis.call('HGET', KEYS[1], tag)
  if value then
    redis.call('HDEL', KEYS[1], tag)
    redis.call('ZREM', KEYS[2], tag)
    local step = tonumber(string.match(tag, ':(%d+)$'))
    redis.call('RPUSH', KEYS[4 + step] or KEYS[4], string.sub(value, 2, -1 - ARGV[2]))
  end
end
if #tags > 0 then redis.call('ZREM', KEYS[3], unpack(tags)) end
local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
return {#tags, first and tostring(first - now) or ''}
"""
)

#: Set aside. KEYS: unacked, index, dead letters, queues that have any, counter. ARGV: at most, queue, then for each: tag,
#: reason, message.
BURY = Script(
    _NOW
    + """
local count = 0
for i = 3, #ARGV, 3 do
  if redis.call('HDEL', KEYS[1], ARGV[i]) == 1 then
    redis.call('ZREM', KEYS[2], ARGV[i])
    local id = redis.call('INCR', KEYS[5])
    local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
    last = last and tonumber(string.match(last[1], '^%d+')) or 0
    if last >= id then  -- the counter was lost
      id = last + 1
      redis.call('SET', KEYS[5], id)
    end
    redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[1], id .. '-0', 'reason', ARGV[i + 1], 'died_at', now, 'message', ARGV[i + 2])
    count = count + 1
  end
end
if count > 0 then redis.call('SADD', KEYS[4], ARGV[2]) end
return count
"""
)

#: Forget old dead letters. KEYS: dead letters, queues that have any. ARGV: oldest (seconds of age), queue, at most. Most
#: often none is old: so the first is looked at alone, they may be large.
FORGET_DEAD = Script(
    _NOW
    + """
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not first or tonumber(first[2][4]) > now - ARGV[1] then return 0 end
local old = {}
for _, letter in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[3])) do
  if tonumber(letter[2][4]) > now - ARGV[1] then break end
  old[#old + 1] = letter[1]
end
if #old > 0 then
  redis.call('XDEL', KEYS[1], unpack(old))
  if redis.call('XLEN', KEYS[1]) == 0 then
    redis.call('DEL', KEYS[1])
    redis.call('SREM', KEYS[2], ARGV[2])
  end
end
return #old
"""
)

#: Bring a dead letter back. KEYS: dead letters, list. ARGV: id, message.
REVIVE = Script(
    """
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[2])
return 1
"""
)

#: Begin a lease, or go on with it. KEYS: leases, record, era. ARGV: incarnation, ms, a new era, the era in which it began ('' if
#: it begins now), then fields of the record. Returns the era; false if the lease is over: then its record is gone although the
#: server has not lost everything.
ANNOUNCE = Script(
    _NOW
    + """
if ARGV[4] ~= '' and redis.call('EXISTS', KEYS[2]) == 0 and redis.call('GET', KEYS[3]) == ARGV[4] then return false end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('SET', KEYS[3], ARGV[3], 'NX')
redis.call('ZADD', KEYS[1], math.floor(now * 1000) + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], unpack(ARGV, 5))
return redis.call('GET', KEYS[3])
"""
)

_RENEW = """
local prefix = ARGV[1] .. ':'
redis.call('ZADD', KEYS[1], math.floor(now * 1000) + ARGV[2], ARGV[1])
local held, since, upto = unpack(redis.call('HMGET', KEYS[2], 'held', 'since', 'next'))
local index = {}
for n in string.gmatch(held or '', '%d+') do
  index[#index + 1] = now
  index[#index + 1] = prefix .. n
end
for from = 1, #index, 2000 do
  redis.call('ZADD', KEYS[3], 'XX', unpack(index, from, math.min(from + 1999, #index)))
end
"""

#: Renew the lease, from outside. KEYS: leases, record, index. ARGV: incarnation, ms. Returns 0 if it is over.
KEEP = Script(_NOW + "if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end " + _RENEW + " return 1")

#: Renew the lease and look around. KEYS: leases, record, index, then for each queue: due, orphans, then all lists. ARGV: incarnation, ms,
#: numbers held, number from which on there may be others, how many queues. Returns false if fenced, else {incarnations whose lease is over,
#: seconds until the next one may be ('' if there are no others), for each queue: seconds until the next due one, orphans, how many
#: lists have something}.
TICK = Script(
    _NOW
    + """
if redis.call('EXISTS', KEYS[2]) == 0 then return false end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], 'held', ARGV[3], 'since', ARGV[4])
"""
    + _RENEW
    + """
local ms = math.floor(now * 1000)
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ms, 'LIMIT', 0, 20)
local soonest = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ms, '+inf', 'WITHSCORES', 'LIMIT', 0, 2)
local next_end = ''
for i = 1, #soonest, 2 do
  if soonest[i] ~= ARGV[1] and next_end == '' then next_end = tostring((soonest[i + 1] - ms) / 1000) end
end
local queues = {}
local lists = 4 + 2 * ARGV[5]
for i = 4, lists - 1, 2 do
  local first = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')[2]
  queues[#queues + 1] = first and tostring(first - now) or ''
  queues[#queues + 1] = redis.call('LLEN', KEYS[i + 1])
end
local ready = 0
if lists <= #KEYS then ready = redis.call('EXISTS', unpack(KEYS, lists)) end
return {dead, next_end, queues, ready}
"""
)

#: Fence a worker whose lease is over. KEYS: leases, record, reaped. ARGV: incarnation. Returns its record, false if it lives.
FENCE = Script(
    _NOW
    + """
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not ends or tonumber(ends) > now * 1000 then return false end
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('RENAME', KEYS[2], KEYS[3]) end
redis.call('ZADD', KEYS[1], -1, ARGV[1])
return redis.call('HGETALL', KEYS[3])
"""
)

#: Take what a dead worker had begun. KEYS: record, unacked, index, orphans. ARGV: old tag, new tag ('' to leave it for
#: others), value, next number, number of the worker's connection (a late command must not give it what it would not see).
INHERIT = Script(
    """
if redis.call('HDEL', KEYS[2], ARGV[1]) == 0 then return 0 end
redis.call('ZREM', KEYS[3], ARGV[1])
if ARGV[2] ~= '' and redis.call('HGET', KEYS[1], 'connection') == ARGV[5] then
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
  redis.call('HSET', KEYS[1], 'next', ARGV[4])
  return 1
end
redis.call('LPUSH', KEYS[4], ARGV[3])
return 2
"""
)

#: Take orphans of a queue. KEYS: record, unacked, orphans. ARGV: tag prefix, first number, at most, number of the worker's
#: connection. Returns their values.
ORPHANS = Script(
    """
if redis.call('HGET', KEYS[1], 'connection') ~= ARGV[4] then return false end
local got = redis.call('RPOP', KEYS[3], ARGV[3])
if not got then return {} end
for i, value in ipairs(got) do redis.call('HSET', KEYS[2], ARGV[1] .. (ARGV[2] + i - 1), value) end
redis.call('HSET', KEYS[1], 'next', ARGV[2] + #got)
return got
"""
)

#: Put back what was in a pending list. KEYS: pending, list. ARGV: message as it is there, message as it is to be.
UNPEND = Script(
    """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[2])
return 1
"""
)

#: Throw away what is parked. KEYS: unacked, index, due. ARGV: at most. Returns how many.
DROP_PARKED = Script(
    """
local tags = redis.call('ZRANGE', KEYS[3], 0, ARGV[1] - 1)
if #tags == 0 then return 0 end
redis.call('ZREM', KEYS[3], unpack(tags))
redis.call('ZREM', KEYS[2], unpack(tags))
redis.call('HDEL', KEYS[1], unpack(tags))
return #tags
"""
)

#: What has waited for longer than the visibility timeout. KEYS: unacked, index. ARGV: timeout, at most. Returns (tag, value) flat.
OVERDUE = Script(
    _NOW
    + """
local found = {}
for _, tag in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1], 'LIMIT', 0, ARGV[2])) do
  local value = redis.call('HGET', KEYS[1], tag)
  if value then
    found[#found + 1] = tag
    found[#found + 1] = value
  else
    redis.call('ZREM', KEYS[2], tag)
  end
end
return found
"""
)

#: What a worker's own connection needs.
OF_WORKERS = (
    RESERVE,
    ADOPT,
    BEGIN,
    GIVE_BACK,
    PARK,
    PROMOTE,
    BURY,
    FORGET_DEAD,
    ANNOUNCE,
    KEEP,
    TICK,
    FENCE,
    INHERIT,
    ORPHANS,
    UNPEND,
    OVERDUE,
)
