-- The rules of bunho_domain::offer, function by function under the same names and in the same order of checks. What is decided there is decided
-- here; the conformance suite holds the two together.

local give -- taking grants, granting settles, settling takes

local function taken_of(o) return o.held + o.confirmed end
local function remaining_of(o) return max(0, o.terms[T_QUANTITY] - o.held - o.confirmed) end
local function is_taken(status) return status == HELD or status == CONFIRMED end

local function state_at(o, now)
  local t = o.terms
  if t[T_CLOSES] and now >= t[T_CLOSES] then return CLOSED end
  if t[T_OPENS] and now < t[T_OPENS] then return NOT_OPEN end
  if remaining_of(o) == 0 or o.waiting > 0 then return SOLD_OUT end
  return OPEN
end

-- As bunho_domain::offer::once: which pass took a claim stands in front of what the client sent.
local PASS_PATTERN = '^{"bunho%.pass":"([^"]*)"(.*)$'

local function with_pass(attributes, pass)
  return '{"bunho.pass":"' .. pass .. '"' .. (attributes and ',' .. string.sub(attributes, 2) or '}')
end

local function pass_of(attributes)
  return attributes and string.match(attributes, PASS_PATTERN) or nil
end

-- What the client sent, of what is stored.
local function sent_of(attributes)
  local pass, rest = string.match(attributes or '', PASS_PATTERN)
  if not pass then return attributes end
  return rest ~= '}' and '{' .. string.sub(rest, 2)
end

-- Counts a taken claim out of the sums and its user's list.
local function count_out(o, claim)
  local user = user_to_change(o, claim[USER])
  if claim[STATUS] == HELD then o.held = o.held - claim[QUANTITY] else o.confirmed = o.confirmed - claim[QUANTITY] end
  user[TAKEN] = user[TAKEN] - claim[QUANTITY]
  local newer, older = claim[NEWER], claim[OLDER]
  if newer == NONE then
    user[NEWEST] = older
  else
    claim_at(o, newer)[OLDER] = older
    o.new_claims[newer] = false
  end
  if older ~= NONE then
    claim_at(o, older)[NEWER] = newer
    o.new_claims[older] = false
  end
end

local function count_in(o, seq, claim)
  local user = user_to_change(o, claim[USER])
  if claim[STATUS] == HELD then o.held = o.held + claim[QUANTITY] else o.confirmed = o.confirmed + claim[QUANTITY] end
  local newest = user[NEWEST]
  user[NEWEST] = seq
  user[TAKEN] = user[TAKEN] + claim[QUANTITY]
  claim[NEWER], claim[OLDER] = NONE, newest
  if newest ~= NONE then
    claim_at(o, newest)[NEWER] = seq
    o.new_claims[newest] = false
  end
end

-- Book::put, and the deadlines of Offer::apply. Returns the claim as bytes, or false where a version as high is known.
local function put_claim(o, seq, claim)
  local old = claim_at(o, seq)
  if old and old[VERSION] >= claim[VERSION] then return false end
  if seq >= o.next_seq then o.next_seq = seq + 1 end
  if old then
    if is_taken(old[STATUS]) then count_out(o, old) end
    if old[STATUS] == HELD then o.due[seq] = false end
    for _, column in ipairs({ CREATED, DEADLINE, ORDINAL, NONCE }) do claim[column] = old[column] end
    if claim[USER] == old[USER] then
      claim[KEY], claim[ATTRIBUTES] = old[KEY], old[ATTRIBUTES]
    else
      -- Somebody else's, who is nobody: it was forgotten whose it is.
      local pass = pass_of(old[ATTRIBUTES])
      if old[KEY] then remove_key(o, key_name(old[USER], old[KEY])) end
      if pass then remove_key(o, pass_name(pass)) end
    end
    claim[GRANTED] = claim[GRANTED] or old[GRANTED]
  else
    local pass = pass_of(claim[ATTRIBUTES])
    if claim[KEY] then add_key(o, key_name(claim[USER], claim[KEY]), seq) end
    if pass then add_key(o, pass_name(pass), seq) end
  end
  claim[NEWER], claim[OLDER] = NONE, NONE
  if is_taken(claim[STATUS]) then count_in(o, seq, claim) end
  local user = user_to_change(o, claim[USER])
  if claim[STATUS] == CONFIRMED or claim[STATUS] == RETURNED then user[HAD] = 1 end
  if claim[STATUS] == RELEASED or claim[STATUS] == EXPIRED then user[ENDED] = user[ENDED] + 1 end
  if claim[STATUS] == HELD and claim[DEADLINE] then
    o.due[seq] = claim[DEADLINE]
    if not o.next_due or claim[DEADLINE] < o.next_due then o.next_due = claim[DEADLINE] end
  end
  o.claims[seq] = claim
  local packed = pack(claim)
  o.new_claims[seq] = packed
  o.dirty = true
  return packed
end

-- Waits::put, and what Offer::apply notes of the user.
local function put_place(o, seq, place)
  local old = place_at(o, seq)
  if old and old[VERSION] >= place[VERSION] then return false end
  if seq >= o.next_place then o.next_place = seq + 1 end
  local was, is = old and old[STATUS] == WAITING, place[STATUS] == WAITING
  o.places[seq] = place
  local packed = pack(place)
  o.new_places[seq] = packed
  if is and not was then
    o.wait[seq] = seq
    o.waiting = o.waiting + 1
    o.first = o.waiting == 1 and seq or min(o.first, seq)
  elseif was and not is then
    o.wait[seq] = false
    o.waiting = o.waiting - 1
    if o.waiting > 0 and o.first == seq then
      flush_wait(o)
      o.first = tonumber(call('ZRANGE', o.key .. ':wait', 0, 0)[1])
    end
  end
  local user = user_to_change(o, place[USER])
  if user[PLACE] < seq then user[PLACE] = seq end
  if place[STATUS] == LEFT or place[STATUS] == PASSED then user[ENDED] = user[ENDED] + 1 end
  o.dirty = true
  return packed
end

-- An event: kind, offer, version, sequence number, and the whole new state.
local function note(o, kind, seq, state)
  o.version = o.version + 1
  o.dirty = true
  run.touched[o.number] = true
  run.events[#run.events + 1] = { kind, o.number, o.version, seq, state }
end

local function emit_claim(o, seq, claim) note(o, E_CLAIM, seq, put_claim(o, seq, claim)) end
local function emit_place(o, seq, place) note(o, E_STANDBY, seq, put_place(o, seq, place)) end

local function emit_terms(o, terms)
  o.terms, o.new_terms = terms, true
  note(o, E_DEFINED, 0, pack(terms))
end

local function change(o, seq, claim, status, now, granted)
  local new = { unpack(claim) }
  new[STATUS], new[VERSION], new[UPDATED] = status, claim[VERSION] + 1, now
  if granted then new[GRANTED] = granted end
  emit_claim(o, seq, new)
  return o.claims[seq]
end

local function change_place(o, seq, place, status, now, claim, claim_nonce)
  local new = { unpack(place) }
  new[STATUS], new[VERSION], new[P_UPDATED] = status, place[VERSION] + 1, now
  new[P_CLAIM], new[P_CLAIM_NONCE] = claim or NONE, claim_nonce or ''
  emit_place(o, seq, new)
end

local function within_limit(o, user, quantity)
  local limit = o.terms[T_LIMIT]
  return not limit or (user and user[TAKEN] or 0) + quantity <= limit
end

-- The user's live claims, newest first, as sequence number and nonce in turn.
local function limit_reached(o, user)
  local ids = {}
  local seq = user and user[NEWEST] or NONE
  while seq ~= NONE and #ids < 2 * REFUSAL_CLAIMS_MAX do
    local claim = claim_at(o, seq)
    ids[#ids + 1] = seq
    ids[#ids + 1] = claim[NONCE]
    seq = claim[OLDER]
  end
  return { REFUSED, R_LIMIT, ids }
end

local function check_limit(o, user, quantity)
  if user and user[ENDED] >= ENDED_PER_USER_MAX then return limit_reached(o, user) end
  if not within_limit(o, user, quantity) then return limit_reached(o, user) end
end

local function check_quantity(o, quantity)
  local least, most = o.terms[T_MIN], o.terms[T_MAX]
  if quantity < least or quantity > most then return { REFUSED, R_QUANTITY, least, most } end
end

-- Pass: 0 a valid one, 1 none, 2 one that is not valid.
local function check_entry(o, pass, now)
  local state = state_at(o, now)
  if state == NOT_OPEN then return { REFUSED, R_NOT_OPEN, o.terms[T_OPENS] } end
  if state == CLOSED then return { REFUSED, R_CLOSED } end
  if o.terms[T_GRANT_ONLY] then return { REFUSED, R_FORBIDDEN } end
  if o.terms[T_ZONE] and pass == 1 then return { REFUSED, R_PASS_REQUIRED } end
  if o.terms[T_ZONE] and pass == 2 then return { REFUSED, R_PASS_INVALID } end
end

local function check_pass(o, pass)
  if pass and key_of(o, pass_name(pass)) then return { REFUSED, R_PASS_USED } end
end

-- The smallest ordinal that none of the user's live claims has; 0 where the limit is too large to guard.
local function free_ordinal(o, user)
  local limit = o.terms[T_LIMIT]
  if not limit or limit > ORDINAL_LIMIT_MAX then return 0 end
  local used, left = {}, ORDINAL_LIMIT_MAX
  local seq = user and user[NEWEST] or NONE
  while seq ~= NONE and left > 0 do
    local claim = claim_at(o, seq)
    used[claim[ORDINAL]] = true
    seq, left = claim[OLDER], left - 1
  end
  for ordinal = 1, limit do
    if not used[ordinal] then return ordinal end
  end
  return 0
end

-- The offer that this one grants: always the one that the tag is named after.
local function granted_by(o)
  if not o.terms[T_GRANTS] or o.number == run.tag then return false end
  return offer_of(run.tag)
end

-- An id as its sixteen bytes: see bunho_domain::ids.
local function id_bytes(number, seq, nonce)
  local top = floor(seq / 65536)
  local low = seq % 16
  return string.char(floor(number / 16777216) % 256, floor(number / 65536) % 256, floor(number / 256) % 256, number % 256,
    floor(top / 256), top % 256, 128 + floor(seq / 4096) % 16, floor(seq / 16) % 256, 128 + low * 4 + string.byte(nonce, 1) % 4)
    .. string.sub(nonce, 2)
end

local function id_text(bytes)
  local hex = string.gsub(bytes, '.', function(byte) return string.format('%02x', string.byte(byte)) end)
  return string.sub(hex, 1, 8) .. '-' .. string.sub(hex, 9, 12) .. '-' .. string.sub(hex, 13, 16) .. '-'
    .. string.sub(hex, 17, 20) .. '-' .. string.sub(hex, 21)
end

-- Writes a new claim, held for `seconds`; 0: confirmed at once. Everything has been checked.
local function take(o, user, quantity, key, attributes, nonce, seconds, now)
  local seq = o.next_seq
  local granted = seconds == 0 and give(granted_by(o), user, id_bytes(o.number, seq, nonce), nonce, now)
  local held = seconds > 0
  emit_claim(o, seq, { user, quantity, held and HELD or CONFIRMED, 1, key, attributes, now, now, held and now + seconds * 1000 or false,
    free_ordinal(o, user_of(o, user)), granted or false, nonce, NONE, NONE })
  return seq
end

local function can_be_served(o, quantity)
  local remaining = remaining_of(o)
  return quantity <= o.terms[T_QUANTITY] and (remaining == 0 or quantity <= remaining + o.held)
end

local function first_is_served(o)
  if o.waiting == 0 then return false end
  local quantity = place_at(o, o.first)[QUANTITY]
  return quantity <= remaining_of(o) or not can_be_served(o, quantity)
end

local function serve_standby(o, hold_seconds, most, now)
  if o.waiting == 0 then return false end
  local state = state_at(o, now)
  if state ~= OPEN and state ~= SOLD_OUT then return false end
  for _ = 1, most do
    if o.waiting == 0 then return false end
    local seq = o.first
    local place = place_at(o, seq)
    local name, quantity = place[USER], place[QUANTITY]
    if not within_limit(o, user_of(o, name), quantity) or not can_be_served(o, quantity) then
      change_place(o, seq, place, PASSED, now)
    elseif quantity <= remaining_of(o) then
      local claim = take(o, name, quantity, false, false, place[P_NONCE], hold_seconds, now)
      change_place(o, seq, place, SERVED, now, claim, place[P_NONCE])
    else
      return false
    end
  end
  return first_is_served(o)
end

local function serve_waiting(o, now)
  serve_standby(o, o.terms[T_STANDBY_HOLD], SETTLE_MOST, now)
end

-- Ends holds whose deadline has come, at most so many. True: there are more.
local function expire(o, most, now)
  if not o.next_due or o.next_due > now then return false end
  flush_due(o)
  local rows = call('ZRANGE', o.key .. ':due', 0, most, 'WITHSCORES')
  o.next_due, o.dirty = false, true
  for i = 1, #rows, 2 do
    local deadline = tonumber(rows[i + 1])
    if deadline > now or i > 2 * most then
      o.next_due = deadline
      return deadline <= now
    end
    local seq = tonumber(rows[i])
    change(o, seq, claim_at(o, seq), EXPIRED, now)
  end
  return false
end

local function settle(o, most, now)
  if expire(o, most, now) then return true end
  return serve_standby(o, o.terms[T_STANDBY_HOLD], most, now)
end

-- Gives one grant to a user who has not had one, where units are left that nobody waits for.
function give(g, name, by, nonce, now)
  if not g then return false end
  while settle(g, SETTLE_MOST, now) do end
  local user = user_of(g, name)
  local quantity = g.terms[T_MIN]
  if g.deleted or state_at(g, now) ~= OPEN or (user and user[HAD] == 1) or not within_limit(g, user, quantity)
    or quantity > remaining_of(g) then
    return false
  end
  local seq = take(g, name, quantity, false, '{"granted_by":"' .. id_text(by) .. '"}', nonce, 0, now)
  return id_bytes(g.number, seq, nonce)
end

-- Whether `settle` might have something to do; said without looking.
local function may_be_due(o, now)
  return o.waiting > 0 or (o.next_due and o.next_due <= now)
end

-- Settles what is due in bounded rounds, each a record of its own. True: there is more than this run may do.
local function settle_rounds(o, now)
  local g = granted_by(o)
  if g and g.deleted then g = false end
  while run.rounds > 0 do
    local more = g and settle(g, SETTLE_MOST, now)
    more = settle(o, SETTLE_MOST, now) or more
    if #run.events > 0 then run.rounds = run.rounds - 1 end
    end_record(o, now)
    if not more then return false end
  end
  return may_be_due(o, now) or (g and may_be_due(g, now))
end

-- When `settle` may next have something to do; false: never, as things stand.
local function next_deadline(o)
  local serving = first_is_served(o) and (o.terms[T_OPENS] or 0)
  if serving and o.next_due then return min(serving, o.next_due) end
  return serving or o.next_due
end

-- Actor: 0 a user, 1 a service for one user, 2 a service for anybody.
local function may_see(actor, name, owner) return actor == 2 or name == owner end

local function owned(o, actor, name, seq, nonce)
  local claim = claim_at(o, seq)
  if claim and claim[NONCE] == nonce and may_see(actor, name, claim[USER]) then return claim end
end

local function owned_place(o, actor, name, seq, nonce)
  local place = place_at(o, seq)
  if place and place[P_NONCE] == nonce and may_see(actor, name, place[USER]) then return place end
end

-- Whether a place still stands for its user: it waits, or what it was served with is still held.
local function is_open(o, place)
  if place[STATUS] == WAITING then return true end
  if place[STATUS] ~= SERVED or place[P_CLAIM] == NONE then return false end
  local claim = claim_at(o, place[P_CLAIM])
  return claim and claim[NONCE] == place[P_CLAIM_NONCE] and claim[STATUS] == HELD
end

-- 1 for the place that is served next; 0 once it no longer waits.
local function position_of(o, seq)
  if place_at(o, seq)[STATUS] ~= WAITING then return 0 end
  flush_wait(o)
  return call('ZRANK', o.key .. ':wait', member(seq)) + 1
end

local function edited(o, column, value)
  local terms = { unpack(o.terms) }
  terms[column] = value
  terms[T_REVISION] = terms[T_REVISION] + 1
  return terms
end
