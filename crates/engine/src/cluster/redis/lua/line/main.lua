-- One run: the key is the zone's outbox; the first argument is the outbox's bound, the rest are commands, each
-- { name, zone, epoch of the state, clock or false, audit or false, ... }.
--
-- The reply has the form of a run over offers: where the outbox begins (its first entry, or after it is empty the last id that it gave; and which
-- of the two), the answers each after the id of the entry that it depends on, the entries that this run wrote, and in which life of Redis all this was.

line.binding = { create = true, define = true, leave = true, delete = true }

-- Whether an answer shows something that must not be forgotten. Who waits is told nothing that binds; who came while numbers are being reserved
-- is answered when that is in the journal, and asks again.
function line.binds(name, answer)
  if answer[1] ~= OK then return false end
  if name == 'poll' then return answer[2] == 0 end
  if name == 'join' then
    if answer[2] then return answer[7] == 0 end
    return answer[3]
  end
  return line.binding[name]
end

-- Plain commands that change nothing.
line.reads = { outbox = true, standing = true }

-- What stands in the way of deciding, or nil.
function line.hindrance(c)
  if not z or z.deleted then return { UNKNOWN } end
  if c[3] ~= z.state_epoch then return { EPOCH, z.state_epoch } end
  if z.suspended or z.broken then return { SUSPENDED } end
  run.life = run.life or line.life()
  if z.life ~= run.life then return { SUSPENDED } end
  if c[4] and not z.debug then return { CLOCK } end
  if needs_room[c[1]] and not line.room_in_outbox() then return { OVERLOADED } end
end

function line.decide(c)
  if c[2] ~= number then error('a command for zone ' .. c[2]) end
  local command = plain[c[1]]
  if command then
    if c[4] and z and not z.debug then return { CLOCK } end
    local answer = command(c[4] or run.now, c)
    run.dirty = run.dirty or not line.reads[c[1]]
    if z then line.end_record(z.clock, c[5]) end
    return answer
  end
  local hindered = line.hindrance(c)
  if hindered then return hindered end
  local now = max(c[4] or run.now, z.clock)
  z.clock = now
  run.dirty = true
  line.pass(now)
  local answer = commands[c[1]](now, c)
  line.end_record(now, c[5])
  return answer
end

-- Writes all that was decided; returns the entries of the outbox, as id and record in turn.
function line.flush()
  local entries, ids = {}, {}
  for i, record in ipairs(run.records) do
    local id = write('XADD', KEYS[1], '*', 'r', record)
    ids[i] = id
    entries[2 * i - 1], entries[2 * i] = id, record
  end
  if not z or not run.dirty then return entries, ids end
  z.last = ids[#ids] or z.last
  line.flush_order()
  line.flush_wheel()
  line.flush_plan()
  if run.new_settings then write('HSET', key .. 'zone', 't', pack(settings)) end
  write('HSET', key .. 'zone', 'h', line.state_fields())
  return entries, ids
end

function line.decided()
  line.load_zone()
  run.room = max(0, tonumber(ARGV[1]) - call('XLEN', KEYS[1]))
  local answers = {}
  for i = 2, #ARGV do
    local c = unpacked(ARGV[i])
    local answer = line.decide(c)
    local depends = z and line.binds(c[1], answer) and (#run.records > 0 and #run.records or z.last) or ''
    answers[#answers + 1] = { depends, pack(answer) }
  end
  local entries, ids = line.flush()
  local told = {}
  for i, answer in ipairs(answers) do
    told[2 * i - 1] = ids[answer[1]] or answer[1]
    told[2 * i] = answer[2]
  end
  local life = run.life or line.life()
  local head = call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if head then return { head[1], 1, told, entries, life } end
  -- Every entry is gone, so the last one that this zone wrote is the last id there was.
  return { z and z.last or '', 0, told, entries, life }
end

local clock = call('TIME')
run.now = tonumber(clock[1]) * 1000 + floor(tonumber(clock[2]) / 1000)

-- While the slot is on its way to another node, some of the line's keys are there already, and Redis knows only of the declared one whether it
-- is. But it lets no script of the node that it leaves look at a key that is not there; so this looks for one that never is.
local probe = redis.pcall('EXISTS', key .. 'none')
if type(probe) == 'table' then return redis.error_reply('TRYAGAIN ' .. tostring(probe.err)) end

local fine, reply = pcall(line.decided)
if fine then return reply end
-- A bug, or a key of another type. Before the first write nothing has happened; after it this zone is in doubt and stops.
if run.wrote then call('HSET', key .. 'zone', 'x', '1') end
return redis.error_reply((run.wrote and 'BROKEN ' or 'FAULT ') .. tostring(type(reply) == 'table' and reply.err or reply))
