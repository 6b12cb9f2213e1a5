-- One run: KEYS are the outbox and three keys of each offer that the commands may touch (among them the one that the tag is named after); the
-- first argument is the outbox's bound, the rest are commands, each { name, offer, epoch, clock or false, audit or false, ... }.
--
-- The reply: where the outbox begins (its first entry, or after it is empty the last id that it gave; and which of the two), the answers
-- each after the id of the entry that it depends on, the entries that this run wrote, and in which life of Redis all this was.

-- The later of two ids of stream entries.
local function later(one, other)
  if one == '' then return other end
  if other == '' then return one end
  local a, b = string.match(one, '^(%d+)-(%d+)$')
  local c, d = string.match(other, '^(%d+)-(%d+)$')
  a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
  if a > c or (a == c and b >= d) then return one end
  return other
end

-- What stands in the way of deciding, or nil.
local function hindrance(o, g, c, room)
  if not o or o.deleted then return { UNKNOWN } end
  if c[3] ~= o.epoch then return { EPOCH, o.epoch } end
  -- What this decides about the other carries this one's epoch.
  if g and not g.deleted and g.epoch ~= o.epoch then return { EPOCH, g.epoch } end
  if o.suspended or o.broken or (g and (g.suspended or g.broken)) then return { SUSPENDED } end
  if o.life ~= life() or (g and g.life ~= life()) then return { SUSPENDED } end
  if c[4] and not (o.debug and (not g or g.debug)) then return { CLOCK } end
  if #run.records >= room then return { OVERLOADED } end
end

-- Time for this offer, and for the one that it grants: never before what either has seen.
local function time_for(o, g, given)
  local now = max(given or run.now, o.time)
  if g then now = max(now, g.time) end
  if now > o.time then o.time, o.dirty = now, true end
  if g and now > g.time then g.time, g.dirty = now, true end
  return now
end

-- Of the plain commands, those whose answers show what must be durable first. What stands in the way of deciding shows nothing.
local told = { create = true, claims = true }

-- The answer, and the offers whose last entries it depends on.
local function decide(c, room)
  local o = offer_of(c[2])
  local command = plain[c[1]]
  if command then
    local answer = command(o, c[4] or run.now, c)
    return answer, told[c[1]] and run.offers[c[2]]
  end
  local g = o and granted_by(o)
  local hindered = hindrance(o, g, c, room)
  if hindered then return hindered end
  local now = time_for(o, g, c[4])
  if settle_rounds(o, now) then return { AGAIN }, o, g end
  local answer = commands[c[1]](o, now, c)
  end_record(o, now, c[5])
  return answer, o, g
end

local function decided()
  local limit = tonumber(ARGV[1])
  local room = max(0, limit - call('XLEN', run.outbox))
  local answers = {}
  for i = 2, #ARGV do
    local answer, o, g = decide(unpacked(ARGV[i]), room)
    -- Its own offer's last entry, and the granted one's: from an earlier run by its id, from this one by its place in it.
    local of, granted = o and run.offers[o.number], g and run.offers[g.number]
    answers[#answers + 1] = { of and (of.record or of.last) or '', granted and (granted.record or granted.last) or '', pack(answer) }
  end
  local entries, ids = flush()
  local replies = {}
  for i, answer in ipairs(answers) do
    local own, granted = ids[answer[1]] or answer[1], ids[answer[2]] or answer[2]
    replies[2 * i - 1] = later(own, granted)
    replies[2 * i] = answer[3]
  end
  local head = call('XRANGE', run.outbox, '-', '+', 'COUNT', 1)[1]
  if head then return { head[1], 1, replies, entries, life() } end
  local last = ''
  if call('EXISTS', run.outbox) == 1 then
    local info = call('XINFO', 'STREAM', run.outbox)
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then last = info[i + 1] end
    end
  end
  return { last, 0, replies, entries, life() }
end

for _, key in ipairs(KEYS) do run.declared[key] = true end
run.tag = tonumber(string.match(run.prefix, '{(%d+)}'))
local clock = call('TIME')
run.now = tonumber(clock[1]) * 1000 + floor(tonumber(clock[2]) / 1000)

local fine, reply = pcall(decided)
if fine then return reply end
-- A bug, or a key of another type. Before the first write nothing has happened; after it these offers are in doubt and stop.
if run.wrote then
  for _, o in pairs(run.offers) do
    if o then call('HSET', o.key, 'x', '1') end
  end
end
return redis.error_reply((run.wrote and 'BROKEN ' or 'FAULT ') .. tostring(type(reply) == 'table' and reply.err or reply))
