-- What is read of one session, at one point in time. ARGV: what, and what that takes.
-- KEYS as in redis_commit.lua. Answers {row, ...}; {false, reason} where there is no such session.
local session, log, marks, keys, points, states, gone = unpack(KEYS)

local row = redis.call('HGET', session, 'row')
if not row then
  return {false, redis.call('GET', gone)}
end

local function data_of(entries)
  local found = {}
  for index, entry in ipairs(entries) do found[index] = entry[2][2] end
  return found
end

local what = {}

-- ARGV 2: replies. {row, point, state, records after it, further replies}
function what.load()
  local point = redis.call('LINDEX', points, -1) or ''
  local revision, digest = point:match('^(%d+) %S+ %a (%S+) ')
  revision = revision or '0'
  local replies = {}
  if ARGV[2] ~= '0' then
    local found = redis.call('ZREVRANGE', keys, 0, ARGV[2] - 1, 'WITHSCORES')
    for index = 2, #found, 2 do
      if tonumber(found[index]) <= tonumber(revision) then
        local entry = redis.call('XRANGE', log, found[index], found[index])[1]
        replies[#replies + 1] = entry and entry[2][2] or ''
      end
    end
  end
  local state = digest and redis.call('HGET', states, digest)
  local after = data_of(redis.call('XRANGE', log, string.format('%.0f', revision + 1), '+'))
  return {row, point, state, after, replies}
end

-- {row, points, records as {revision, step, rows, key}}
function what.marks()
  local found = {}
  for index, entry in ipairs(redis.call('XRANGE', marks, '-', '+')) do
    local fields = entry[2]
    found[index] = {entry[1], fields[2], fields[4], fields[8]}
  end
  return {row, redis.call('LRANGE', points, 0, -1), found}
end

-- ARGV 2: digest; 3, 4: from and to a revision. {row, state, records}
function what.path()
  local records = data_of(redis.call('XRANGE', log, ARGV[3], ARGV[4]))
  return {row, redis.call('HGET', states, ARGV[2]), records}
end

-- ARGV 2: where to begin; 3: how many. {row, records, newest first}
function what.history()
  return {row, data_of(redis.call('XREVRANGE', log, ARGV[2], '-', 'COUNT', ARGV[3]))}
end

-- {row, points}
function what.points()
  return {row, redis.call('LRANGE', points, 0, -1)}
end

function what.row()
  return {row}
end

return what[ARGV[1]]()
