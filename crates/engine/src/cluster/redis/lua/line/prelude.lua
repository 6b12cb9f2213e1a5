-- The line of one zone, as a run of the script knows it: what is read once and written once.
--
-- A run is one call of the script with the commands of one zone. What every command needs (`z`, the counters and sums; `settings`) is read at its
-- start; tickets and sums of the tree are read as they are needed. All of it is written at the end, so that sixty-four polls of one call
-- cost one reading and one writing of what they share. Bits, sorted sets and lists are written at once, since they are asked by Redis's own commands.
--
-- Keys, all under the tag of the zone; <g> is a generation, one more with each reset and each restore, so that neither has to empty anything:
--
--   outbox        stream: what was decided and is not known to be in the journal
--   zone          hash: h state, t settings, p plan, n finished minutes, g what is still to be swept away, x set when a bug stopped it
--   s:<g>:<n>     string: slots of the tickets 1024 n .. 1024 n + 1023
--   u:<g>         hash: n -> tickets known in s:<g>:<n>; a chunk goes with its last one
--   a: p: w:<g>:<m>  strings: one bit for each of the tickets 8192 m .. 8192 m + 8191: alive, present, waiting (dormant ones too)
--   f: v:<g>:<l>:<i> strings: sums of 32 chunks of bits, then of 32 such sums, and so on: alive and present; waiting
--   b:<g>:<t>     list: tickets whose deadline comes up in the quarter second t of the wheel
--   k:<g>:<h>     hash: nonce of a client's key -> sequence number
--   e:<g>:<m>     string: bits of tickets that have ended, while tickets may be put back
--   lt, lk        sorted sets: admissions of the last minute, by time and by number
--   former        sorted set: sessions of older epochs by their end
--
-- Numbers are doubles: exact below 2^53, which times, totals and sequence numbers are. Nonces stand here as their eight bytes. `false` stands for
-- "none", since a table has no nil.

-- As in bunho_domain::line; a test compares them.
local RESERVE_BLOCK = 10000
local SWEEP_BUDGET = 64
local POLL_SLACK_MS = 2000
local TICK_MS = 250
local BUCKETS = 512
local KEPT_MS = 60000
local PERIOD_FLOOR_MS = 20
local POLLS_PER_MS = 20
local SPREAD_PART = 4
local POLLS_ON_THE_WAY = 4
local JITTER_PARTS = 10
local HASTY_MAX = 3
local FRONT_EVERY_MS = 10000
local MINUTES_PENDING_MAX = 60

local U32 = 4294967295
-- Arguments of one command: unpack has a limit near 8,000.
local ARGS_MOST = 500

-- Kinds of events; the numbers below are those of offers.
local E_ZONE, E_RESERVED, E_ADMITTED, E_LEFT, E_MINUTE, E_ZONE_DELETED, E_FRONT = 4, 5, 6, 7, 8, 9, 10

-- Answers, as of offers. A refusal is followed by which.
local OK, REFUSED, UNKNOWN, SUSPENDED, EPOCH, OVERLOADED, CLOCK, CONFLICT, EXISTS, STALE = 0, 1, 2, 3, 4, 5, 7, 8, 9, 10
local R_GONE, R_TOO_FAST, R_IN_USE = 0, 1, 2

-- States of a line.
local MOVING, NOT_OPEN, PAUSED, CLOSED, SOLD_OUT, RECOVERING = 0, 1, 2, 3, 4, 5

-- Columns of the settings: what the rules read, and the rest as the node's own bytes.
local LIMIT, WINDOW, SLOT, ABANDON, GRACE, POLL_MS, POLL_MAX_MS, OPENS, CLOSES, IS_PAUSED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local SEATS, SESSION, PASS, REVISION, T_EPOCH, ID = 11, 12, 13, 14, 15, 16

local call, pack, unpacked = redis.call, cmsgpack.pack, cmsgpack.unpack
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local byte, sub = string.byte, string.sub
local spack, sunpack = struct.pack, struct.unpack

local key = string.sub(KEYS[1], 1, -7) -- without "outbox"
local number = tonumber(string.match(key, '{z(%d+)}'))

-- Every function is here and not in a local of its own: Lua looks for each local that a function uses in a list of all such locals, which for
-- two hundred of them took three quarters of a short run.
local line = {}

-- The zone: its state and settings, or nil while there is none.
local z, settings

local run = {
  now = 0,
  wrote = false,
  dirty = false,
  new_settings = false,
  room = 0,         -- entries that the outbox still takes
  records = {},     -- packed, for the outbox
  events = {},      -- of the record that is being made
  slots = {},       -- sequence number -> slot, or false
  changed = {},     -- sequence numbers of slots to write
  used = {},        -- chunk -> tickets more or less in it
  nodes = {},       -- of the tree of sums
  pushes = {},      -- bucket of the wheel -> sequence numbers
  before = {},      -- moment -> admissions before it
  plan = nil,       -- false: none is stored
  new_plan = false,
  hold = false,     -- see commands.lua
}

local function write(...)
  run.wrote = true
  return call(...)
end

-- Which life of which Redis node this is: another one after a restart, and after a replica was promoted. A state that was last
-- made sure of in another life may lack what was answered since: nothing is decided on it until somebody has looked.
function line.life()
  return string.match(call('INFO', 'replication'), 'master_replid:(%w+)')
end

-- What is told from here on is told to this life of Redis.
function line.begin_life()
  z.life = line.life()
  write('HSET', key .. 'zone', 'i', z.life)
end

-- Whether it still has what it was told since: after a failover some of it may be missing.
function line.is_being_restored()
  return z.suspended and z.life == line.life()
end

-- From here on this state is as true as can be.
function line.is_sure()
  z.suspended, z.broken = false, false
  line.begin_life()
end

function line.load_zone()
  local raw = call('HMGET', key .. 'zone', 'h', 't', 'x', 'i')
  if not raw[1] then return end
  settings = unpacked(raw[2])
  z = { broken = raw[3] and true or false, life = raw[4] }
  z.version, z.state_epoch, z.suspended, z.debug, z.deleted, z.last, z.clock, z.random, z.gen, z.epoch, z.next, z.reserved, z.reserving,
    z.alive, z.present, z.levels, z.active, z.highest, z.front_told, z.front_at, z.tick, z.former_next, z.minute, z.entered, z.dropped,
    z.finished, z.log_total, z.log_last, z.log_before, z.log_dropped, z.log_oldest, z.pace_at, z.forgotten_at, z.fresh, z.present_seconds,
    z.losses, z.first_polls, z.first_misses, z.pace_used, z.pace_allowed, z.admissions, z.waiting_seconds, z.watched, z.listen_until,
    z.restore_until, z.recovery_front, z.below, z.garbage, z.stood, z.left_in_all, z.silent_in_all, z.unused_in_all = unpacked(raw[1])
  -- A node of an earlier version wrote it last.
  z.stood, z.left_in_all, z.silent_in_all, z.unused_in_all = z.stood or 0, z.left_in_all or 0, z.silent_in_all or 0, z.unused_in_all or 0
end

function line.state_fields()
  return pack(z.version, z.state_epoch, z.suspended, z.debug, z.deleted, z.last, z.clock, z.random, z.gen, z.epoch, z.next, z.reserved,
    z.reserving, z.alive, z.present, z.levels, z.active, z.highest, z.front_told, z.front_at, z.tick, z.former_next, z.minute, z.entered,
    z.dropped, z.finished, z.log_total, z.log_last, z.log_before, z.log_dropped, z.log_oldest, z.pace_at, z.forgotten_at, z.fresh,
    z.present_seconds, z.losses, z.first_polls, z.first_misses, z.pace_used, z.pace_allowed, z.admissions, z.waiting_seconds, z.watched,
    z.listen_until, z.restore_until, z.recovery_front, z.below, z.garbage, z.stood, z.left_in_all, z.silent_in_all, z.unused_in_all)
end

-- An event: kind, zone, version, sequence number, and the rest packed.
function line.note(kind, seq, ...)
  z.version = z.version + 1
  run.events[#run.events + 1] = { kind, number, z.version, seq, pack(...) }
end

-- Ends a record: what happened since the last one, with the time and who did it; and for whoever ships it, the zone, its epoch and its version.
function line.end_record(now, audit)
  if #run.events == 0 then return end
  run.records[#run.records + 1] = pack(now, audit or false, run.events, number, z.state_epoch, z.version)
  run.events = {}
end

function line.room_in_outbox()
  return #run.records < run.room
end

-- Keys to be deleted, a few at a time: see sweep_away.
function line.throw_away(what)
  local raw = call('HGET', key .. 'zone', 'g')
  local list = raw and unpacked(raw) or {}
  list[#list + 1] = what
  write('HSET', key .. 'zone', 'g', pack(list))
  z.garbage = #list
end
