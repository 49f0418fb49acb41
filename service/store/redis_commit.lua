-- One change of one session: looked up, compared, and written whole or not at all.
--
-- KEYS of the session, all in one hash slot:
--   session  hash: incarnation, revision, row, model, born, weight (of all of its records, ever)
--   log      stream, an entry a record, its revision as id: d the record
--   marks    stream, alike, without the bytes: s step, n rows, k key
--   keys     sorted set: the keys of the last replies -> the revisions of their records
--   points   list, a checkpoint each, in order: "revision weight step flag digest name " and the
--            rest; weight of the records so far; flag p: plain, m: plain and of a record without
--            rows, s: a snapshot
--   states   hash: digest -> a checkpoint's state, once for all checkpoints that share it
--   gone     string that expires: why the session ended
-- A record weighs its rows, and at least 1. What is dropped, and when: timeline.outdated.
--
-- Answers {0, old model, born}: committed; {1, record}: replayed; {2, row}: stale; {3, reason}: gone.
local session, log, marks, keys, points, states, gone = unpack(KEYS)
local want, want_revision, ended, tombstone_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local incarnation, revision, row, model, born = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local record, record_at, record_step = ARGV[10], ARGV[11], ARGV[12]
local rows, key = ARGV[13], ARGV[14]
local digest, at, step, name = ARGV[15], ARGV[16], ARGV[17], ARGV[18]
local rest, state = ARGV[19], ARGV[20]
local history_rows, replies, spacing = tonumber(ARGV[21]), tonumber(ARGV[22]), tonumber(ARGV[23])

local held = redis.call('HMGET', session, 'incarnation', 'revision', 'row', 'model', 'born', 'weight')
local lives, weight = held[1], tonumber(held[6] or 0)

local function fields_at(stream, where)
  local entry = redis.call('XRANGE', stream, where, where)[1]
  return entry and entry[2] or {}
end

local function points_now()
  local found = {}
  for index, text in ipairs(redis.call('LRANGE', points, 0, -1)) do
    local at, so_far, step, flag, digest, name =
      text:match('^(%d+) (%d+) (%S+) (%a) (%S+) (%S*) ')
    found[index] = {
      text = text, revision = tonumber(at), weight = tonumber(so_far),
      band = math.floor(tonumber(step) / spacing), flag = flag, digest = digest, name = name,
    }
  end
  return found
end

-- Is there a snapshot of its name, or another without a name of its revision?
local function is_there(all)
  local last
  for _, point in ipairs(all) do
    if point.flag ~= 's' then last = point.revision end
    if point.flag == 's' and point.name == name then return true end
  end
  return name == '' and last == tonumber(at)
end

-- The checkpoint before the history, and those behind it that are not the first of their band.
local function outdated_points(plain)
  local base, found = 1, {}
  for index, point in ipairs(plain) do
    if weight - point.weight >= history_rows then base = index end
  end
  for index = 1, base - 1 do found[index] = plain[index] end
  for index = base + 1, #plain - 1 do
    local point = plain[index]
    if point.band == plain[index - 1].band and point.flag == 'p' then found[#found + 1] = point end
  end
  return plain[base].revision, found
end

-- Up to that revision, a record is only kept as a reply. The oldest come first.
local function drop_records(start)
  local from, first = '-', redis.call('ZRANGE', keys, 0, 0, 'WITHSCORES')
  local reply_from = tonumber(first[2] or math.huge)
  repeat
    local page = redis.call('XRANGE', marks, from, '+', 'COUNT', 16)
    for _, entry in ipairs(page) do
      local id, at = entry[1], tonumber(entry[1]:match('^%d+'))
      if at > start then return end
      if entry[2][6] == '' or at < reply_from then
        redis.call('XDEL', log, id)
        redis.call('XDEL', marks, id)
      end
      from = '(' .. id
    end
  until #page < 16
end

local function trim()
  local plain, uses = {}, {}
  for _, point in ipairs(points_now()) do
    uses[point.digest] = (uses[point.digest] or 0) + 1
    if point.flag ~= 's' then plain[#plain + 1] = point end
  end
  local start, outdated = outdated_points(plain)
  drop_records(start)
  for _, point in ipairs(outdated) do
    redis.call('LREM', points, 1, point.text)
    uses[point.digest] = uses[point.digest] - 1
    if uses[point.digest] == 0 then redis.call('HDEL', states, point.digest) end
  end
end

if lives then
  local before = key ~= '' and redis.call('ZSCORE', keys, key)
  if before then
    return {1, fields_at(log, before)[2] or ''}
  end
  if held[1] ~= want or held[2] ~= want_revision then
    return {2, held[3] or ''}
  end
  if ended ~= '' then
    redis.call('SET', gone, ended, 'PX', tombstone_ms)
    redis.call('UNLINK', session, log, marks, keys, points, states)
    return {0, held[4], held[5]}
  end
elseif want ~= '' then
  return {3, redis.call('GET', gone)}
end

-- On a damaged session a command may fail: each is tried, reading, before the first write.
local brings, flag = digest ~= '', name ~= '' and 's' or 'p'
if lives and brings then
  brings = not is_there(points_now())
  redis.call('HLEN', states)
end
if lives and record ~= '' then
  redis.call('XLEN', marks)
end
if brings and name == '' then
  local of = record ~= '' and rows or lives and fields_at(marks, at)[4]
  if of == '0' then flag = 'm' end
end

if not lives then
  redis.call('UNLINK', gone, log, marks, keys, points, states)
  redis.call('HSET', session, 'incarnation', incarnation, 'born', born)
end
if record ~= '' then
  local id = record_at .. '-0'
  redis.call('XADD', log, id, 'd', record)
  redis.call('XADD', marks, id, 's', record_step, 'n', rows, 'k', key)
  if key ~= '' then
    redis.call('ZADD', keys, record_at, key)
    redis.call('ZREMRANGEBYRANK', keys, 0, -1 - replies)
  end
  weight = weight + math.max(tonumber(rows), 1)
  redis.call('HSET', session, 'weight', string.format('%.0f', weight))
end
redis.call('HSET', session, 'revision', revision, 'row', row)
if model ~= held[4] then redis.call('HSET', session, 'model', model) end
if brings then
  local so_far = string.format('%.0f', weight)
  redis.call('RPUSH', points, table.concat({at, so_far, step, flag, digest, name, rest}, ' '))
  if digest ~= '-' then redis.call('HSETNX', states, digest, state) end
  if lives then pcall(trim) end -- what stays for once harms nobody
end
return {0, held[4], held[5]}
