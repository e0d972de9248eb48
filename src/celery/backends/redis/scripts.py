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
#: value; seconds of life, or ''; the value that may be replaced, or ''; a hash and a field that must exist for the
#: result to be taken, or ''. Answers an `Answer`, or what is there now if it cannot tell whether that is a success: the
#: caller, who can, then says that it may be replaced.
_STORE = """
local function fenced(hash, field)
  return hash ~= '' and redis.call('HEXISTS', hash, field) == 0
end

local function put(key, value, seconds, ...)
  if seconds == '' then
    return redis.call('SET', key, value, ...)
  end
  return redis.call('SET', key, value, 'EX', seconds, ...)
end

local function store(key, value, seconds, known, hash, field)
  if fenced(hash, field) then
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

#: Store many. KEYS: those of the results. ARGV: five for each, as `store` takes them. Answers one thing for each.
STORE = Script(
    _STORE
    + """
local answers = {}
for i, key in ipairs(KEYS) do
  local at = 5 * i
  answers[i] = store(key, ARGV[at - 4], ARGV[at - 3], ARGV[at - 2], ARGV[at - 1], ARGV[at])
end
return answers
"""
)

#: Store the end of a chord's member and count it; who counts the last one claims the body, and notes that it is due.
#:
#: KEYS: of the result; of the chord `.j` (the members that are over), `.t` (how many were added), `.s` (how many there
#: are), `.d` (which are counted), `.c` (whose the body is), and its group; of the hash of bodies that are due.
#: ARGV: five as `store` takes them; '1' to store, else only to count; the member's id with its index; its index; its
#: encoded value; seconds of life of the books, or ''; how many members, if the books do not say, or ''; '1' if values are
#: in order; a token to claim the body with, and the seconds of the claim; the chord's id; the note; seconds for which
#: who claims has the sending to itself.
#: Answers what became of the result, and 1 if the body is the caller's.
MEMBER = Script(
    _STORE
    + """
local answer = 2
if ARGV[6] == '1' then
  answer = store(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
elseif fenced(ARGV[4], ARGV[5]) then
  answer = 0
end
if answer ~= 1 and answer ~= 2 then
  return {answer, 0}
end
local members, added, size, counted, claim, group, due = unpack(KEYS, 2)
if redis.call('GET', claim) == 'done' then
  return {answer, 0}
end
local ordered = ARGV[12] == '1'
if redis.call('SADD', counted, ARGV[7]) == 1 then
  if ordered then
    redis.call('ZADD', members, ARGV[8], ARGV[9])
  else
    redis.call('RPUSH', members, ARGV[9])
  end
end
if ARGV[10] ~= '' then
  for _, key in ipairs({members, added, size, counted, group}) do
    redis.call('EXPIRE', key, ARGV[10])
  end
end
local total = tonumber(redis.call('GET', size) or ARGV[11])
if not total then
  return {answer, 0}
end
total = total + tonumber(redis.call('GET', added) or 0)
if redis.call(ordered and 'ZCARD' or 'LLEN', members) < total then
  return {answer, 0}
end
if not redis.call('SET', claim, ARGV[13], 'NX', 'EX', ARGV[14]) then
  return {answer, 0}
end
local till = redis.call('TIME')[1] + ARGV[17]
redis.call('HSET', due, ARGV[15], string.format('%d', till) .. ' ' .. ARGV[16])
return {answer, 1}
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

#: Take over the bodies that are due and that nobody sends.
#:
#: KEYS: the hash of bodies that are due. ARGV: seconds for which the caller has the sending to itself.
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
