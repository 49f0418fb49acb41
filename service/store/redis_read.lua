-- What is read of one session, at one point in time. ARGV: what, and what that takes.
-- KEYS as in redis_commit.lua. Answers {row, ...}; {false, reason} where there is no such session.
local session, log, kept, keys, points, states, gone = unpack(KEYS)

local row = redis.call('HGET', session, 'row')
if not row then
  return {false, redis.call('GET', gone)}
end

local function data_of(entries)
  local found = {}
  for index, entry in ipairs(entries or {}) do found[index] = entry[2][2] end
  return found
end

-- The records that have fallen out of the log, those before a revision, newest first.
local function older(before)
  local found = {}
  for _, where in ipairs(redis.call('HKEYS', kept)) do
    if tonumber(where) < before then found[#found + 1] = where end
  end
  table.sort(found, function(a, b) return tonumber(a) > tonumber(b) end)
  for index, where in ipairs(found) do found[index] = redis.call('HGET', kept, where) end
  return found
end

local what = {}

-- ARGV 2: replies. {row, point, state, records after it, further replies, born}
function what.load()
  local point = redis.call('LINDEX', points, -1) or ''
  local revision, digest = point:match('^(%d+) %d+ %S+ %a (%S+) ')
  revision = revision or '0'
  local replies = {}
  local found = ARGV[2] ~= '0' and redis.call('ZREVRANGE', keys, 0, ARGV[2] - 1, 'WITHSCORES')
  for index = 2, #(found or ''), 2 do
    local where = found[index]
    if tonumber(where) <= tonumber(revision) then
      local entry = redis.call('XRANGE', log, where, where)[1]
      replies[#replies + 1] = entry and entry[2][2] or redis.call('HGET', kept, where) or ''
    end
  end
  local state = digest and redis.call('HGET', states, digest)
  local after = data_of(redis.call('XRANGE', log, string.format('%.0f', revision + 1), '+'))
  return {row, point, state, after, replies, redis.call('HGET', session, 'born')}
end

-- {row, points, records, the older ones newest first}
function what.all()
  local records = data_of(redis.call('XRANGE', log, '-', '+'))
  return {row, redis.call('LRANGE', points, 0, -1), records, older(math.huge)}
end

-- ARGV 2: digest. {row, state}
function what.state()
  return {row, redis.call('HGET', states, ARGV[2])}
end

-- ARGV 2: a revision to stay before, or ''; 3: how many. {row, records, newest first}
function what.history()
  local start, limit = '+', tonumber(ARGV[3])
  if ARGV[2] ~= '' then start = string.format('%.0f', math.max(ARGV[2] - 1, 0)) end
  local found = data_of(redis.call('XREVRANGE', log, start, '-', 'COUNT', limit))
  for _, record in ipairs(#found < limit and older(tonumber(ARGV[2]) or math.huge) or {}) do
    if #found < limit then found[#found + 1] = record end
  end
  return {row, found}
end

-- {row, points}
function what.points()
  return {row, redis.call('LRANGE', points, 0, -1)}
end

function what.row()
  return {row}
end

return what[ARGV[1]]()
