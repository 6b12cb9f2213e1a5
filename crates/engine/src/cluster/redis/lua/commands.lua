-- The commands. Each is a function of (offer, now, command) to an answer; a command's own arguments start at its sixth field.
-- What all have in common (epoch, clock, bounds, settling) is in main.lua.

local commands = {}

-- Commands that decide nothing by the rules: they neither settle nor obey the outbox's bound.
local plain = {}

local function replied(o, claim, seq, replayed)
  return { OK, seq, o.new_claims[seq] or pack(claim), replayed or false }
end

local function view(o, seq)
  return { OK, seq, pack(place_at(o, seq)), position_of(o, seq) }
end

local function not_held(claim) return { REFUSED, R_NOT_HELD, claim[STATUS] } end

function commands.claim(o, now, c)
  local name, quantity, key, attributes, pass, nonce = c[6], c[7], c[8], c[9], c[10], c[11]
  local user = user_of(o, name)
  local seq = user and key and key_of(o, key_name(name, key))
  if seq then
    local claim = claim_at(o, seq)
    if claim[QUANTITY] == quantity and sent_of(claim[ATTRIBUTES]) == attributes then return replied(o, claim, seq, true) end
    return { REFUSED, R_KEY_REUSED }
  end
  local once = o.terms[T_PASS_ONCE] and c[12] and string.format('%d-%d-%d', unpack(c[12]))
  local refused = check_entry(o, pass, now) or check_pass(o, once) or check_limit(o, user, quantity) or check_quantity(o, quantity)
  if refused then return refused end
  if o.waiting > 0 or quantity > remaining_of(o) then
    return { REFUSED, R_SOLD_OUT, o.terms[T_STANDBY], o.held, remaining_of(o) }
  end
  if once then attributes = with_pass(attributes, once) end
  seq = take(o, name, quantity, key, attributes, nonce, o.terms[T_HOLD], now)
  return replied(o, o.claims[seq], seq)
end

function commands.confirm(o, now, c)
  local actor, name, seq, nonce = c[6], c[7], c[8], c[9]
  local claim = owned(o, actor, name, seq, nonce)
  if not claim then return { REFUSED, R_CLAIM } end
  if actor == 0 and not o.terms[T_USER_CONFIRMS] then return { REFUSED, R_FORBIDDEN } end
  local status = claim[STATUS]
  if status == CONFIRMED then return replied(o, claim, seq) end
  if status == EXPIRED then return { REFUSED, R_DEADLINE } end
  if status ~= HELD then return not_held(claim) end
  local granted = give(granted_by(o), claim[USER], id_bytes(o.number, seq, nonce), nonce, now)
  return replied(o, change(o, seq, claim, CONFIRMED, now, granted), seq)
end

function commands.release(o, now, c)
  local seq = c[8]
  local claim = owned(o, c[6], c[7], seq, c[9])
  if not claim then return { REFUSED, R_CLAIM } end
  if claim[STATUS] == RELEASED then return replied(o, claim, seq) end
  if claim[STATUS] ~= HELD then return not_held(claim) end
  local answer = replied(o, change(o, seq, claim, RELEASED, now), seq)
  serve_waiting(o, now)
  return answer
end

function commands.take_back(o, now, c)
  local seq, restock = c[6], c[8]
  local claim = owned(o, 2, false, seq, c[7])
  if not claim then return { REFUSED, R_CLAIM } end
  if claim[STATUS] == RETURNED then return replied(o, claim, seq) end
  if claim[STATUS] ~= CONFIRMED then return not_held(claim) end
  claim = change(o, seq, claim, RETURNED, now)
  local answer = replied(o, claim, seq)
  if restock then
    serve_waiting(o, now)
  else
    emit_terms(o, edited(o, T_QUANTITY, max(o.terms[T_QUANTITY] - claim[QUANTITY], taken_of(o), 0)))
  end
  return answer
end

function commands.read_claim(o, _, c)
  local claim = owned(o, c[6], c[7], c[8], c[9])
  if not claim then return { REFUSED, R_CLAIM } end
  return replied(o, claim, c[8])
end

function commands.join_standby(o, now, c)
  local name, quantity, pass, nonce = c[6], c[7], c[8], c[9]
  local refused = check_entry(o, pass, now)
  if refused then return refused end
  if not o.terms[T_STANDBY] then return { REFUSED, R_NO_STANDBY } end
  local user = user_of(o, name)
  local place = user and user[PLACE] ~= NONE and place_at(o, user[PLACE])
  if place and is_open(o, place) then
    if place[QUANTITY] == quantity then return view(o, user[PLACE]) end
    return limit_reached(o, user)
  end
  refused = check_limit(o, user, quantity) or check_quantity(o, quantity)
  if refused then return refused end
  if not can_be_served(o, quantity) then
    return { REFUSED, R_QUANTITY, o.terms[T_MIN], min(o.terms[T_MAX], remaining_of(o) + o.held) }
  end
  local seq = o.next_place
  emit_place(o, seq, { name, quantity, WAITING, 1, now, now, NONE, '', nonce })
  -- Who joins while units are left gets what a claim would get, no longer hold.
  serve_standby(o, o.terms[T_HOLD], SETTLE_MOST, now)
  return view(o, seq)
end

function commands.read_standby(o, _, c)
  if not owned_place(o, c[6], c[7], c[8], c[9]) then return { REFUSED, R_STANDBY } end
  return view(o, c[8])
end

function commands.leave_standby(o, now, c)
  local place = owned_place(o, c[6], c[7], c[8], c[9])
  if not place then return { REFUSED, R_STANDBY } end
  if place[STATUS] == WAITING then
    change_place(o, c[8], place, LEFT, now)
    serve_waiting(o, now)
  end
  return { OK }
end

-- At most 512 claims and places together, so what goes of the hash is far below what `unpack` takes.
function commands.forget_user(o, now, c)
  local name, pseudonym, claims, places, last = c[6], c[7], c[8], c[9], c[10]
  local found = {}
  for i = 1, #claims, 2 do
    local claim = owned(o, 0, name, claims[i], claims[i + 1])
    if claim then
      found[#found + 1] = claims[i]
      if claim[STATUS] == HELD then return { REFUSED, R_IN_USE } end
    end
  end
  if state_at(o, now) ~= CLOSED then return { REFUSED, R_IN_USE } end
  for _, seq in ipairs(found) do
    local claim = claim_at(o, seq)
    local new = { unpack(claim) }
    new[USER], new[KEY], new[ATTRIBUTES], new[VERSION], new[UPDATED] = pseudonym, false, false, claim[VERSION] + 1, now
    emit_claim(o, seq, new)
  end
  local left = 0
  for i = 1, #places, 2 do
    local place = owned_place(o, 0, name, places[i], places[i + 1])
    if place then
      local new = { unpack(place) }
      if place[STATUS] == WAITING then new[STATUS] = LEFT end
      new[USER], new[VERSION], new[P_UPDATED] = pseudonym, place[VERSION] + 1, now
      emit_place(o, places[i], new)
      left = left + 1
    end
  end
  local user = last and user_of(o, name)
  if user and user[TAKEN] == 0 then
    o.users[name], o.new_users[name] = false, nil
    remove_field(o, 'u' .. name)
    o.dirty = true
  end
  return { OK, #found, left }
end

function commands.offer(o, now)
  return { OK, pack(o.terms), remaining_of(o), o.held, o.confirmed, o.waiting, o.version, state_at(o, now), next_deadline(o) }
end

function commands.define(o, _, c)
  local terms, if_revision = c[6], c[7]
  if if_revision and if_revision ~= o.terms[T_REVISION] then return { CONFLICT, o.terms[T_REVISION] } end
  if terms[T_QUANTITY] < taken_of(o) then return { REFUSED, R_TAKEN, taken_of(o) } end
  if terms[T_PASS_ONCE] and o.waiting > 0 then return { REFUSED, R_IN_USE } end
  terms[T_REVISION] = o.terms[T_REVISION] + 1
  emit_terms(o, terms)
  return { OK }
end

function commands.restock(o, now, c)
  local taken, quantity = taken_of(o), o.terms[T_QUANTITY] + c[6]
  if quantity < taken then return { REFUSED, R_TAKEN, taken } end
  if quantity > QUANTITY_MAX then return { REFUSED, R_QUANTITY, taken, QUANTITY_MAX } end
  emit_terms(o, edited(o, T_QUANTITY, quantity))
  serve_waiting(o, now)
  return { OK }
end

function commands.close(o, now)
  if not o.terms[T_CLOSES] or o.terms[T_CLOSES] > now then
    local terms = edited(o, T_CLOSES, now)
    -- An offer that is closed before it opened never opens.
    if terms[T_OPENS] and terms[T_OPENS] > now then terms[T_OPENS] = false end
    emit_terms(o, terms)
  end
  return { OK }
end

function commands.delete(o, now)
  if taken_of(o) > 0 or (o.waiting > 0 and state_at(o, now) ~= CLOSED) then return { REFUSED, R_IN_USE } end
  o.deleted = true
  note(o, E_DELETED, 0, false)
  return { OK }
end

-- Below: what the node does for itself.

-- Creates the offer with its first event. A clock that tests set is allowed here or never.
function plain.create(o, now, c)
  if o then return { EXISTS, o.epoch } end
  if c[4] and not c[7] then return { CLOCK } end
  local number = c[2]
  o = { number = number, key = run.prefix .. number, terms = c[6], claims = {}, users = {}, places = {}, keys = {}, due = {}, wait = {},
    new_claims = {}, new_users = {}, new_places = {}, new_keys = {}, dirty = true, new_terms = true, version = 0, epoch = c[3],
    suspended = c[8], debug = c[7], deleted = false, time = now, held = 0, confirmed = 0, next_seq = 0, next_place = 0, waiting = 0, life = life(), new_life = true,
    first = NONE, next_due = false, last = '' }
  run.offers[number] = o
  -- One that is made to be loaded has its first event from where it is loaded.
  if not o.suspended then
    emit_terms(o, o.terms)
    end_record(o, now, c[5])
  end
  return { OK }
end

-- Stops all decisions under a new epoch; what the old one still has under way is refused from here on.
function plain.suspend(o, _, c)
  if not o then return { UNKNOWN } end
  if c[6] < o.epoch then return { EPOCH, o.epoch } end
  o.epoch, o.suspended, o.dirty = c[6], true, true
  return { OK }
end

-- Only with the version that whoever restored it knows: a replica that was promoted meanwhile may have less.
function plain.resume(o, _, c)
  if not o then return { UNKNOWN } end
  if c[3] ~= o.epoch then return { EPOCH, o.epoch } end
  if o.broken then return { SUSPENDED } end
  if c[6] ~= o.version then return { STALE, o.version } end
  o.suspended, o.dirty = false, true
  o.life, o.new_life = life(), true
  return { OK }
end

-- Makes the state what events say: kind, version, sequence number and state in turn. Only while it is suspended, and in the life of Redis in
-- which it was created: in another one what was loaded before this may be missing.
function plain.load(o, _, c)
  if not o then return { UNKNOWN } end
  if c[3] ~= o.epoch then return { EPOCH, o.epoch } end
  if not o.suspended or o.life ~= life() then return { SUSPENDED } end
  local events = c[6]
  for i = 1, #events, 4 do
    local kind, version, seq, state = events[i], events[i + 1], events[i + 2], events[i + 3]
    o.version = max(o.version, version)
    if kind == E_CLAIM then
      put_claim(o, seq, state)
    elseif kind == E_STANDBY then
      put_place(o, seq, state)
    elseif kind == E_DELETED then
      o.deleted = true
    elseif state[T_REVISION] >= o.terms[T_REVISION] then
      o.terms, o.new_terms = state, true
    end
  end
  o.dirty = true
  return { OK }
end

-- Removes entries that the journal has: id and the offer's version after it, in turn. Where Redis knows an older version than the journal,
-- it has stepped back, and the offer stops at once. Draining removes what an earlier epoch left as well: its answers were never given.
function plain.shipped(o, _, c)
  local entries, draining = c[6], c[7]
  local ids, stale = {}, false
  for i = 1, #entries, 2 do
    ids[#ids + 1] = entries[i]
    if o and entries[i + 1] > o.version then stale = true end
  end
  if not o and not draining then return { UNKNOWN } end
  if o and stale and not draining and not o.suspended then
    o.suspended, o.dirty = true, true
  end
  if not draining and c[3] ~= o.epoch then return { EPOCH, o.epoch } end
  if stale and not draining then return { STALE, o.version } end
  if #ids > 0 then write('XDEL', run.outbox, unpack(ids)) end
  return { OK }
end

-- Entries of the outbox from an id on, for whoever ships what its own node did not; with an age, those that are at least so many milliseconds
-- old. Where ids are ahead of the clock, as that of the primary before this one may have been, nobody can tell.
function plain.outbox(_, _, c)
  local upto = '+'
  if c[8] then
    local newest = call('XREVRANGE', run.outbox, '+', '-', 'COUNT', 1)[1]
    if newest and tonumber(string.match(newest[1], '^%d+')) <= run.now then upto = string.format('%d', run.now - c[8]) end
  end
  local rows = call('XRANGE', run.outbox, c[6], upto, 'COUNT', c[7])
  local entries = {}
  for _, row in ipairs(rows) do
    entries[#entries + 1] = row[1]
    entries[#entries + 1] = row[2][2]
  end
  return { OK, entries }
end

-- Claims in their order, for reconciliation: sequence number and state in turn; and where to go on.
function plain.claims(o, _, c)
  if not o then return { UNKNOWN } end
  local from, upto = c[6], min(c[6] + c[7], o.next_seq)
  local found = {}
  for seq = from, upto - 1 do
    local claim = claim_at(o, seq)
    if claim then
      found[#found + 1] = seq
      found[#found + 1] = pack(claim)
    end
  end
  return { OK, found, upto < o.next_seq and upto }
end

-- What is known of each of these offers: epoch, version, whether it is suspended, broken and deleted; or false.
function plain.standings(_, _, c)
  local found = {}
  for i, number in ipairs(c[6]) do
    local o = offer_of(number)
    found[i] = o and { o.epoch, o.version, o.suspended, o.broken, o.deleted }
  end
  return { OK, found }
end

-- Forgets an offer that was deleted, or that is to be loaded anew.
function plain.forget(o, _, c)
  if not o then return { OK } end
  if c[3] < o.epoch then return { EPOCH, o.epoch } end
  if not (o.deleted or o.suspended) then return { REFUSED, R_IN_USE } end
  write('UNLINK', o.key, o.key .. ':due', o.key .. ':wait')
  run.offers[o.number] = false
  return { OK }
end
