-- One change of one session: looked up, compared, and written whole or not at all.
--
-- KEYS of the session, all in one hash slot:
--   session  hash: incarnation, revision, row, model, born, weight of all of its records ever, and
--            moved, the latest revision whose record has no rows
--   log      stream, an entry a record, its revision as id
--   kept     hash: revision -> a record that has fallen out of the log and is still a reply
--   keys     sorted set: the keys of the last replies, and of some before -> their revisions
--   points   list, a checkpoint each, in order: "revision weight step flag digest name " and the
--            rest; weight of the records so far; flag p: plain, m: plain and put another state in
--            place, s: a snapshot
--   states   hash: digest -> a checkpoint's state, once for all checkpoints that share it
--   gone     string that expires: why the session ended
-- A record weighs its rows, and at least 1. What is dropped, and when: timeline.outdated.
--
-- Answers {0, old model, born}: committed; {1, record}: replayed; {2, row}: stale; {3, reason}: gone.
local session, log, kept, keys, points, states, gone = unpack(KEYS)
local want, want_revision, ended, tombstone_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local incarnation, revision, row, model, born = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local record, record_at, rows, key = ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local digest, at, step, name = ARGV[14], ARGV[15], ARGV[16], ARGV[17]
local rest, state = ARGV[18], ARGV[19]
local history_rows, replies, spacing = tonumber(ARGV[20]), tonumber(ARGV[21]), tonumber(ARGV[22])

local held = redis.call(
  'HMGET', session, 'incarnation', 'revision', 'row', 'model', 'born', 'weight', 'moved')
local lives, weight, moved = held[1], tonumber(held[6] or 0), held[7]

local function record_of(where)
  local entry = redis.call('XRANGE', log, where, where)[1]
  return entry and entry[2][2] or redis.call('HGET', kept, where)
end

local function parsed(text)
  local at, so_far, step, flag, digest, name = text:match('^(%d+) (%d+) (%S+) (%a) (%S+) (%S*) ')
  return {
    text = text, revision = tonumber(at), weight = tonumber(so_far),
    band = math.floor(tonumber(step) / spacing), flag = flag, digest = digest, name = name,
  }
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

-- The revision of the checkpoint before the history, if there is one, and the checkpoints that no
-- row of it is rebuilt from: all before that one, and behind it those not the first of their band.
local function outdated_points(plain)
  local base, start, found = 1, 0, {}
  for index, point in ipairs(plain) do
    if weight - point.weight >= history_rows then base, start = index, point.revision end
  end
  for index = 1, base - 1 do found[index] = plain[index] end
  for index = base + 1, #plain - 1 do
    local point = plain[index]
    if point.band == plain[index - 1].band and point.flag == 'p' then found[#found + 1] = point end
  end
  return start, found
end

-- Records up to a revision are only kept as replies.
local function drop_records(start)
  redis.call('ZREMRANGEBYRANK', keys, 0, -1 - replies)
  local wanted, found = {}, redis.call('ZRANGEBYSCORE', keys, '-inf', start, 'WITHSCORES')
  for index = 2, #found, 2 do
    local where = found[index]
    local entry = redis.call('XRANGE', log, where, where)[1]
    if entry then redis.call('HSET', kept, where, entry[2][2]) end
    wanted[where] = true
  end
  redis.call('XTRIM', log, 'MINID', string.format('%.0f', start + 1))
  for _, where in ipairs(redis.call('HKEYS', kept)) do
    if not wanted[where] then redis.call('HDEL', kept, where) end
  end
end

local function trim(all)
  local plain, uses = {}, {}
  for _, point in ipairs(all) do
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
  if before and redis.call('ZREVRANK', keys, key) < replies then
    return {1, record_of(before) or ''}
  end
  if held[1] ~= want or held[2] ~= want_revision then
    return {2, held[3] or ''}
  end
  if ended ~= '' then
    if tombstone_ms ~= '0' then redis.call('SET', gone, ended, 'PX', tombstone_ms) end
    redis.call('UNLINK', session, log, kept, keys, points, states)
    redis.pcall('PUBLISH', session, '')
    return {0, held[4], held[5]}
  end
elseif want ~= '' then
  return {3, redis.call('GET', gone)}
end

-- On a damaged session a command may fail: each is tried, reading, before the first write.
local brings, all = digest ~= '', {}
if lives and brings then
  for index, text in ipairs(redis.call('LRANGE', points, 0, -1)) do all[index] = parsed(text) end
  brings = not is_there(all)
  redis.call('HLEN', states)
end
if not lives then
  redis.call('UNLINK', gone, log, kept, keys, points, states)
end
if record ~= '' then
  redis.call('XADD', log, record_at .. '-0', 'd', record)
  if key ~= '' then redis.call('ZADD', keys, record_at, key) end
  if rows == '0' then moved = record_at end
  weight = weight + math.max(tonumber(rows), 1)
end
local so_far = string.format('%.0f', weight)
if lives then
  redis.call('HSET', session, 'revision', revision, 'row', row, 'weight', so_far)
else
  redis.call('HSET', session, 'revision', revision, 'row', row, 'weight', so_far,
    'incarnation', incarnation, 'born', born)
end
if model ~= held[4] then redis.call('HSET', session, 'model', model) end
if moved ~= held[7] then redis.call('HSET', session, 'moved', moved) end
if brings then
  local flag = name ~= '' and 's' or at == moved and 'm' or 'p'
  local text = table.concat({at, so_far, step, flag, digest, name, rest}, ' ')
  redis.call('RPUSH', points, text)
  if digest ~= '-' then redis.call('HSETNX', states, digest, state) end
  all[#all + 1] = parsed(text)
  if lives then pcall(trim, all) end -- what stays for once harms nobody
end
if record ~= '' then redis.pcall('PUBLISH', session, '') end -- see redis_bell.py
return {0, held[4], held[5]}
