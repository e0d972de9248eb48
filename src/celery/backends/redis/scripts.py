"""What Redis does in one step for the result backend."""

from __future__ import annotations

from enum import IntEnum

from celery.brokers.redis.script import Script


class Answer(IntEnum):
    """What became of a result that was to be stored. Anything else is the value that is in its place."""

    FENCED = 0
    STORED = 1
    SUCCEEDED = 2


#: Store a result and publish it, unless a success is there already: what somebody who was taken for dead says later
#: does not count.
#:
#: value; seconds of life, or ''; the value that may be replaced, or ''; the four parts of a claim that must hold for the
#: result to be taken (see `celery.brokers.redis.claims`), or ''. Answers an `Answer`, or what is there now if it cannot tell whether that is a success: the
#: caller, who can, then says that it may be replaced.
_STORE = """
local function fenced(hash, era_key, era, field)
  return hash ~= '' and redis.call('HEXISTS', hash, field) == 0 and redis.call('GET', era_key) == era
end

local function put(key, value, seconds, ...)
  if seconds == '' then
    return redis.call('SET', key, value, ...)
  end
  return redis.call('SET', key, value, 'EX', seconds, ...)
end

local function store(key, value, seconds, known, ...)
  if fenced(...) then
    return 0
  end
  if not put(key, value, seconds, 'NX') then
    local old = redis.call('GET', key)
    local state = string.match(old, '^{"status": ?"([^"]*)"')
    if state == 'SUCCESS' then
      return 2
    elseif not state and old ~= known then
      return old
    end
    put(key, value, seconds)
  end
  redis.call('PUBLISH', key, value)
  return 1
end
"""

#: Store many. KEYS: those of the results. ARGV: seven for each, as `store` takes them. Answers one thing for each.
STORE = Script(
    _STORE
    + """
local answers = {}
for i, key in ipairs(KEYS) do
  answers[i] = store(key, unpack(ARGV, 7 * i - 6, 7 * i))
end
return answers
"""
)

#: Store the ends of members of one chord and count them; who counts the last one claims the body, and notes that it is due.
#:
#: KEYS: of the chord `.j` (the members that are over), `.t` (how many were added), `.s` (how many there are), `.d` (which
#: are counted), `.c` (whose the body is), and its group; of the hash of bodies that are due; then of each result.
#: ARGV: seconds of life of the books, or ''; how many members, if the books do not say, or ''; '1' if values are in
#: order; a token to claim the body with, and the seconds of the claim; the chord's id; the note; seconds for which who
#: claims has the sending to itself; then for each member: seven as `store` takes them; '1' to store, else only to count;
#: its id with its index; its index; its encoded value.
#: Answers what became of each result, and the values of all members if the body is the caller's.
MEMBERS = Script(
    _STORE
    + """
local members, added, size, counted, claim, group, due = unpack(KEYS, 1, 7)
local seconds, known_size, ordered = ARGV[1], ARGV[2], ARGV[3] == '1'
local over = redis.call('GET', claim) == 'done'
local answers, any = {}, false
for i = 1, #KEYS - 7 do
  local at = 8 + 11 * (i - 1)
  local answer = 2
  if ARGV[at + 8] == '1' then
    answer = store(KEYS[7 + i], unpack(ARGV, at + 1, at + 7))
  elseif fenced(unpack(ARGV, at + 4, at + 7)) then
    answer = 0
  end
  answers[i] = answer
  if (answer == 1 or answer == 2) and not over then
    any = true
    if redis.call('SADD', counted, ARGV[at + 9]) == 1 then
      if ordered then
        redis.call('ZADD', members, ARGV[at + 10], ARGV[at + 11])
      else
        redis.call('RPUSH', members, ARGV[at + 11])
      end
    end
  end
end
if not any then
  return {answers}
end
if seconds ~= '' then
  for _, key in ipairs({members, added, size, counted, group}) do
    redis.call('EXPIRE', key, seconds)
  end
end
local total = tonumber(redis.call('GET', size) or known_size)
if not total then
  return {answers}
end
total = total + tonumber(redis.call('GET', added) or 0)
if redis.call(ordered and 'ZCARD' or 'LLEN', members) < total then
  return {answers}
end
if not redis.call('SET', claim, ARGV[4], 'NX', 'EX', ARGV[5]) then
  return {answers}
end
local till = redis.call('TIME')[1] + ARGV[8]
redis.call('HSET', due, ARGV[6], string.format('%d', till) .. ' ' .. ARGV[7])
return {answers, redis.call(ordered and 'ZRANGE' or 'LRANGE', members, 0, -1)}
"""
)

#: A member is about to add others: count them in, and note that they are due, unless that is noted already.
#:
#: KEYS: of the chord `.t`; the hash of what is due. ARGV: how many; seconds of life, or ''; the note's field; the note;
#: seconds for which the caller has the sending to itself.
GROW = Script(
    """
local till = redis.call('TIME')[1] + ARGV[5]
if redis.call('HSETNX', KEYS[2], ARGV[3], string.format('%d', till) .. ' ' .. ARGV[4]) == 0 then
  return 0
end
redis.call('INCRBY', KEYS[1], ARGV[1])
if ARGV[2] ~= '' then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return 1
"""
)

#: They were sent, or refused for good.
#:
#: KEYS: as above. ARGV: the note's field; how many to take back, or ''.
GROWN = Script(
    """
if redis.call('HDEL', KEYS[2], ARGV[1]) == 1 and ARGV[2] ~= '' then
  redis.call('DECRBY', KEYS[1], ARGV[2])
end
return 1
"""
)

#: A body was sent, or failed: forget the members, and remember that the chord is over.
#:
#: KEYS: of the chord `.c`, `.j`, `.t`, `.s`, `.d`; the hash of bodies that are due. ARGV: the chord's id; seconds for
#: which it is remembered.
FINISH = Script(
    """
redis.call('SET', KEYS[1], 'done', 'EX', ARGV[2])
redis.call('DEL', unpack(KEYS, 2, 5))
redis.call('HDEL', KEYS[6], ARGV[1])
return 1
"""
)

#: Take over what is due (bodies, and members that were added) and that nobody sends.
#:
#: KEYS: the hash of what is due. ARGV: seconds for which the caller has the sending to itself.
#: Answers their notes.
SWEEP = Script(
    """
local now = tonumber(redis.call('TIME')[1])
local found = redis.call('HGETALL', KEYS[1])
local taken = {}
for i = 1, #found, 2 do
  local till, note = string.match(found[i + 1], '^(%d+) (.*)$')
  if tonumber(till) <= now then
    redis.call('HSET', KEYS[1], found[i], string.format('%d', now + ARGV[1]) .. ' ' .. note)
    taken[#taken + 1] = note
  end
end
return taken
"""
)
