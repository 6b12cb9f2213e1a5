-- What every command needs: the state of the offers in this run, read once and written once.
--
-- A run is one call of the script with the commands of one tag. Everything is decided on tables in memory; `flush` then writes
-- what changed. So a run of sixty-four claims costs a few calls of Redis instead of hundreds, and an error inside a
-- decision leaves nothing half written.
--
-- Numbers are doubles: exact below 2^53, which times, versions, quantities and sequence numbers are. Nonces, prices and whole ids
-- are not, and stand here as bytes. `false` stands for "none", since a table has no nil.

-- As in bunho_domain::limits; a test compares them.
local SETTLE_MOST = 512
local ENDED_PER_USER_MAX = 10000
local REFUSAL_CLAIMS_MAX = 10
local ORDINAL_LIMIT_MAX = 64
local QUANTITY_MAX = 1000000000
-- Rounds of settling in one run: 4 x 512 holds take some 10 ms, during which Redis does nothing else.
local ROUNDS_MOST = 4
-- Pairs in one HSET: unpack has a limit near 8,000.
local PAIRS_MOST = 500

local NONE = -1
local HELD, CONFIRMED, RELEASED, EXPIRED, RETURNED = 0, 1, 2, 3, 4
local WAITING, SERVED, LEFT, PASSED = 0, 1, 2, 3
local NOT_OPEN, OPEN, SOLD_OUT, CLOSED = 0, 1, 2, 3

-- Columns of a claim. The links to the user's newer and older live claims are the state's own and no part of events.
local USER, QUANTITY, STATUS, VERSION, KEY, ATTRIBUTES, CREATED, UPDATED = 1, 2, 3, 4, 5, 6, 7, 8
local DEADLINE, ORDINAL, GRANTED, NONCE, NEWER, OLDER = 9, 10, 11, 12, 13, 14
-- Columns of a place on standby; the first four are a claim's.
local P_CREATED, P_UPDATED, P_CLAIM, P_CLAIM_NONCE, P_NONCE = 5, 6, 7, 8, 9
-- Columns of a user.
local NEWEST, TAKEN, PLACE, ENDED, HAD = 1, 2, 3, 4, 5
-- Columns of the terms: what the rules read of the settings, and the rest as the node's own bytes.
local T_QUANTITY, T_LIMIT, T_MIN, T_MAX, T_HOLD, T_OPENS, T_CLOSES, T_ZONE = 1, 2, 3, 4, 5, 6, 7, 8
local T_GRANTS, T_GRANT_ONLY, T_STANDBY, T_STANDBY_HOLD, T_USER_CONFIRMS, T_REVISION, T_REST = 9, 10, 11, 12, 13, 14, 15
-- Only there where it is true: a node from before it was there reads all other offers as ever.
local T_PASS_ONCE = 16

-- Kinds of events.
local E_DEFINED, E_CLAIM, E_STANDBY, E_DELETED = 0, 1, 2, 3

-- Answers: done; refused by a rule; and what the node must do something about.
local OK, REFUSED, UNKNOWN, SUSPENDED, EPOCH, OVERLOADED, AGAIN, CLOCK, CONFLICT, EXISTS, STALE = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
-- Refusals, as bunho_domain::offer::refusal.
local R_NOT_OPEN, R_CLOSED, R_PASS_REQUIRED, R_PASS_INVALID, R_FORBIDDEN, R_LIMIT, R_QUANTITY, R_SOLD_OUT = 0, 1, 2, 3, 4, 5, 6, 7
local R_KEY_REUSED, R_NOT_HELD, R_DEADLINE, R_CLAIM, R_STANDBY, R_NO_STANDBY, R_TAKEN, R_IN_USE = 8, 9, 10, 11, 12, 13, 14, 15
local R_PASS_USED = 16

local call, pack, unpacked = redis.call, cmsgpack.pack, cmsgpack.unpack
local floor, min, max = math.floor, math.min, math.max

-- The run: what it knows, and what it will write.
local run = {
  outbox = KEYS[1],
  prefix = string.sub(KEYS[1], 1, -7), -- without "outbox"
  declared = {},                       -- keys that this run may touch
  offers = {},
  records = {},                        -- packed, for the outbox
  events = {},                         -- of the record that is being made
  touched = {},                        -- offers that it is about
  rounds = ROUNDS_MOST,
  now = 0,
  wrote = false,
}

local function write(...)
  run.wrote = true
  return call(...)
end

-- Which life of which Redis node this is: another one after a restart, and after a replica was promoted. A state that was last
-- made sure of in another life may lack what was answered since: nothing is decided on it until somebody has looked.
local function life()
  run.life = run.life or string.match(call('INFO', 'replication'), 'master_replid:(%w+)')
  return run.life
end

-- Sequence numbers as members of sorted sets: as wide as the widest, so that ties of a score stand in their order.
local function member(seq)
  return string.format('%010d', seq)
end

local function offer_of(number)
  local known = run.offers[number]
  if known ~= nil then return known end
  local key = run.prefix .. number
  if not run.declared[key] then error('offer ' .. number .. ' is not declared') end
  local raw = call('HMGET', key, 'o', 't', 'x', 'i')
  if not raw[1] then
    run.offers[number] = false
    return false
  end
  local o = { number = number, key = key, terms = unpacked(raw[2]), broken = raw[3] and true or false, life = raw[4],
    claims = {}, users = {}, places = {}, keys = {}, due = {}, wait = {},
    new_claims = {}, new_users = {}, new_places = {}, new_keys = {}, dirty = false, new_terms = false }
  o.version, o.epoch, o.suspended, o.debug, o.deleted, o.time, o.held, o.confirmed, o.next_seq, o.next_place, o.waiting, o.first,
    o.next_due, o.last = unpacked(raw[1])
  run.offers[number] = o
  return o
end

local function fields(o)
  return pack(o.version, o.epoch, o.suspended, o.debug, o.deleted, o.time, o.held, o.confirmed, o.next_seq, o.next_place, o.waiting,
    o.first, o.next_due, o.last)
end

local function claim_at(o, seq)
  local claim = o.claims[seq]
  if claim == nil then
    -- A number that was not given yet need not be looked for.
    local raw = seq < o.next_seq and call('HGET', o.key, 'c' .. seq)
    claim = raw and unpacked(raw) or false
    o.claims[seq] = claim
  end
  return claim
end

local function place_at(o, seq)
  local place = o.places[seq]
  if place == nil then
    local raw = seq < o.next_place and call('HGET', o.key, 's' .. seq)
    place = raw and unpacked(raw) or false
    o.places[seq] = place
  end
  return place
end

-- A user of this offer, or false while it knows none of that name.
local function user_of(o, name)
  local user = o.users[name]
  if user == nil then
    local raw = call('HGET', o.key, 'u' .. name)
    user = raw and unpacked(raw) or false
    o.users[name] = user
  end
  return user
end

local function user_to_change(o, name)
  local user = user_of(o, name)
  if not user then
    user = { NONE, 0, NONE, 0, 0 }
    o.users[name] = user
  end
  o.new_users[name] = user
  return user
end

-- User ids have no control characters, so a name and a key are told apart.
local function key_name(user, key)
  return user .. '\0' .. key
end

-- Passes stand among the keys, as those of a user whom there is not.
local function pass_name(pass)
  return key_name('', pass)
end

-- The sequence number of the claim that a key gave to a user, or that a pass took, by that name; or false.
local function key_of(o, name)
  local seq = o.keys[name]
  if seq == nil then
    local raw = call('HGET', o.key, 'k' .. name)
    seq = raw and tonumber(raw) or false
    o.keys[name] = seq
  end
  return seq
end

-- A field that `flush` takes away.
local function remove_field(o, field)
  o.gone = o.gone or {}
  o.gone[#o.gone + 1] = field
end

local function add_key(o, name, seq)
  o.keys[name], o.new_keys[name] = seq, seq
end

local function remove_key(o, name)
  o.keys[name], o.new_keys[name] = false, nil
  remove_field(o, 'k' .. name)
end

-- Writes what changed in a sorted set, so that it can be asked. Pending: sequence number -> score, or false: gone.
local function flush_set(key, pending)
  if next(pending) == nil then return end
  local add, rem = {}, {}
  for seq, score in pairs(pending) do
    if score then
      add[#add + 1] = score
      add[#add + 1] = member(seq)
    else
      rem[#rem + 1] = member(seq)
    end
    pending[seq] = nil
    if #add >= 2 * PAIRS_MOST then
      write('ZADD', key, unpack(add))
      add = {}
    end
    if #rem >= 2 * PAIRS_MOST then
      write('ZREM', key, unpack(rem))
      rem = {}
    end
  end
  if #add > 0 then write('ZADD', key, unpack(add)) end
  if #rem > 0 then write('ZREM', key, unpack(rem)) end
end

local function flush_due(o) flush_set(o.key .. ':due', o.due) end
local function flush_wait(o) flush_set(o.key .. ':wait', o.wait) end

-- Ends a record: what happened since the last one, with the time and who did it; and for whoever ships it, the offer that decided, its
-- epoch and its version.
local function end_record(o, now, audit)
  if #run.events == 0 then return end
  run.records[#run.records + 1] = pack(now, audit or false, run.events, o.number, o.epoch, o.version)
  for number in pairs(run.touched) do run.offers[number].record = #run.records end
  run.events, run.touched = {}, {}
end

local function flush_offer(o)
  -- First: a later command of this run may have set one again.
  local gone = o.gone or {}
  for i = 1, #gone, PAIRS_MOST do write('HDEL', o.key, unpack(gone, i, min(i + PAIRS_MOST - 1, #gone))) end
  local args = {}
  local function set(field, value)
    args[#args + 1] = field
    args[#args + 1] = value
    if #args >= 2 * PAIRS_MOST then
      write('HSET', o.key, unpack(args))
      args = {}
    end
  end
  for seq, packed in pairs(o.new_claims) do set('c' .. seq, packed or pack(o.claims[seq])) end
  for seq, packed in pairs(o.new_places) do set('s' .. seq, packed) end
  for name, user in pairs(o.new_users) do set('u' .. name, pack(user)) end
  for name, seq in pairs(o.new_keys) do set('k' .. name, tostring(seq)) end
  if o.new_life then set('i', o.life) end
  if o.new_terms then set('t', pack(o.terms)) end
  if o.dirty then set('o', fields(o)) end
  if #args > 0 then write('HSET', o.key, unpack(args)) end
  flush_due(o)
  flush_wait(o)
end

-- Writes all that was decided; returns the entries of the outbox, as id and record in turn.
local function flush()
  local entries, ids = {}, {}
  for i, record in ipairs(run.records) do
    local id = write('XADD', run.outbox, '*', 'r', record)
    ids[i] = id
    entries[2 * i - 1] = id
    entries[2 * i] = record
  end
  for _, o in pairs(run.offers) do
    if o then
      if o.record then
        o.last = ids[o.record]
        o.dirty = true
      end
      flush_offer(o)
    end
  end
  return entries, ids
end
