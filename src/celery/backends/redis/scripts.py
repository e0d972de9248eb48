"""What Redis does in one step for the result backend."""

from __future__ import annotations

from enum import IntEnum

from celery.brokers.redis.script import Script


class Answer(IntEnum):
    """What became of a result that was to be stored. Anything else is the value that is in its place."""

    FENCED = 0
    STORED = 1
    SUCCEEDED = 2


#: Store results and publish them, each unless a success is there already: what somebody who was taken for dead says
#: later does not count.
#:
#: KEYS: those of the results. ARGV, five for each: the value; seconds of life, or ''; the value that may be replaced,
#: or ''; a hash and a field that must exist for the result to be taken, or ''.
#:
#: Answers one thing for each: an `Answer`, or what is there now if the script cannot tell whether it is a success. The
#: caller, who can, then says that it may be replaced.
STORE = Script(
    """
local answers = {}
for i, key in ipairs(KEYS) do
  local at = 5 * i - 4
  local value, seconds, known, hash = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local answer = 1
  if hash ~= '' and redis.call('HEXISTS', hash, ARGV[at + 4]) == 0 then
    answer = 0
  else
    local fresh
    if seconds == '' then
      fresh = redis.call('SET', key, value, 'NX')
    else
      fresh = redis.call('SET', key, value, 'NX', 'EX', seconds)
    end
    if not fresh then
      local old = redis.call('GET', key)
      local state = string.match(old, '^{"status": ?"([^"]*)"')
      if state == 'SUCCESS' then
        answer = 2
      elseif state or old == known then
        if seconds == '' then
          redis.call('SET', key, value)
        else
          redis.call('SET', key, value, 'EX', seconds)
        end
      else
        answer = old
      end
    end
    if answer == 1 then
      redis.call('PUBLISH', key, value)
    end
  end
  answers[i] = answer
end
return answers
"""
)
