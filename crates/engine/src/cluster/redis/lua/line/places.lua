-- How a ticket's place changes: taken, seen again, missed, let in, ended: bunho_domain::line::{places, former, recovery}, function by function
-- under the same names.

-- While tickets are restored, one that has ended must not be.
function line.remember_ended(seq)
  if z.restore_until and seq >= z.recovery_front and seq < z.below then
    write('SETBIT', key .. 'e:' .. z.gen .. ':' .. floor(seq / BITS), seq % BITS, 1)
  end
end

function line.may_return(seq)
  return z.restore_until and seq >= z.recovery_front and seq < z.below
    and call('GETBIT', key .. 'e:' .. z.gen .. ':' .. floor(seq / BITS), seq % BITS) == 0
end

-- Forgets a ticket for good.
function line.end_ticket(seq)
  local slot = line.slot_of(seq)
  if not slot then return end
  if slot.admitted and not slot.session_over then z.active = z.active - 1 end
  line.remove_key(seq, slot)
  line.remove_slot(seq, slot)
  line.remember_ended(seq)
end

-- Lets a ticket change as far as its deadlines have come.
function line.settle(seq, now)
  local slot = line.slot_of(seq)
  while slot do
    local deadline = line.deadline_of(slot)
    if not deadline or deadline > now then break end
    line.touch(seq)
    if slot.admitted then
      if not slot.pass_over and slot.touched + 1000 * slot.pass <= now then
        slot.pass_over = true
        line.remove_key(seq, slot)
      elseif not slot.session_over and slot.touched + 1000 * slot.session <= now then
        slot.session_over = true
        z.active = z.active - 1
      else
        return line.end_ticket(seq)
      end
    elseif slot.presence == PRESENT then
      slot.presence = ABSENT
      line.pace_lost(slot.again)
      line.mark(seq, slot)
    elseif slot.presence == ABSENT then
      slot.presence = DORMANT
      line.mark(seq, slot)
      z.dropped, z.silent_in_all = z.dropped + 1, z.silent_in_all + 1
    else
      return line.end_ticket(seq)
    end
  end
  if slot and slot.admitted and slot.session_over and slot.pass_over then line.end_ticket(seq) end
end

function line.former_member(epoch, seq)
  return epoch .. ':' .. seq
end

function line.look_at_former()
  local first = call('ZRANGE', key .. 'former', 0, 0, 'WITHSCORES')
  z.former_next = first[2] and tonumber(first[2]) or false
end

function line.insert_former(epoch, seq, until_ms)
  write('ZADD', key .. 'former', until_ms, line.former_member(epoch, seq))
  z.former_next = min(z.former_next or until_ms, until_ms)
end

-- What is left of a generation is swept away a piece at a time: first its slots, of which people inside go to the former sessions, then all keys.
local SLOTS_A_PIECE = 64
local KEYS_A_PIECE = 64

-- One piece of the slots of a generation that a reset ended. Whether that was the last.
function line.retire_slots(old)
  local counts = key .. 'u:' .. old.gen
  if not old.chunk then
    local chunk = call('HRANDFIELD', counts)
    if not chunk then return true end
    old.chunk, old.at = tonumber(chunk), 0
  end
  local name = key .. 's:' .. old.gen .. ':' .. old.chunk
  local raw = old.epoch and call('GETRANGE', name, old.at * SLOT_BYTES, (old.at + SLOTS_A_PIECE) * SLOT_BYTES - 1) or ''
  for i = 0, floor(#raw / SLOT_BYTES) - 1 do
    local flags = byte(raw, i * SLOT_BYTES + 21)
    if flags % 4 == 2 and floor(flags / 4) % 2 == 0 then
      local slot = line.read_slot(sub(raw, i * SLOT_BYTES + 1, (i + 1) * SLOT_BYTES))
      line.insert_former(old.epoch, old.chunk * CHUNK + old.at + i, slot.touched + 1000 * slot.session)
    end
  end
  old.at = old.at + SLOTS_A_PIECE
  if not old.epoch or old.at >= CHUNK then
    write('UNLINK', name)
    write('HDEL', counts, old.chunk)
    old.chunk = false
  end
  return false
end

-- What kinds of keys a generation has, and how many of each.
function line.key_ranges(old)
  local bits, nodes = floor(old.next / BITS) + 1, floor(old.next / BITS / RADIX) + 1
  return { { 'b:' .. old.gen .. ':', BUCKETS }, { 'k:' .. old.gen .. ':', KEY_SHARDS }, { 'e:' .. old.gen .. ':', bits },
    { 'a:' .. old.gen .. ':', bits }, { 'p:' .. old.gen .. ':', bits }, { 'w:' .. old.gen .. ':', bits },
    { 'f:' .. old.gen .. ':0:', nodes }, { 'v:' .. old.gen .. ':0:', nodes }, { 'f:' .. old.gen .. ':1:', ceil(nodes / RADIX) },
    { 'v:' .. old.gen .. ':1:', ceil(nodes / RADIX) }, { 'f:' .. old.gen .. ':2:', ceil(nodes / RADIX / RADIX) },
    { 'v:' .. old.gen .. ':2:', ceil(nodes / RADIX / RADIX) }, { 'f:' .. old.gen .. ':3:', 1 }, { 'v:' .. old.gen .. ':3:', 1 } }
end

-- One piece of the keys. Whether that was the last.
function line.unlink_piece(old)
  local range = old.only and ({ old.only })[old.range] or not old.only and line.key_ranges(old)[old.range]
  if not range then return true end
  local names = {}
  for i = old.from, min(old.from + KEYS_A_PIECE, range[2]) - 1 do names[#names + 1] = key .. range[1] .. i end
  if #names > 0 then write('UNLINK', unpack(names)) end
  old.from = old.from + KEYS_A_PIECE
  if old.from >= range[2] then old.range, old.from = old.range + 1, 0 end
  return false
end

-- Whether there is more to sweep away after so many pieces.
function line.sweep_away(pieces)
  if z.garbage == 0 then return false end
  local list = unpacked(call('HGET', key .. 'zone', 'g'))
  while pieces > 0 and #list > 0 do
    pieces = pieces - 1
    local old = list[1]
    if old.slots then
      old.slots = not line.retire_slots(old)
    elseif line.unlink_piece(old) then
      table.remove(list, 1)
    end
  end
  z.garbage = #list
  write('HSET', key .. 'zone', 'g', pack(list))
  return #list > 0
end

-- The session of an older epoch that a reset has not put among the former ones yet. Whether there was one; it has ended then.
function line.end_retired(epoch, seq)
  if z.garbage == 0 then return false end
  for _, old in ipairs(unpacked(call('HGET', key .. 'zone', 'g'))) do
    if old.slots and old.epoch == epoch then
      local name, from = key .. 's:' .. old.gen .. ':' .. floor(seq / CHUNK), seq % CHUNK * SLOT_BYTES
      local raw = call('GETRANGE', name, from, from + SLOT_BYTES - 1)
      local slot = #raw == SLOT_BYTES and line.read_slot(raw)
      -- Pieces of its chunk that are done are among the former sessions alone.
      if not slot or not slot.admitted or slot.session_over or (old.chunk == floor(seq / CHUNK) and seq % CHUNK < old.at) then return false end
      write('SETRANGE', name, from, EMPTY_SLOT)
      return true
    end
  end
  return false
end

-- Settles at most `most` tickets and former sessions whose deadline has come. Whether there are more.
function line.settle_due(now, most)
  while z.former_next and z.former_next <= now and most > 0 do
    local ended = call('ZRANGEBYSCORE', key .. 'former', '-inf', now, 'LIMIT', 0, min(most, ARGS_MOST))
    if #ended > 0 then write('ZREM', key .. 'former', unpack(ended)) end
    z.active = z.active - #ended
    most = most - #ended
    line.look_at_former()
  end
  while most > 0 do
    local seqs, bucket = line.pop_due(now, most)
    if not seqs then return false end
    most = most - #seqs
    for _, text in ipairs(seqs) do
      local seq = tonumber(text)
      local slot = line.slot_of(seq)
      if slot and slot.bucket == bucket then
        slot.bucket = UNARMED
        line.touch(seq)
        line.settle(seq, now)
        slot = line.slot_of(seq)
        if slot then line.arm(seq, slot) end
      end
    end
  end
  return true
end

function line.recovery_over()
  line.throw_away({ only = { 'e:' .. z.gen .. ':', floor(z.below / BITS) + 1 }, range = 1, from = floor(z.recovery_front / BITS) })
  z.listen_until, z.restore_until = false, false
end

-- What every command begins with: time passes, minutes and slots end, and a few deadlines are looked after.
function line.pass(now)
  line.pass_minutes(now)
  line.pass_pace(now)
  line.watch_pace(line.limits_of(), now)
  if z.restore_until and now >= z.restore_until then line.recovery_over() end
  line.settle_due(now, SWEEP_BUDGET)
  if z.garbage > 0 then line.sweep_away(1) end
end

-- A ticket that waited before a restart is back at its number.
function line.restore_waiting(seq, nonce, issued, now)
  local slot = line.waiting_slot(nonce, issued, now)
  line.insert_slot(seq, slot)
  z.fresh = z.fresh + 1
  line.insert_key(seq, slot)
  line.arm(seq, slot)
  return seq
end

-- The ticket, if it is known: settled as of `now`, and put back if it may be.
function line.locate(epoch, seq, nonce, issued, now)
  if epoch ~= z.epoch then return false end
  line.settle(seq, now)
  local slot = line.slot_of(seq)
  if not slot then return line.may_return(seq) and line.restore_waiting(seq, nonce, issued, now) end
  if slot.admitted and slot.unmet then
    slot.unmet, slot.nonce, slot.issued = false, nonce, issued
    if not slot.pass_over then line.insert_key(seq, slot) end
    line.touch(seq)
  elseif slot.nonce ~= nonce then
    -- The number was given out twice, which takes the loss of durable state. Who holds the place keeps it.
    return false
  end
  return seq
end

-- Counts a poll that comes before a third of its period; the fourth in a row is refused, with the rest of the period to wait.
function line.hasty(seq, slot, now)
  if slot.admitted then return end
  local elapsed = now - slot.touched
  line.touch(seq)
  if elapsed * 3 >= slot.period then
    slot.hasty = 0
    return
  end
  if slot.hasty < HASTY_MAX then
    slot.hasty = slot.hasty + 1
    return
  end
  slot.period, slot.touched = max(slot.period - elapsed, PERIOD_FLOOR_MS), now
  return slot.period
end

-- Lets a ticket in.
function line.admit(seq, slot, waited, now)
  slot.admitted, slot.touched, slot.session_over, slot.pass_over, slot.unmet = true, now, false, false, false
  slot.session, slot.pass = settings[SESSION], settings[PASS]
  line.mark(seq, slot)
  line.arm(seq, slot)
  line.log_admission(now)
  line.pace_runs()
  if waited then z.admissions = z.admissions + 1 end
  z.active = z.active + 1
  z.entered = z.entered + 1
  z.highest = max(z.highest or 0, seq)
  line.note(E_ADMITTED, seq, z.epoch, seq, now)
  return { OK, 0, now, now + 1000 * slot.pass }
end

-- A waiting ticket is given up, which counts unless it already had when it fell silent.
function line.drop_out(slot)
  if slot.presence == PRESENT then line.pace_lost(slot.again) end
  if slot.presence ~= DORMANT then z.dropped, z.left_in_all = z.dropped + 1, z.left_in_all + 1 end
end

-- A waiting ticket shows a sign of life: it is present, wherever it was.
function line.see(seq, slot, now)
  local again, was = slot.again, slot.presence
  slot.touched, slot.again, slot.presence = now, true, PRESENT
  line.touch(seq)
  if was == PRESENT then
    line.pace_asked(again)
  else
    line.pace_returned(again)
    line.mark(seq, slot)
  end
end

-- A ticket that was admitted before a restart.
function line.restore_admitted(epoch, seq, at, now)
  local session_over, pass_over = at + 1000 * settings[SESSION] <= now, at + 1000 * settings[PASS] <= now
  if epoch < z.epoch then
    if not session_over then
      line.insert_former(epoch, seq, at + 1000 * settings[SESSION])
      z.active = z.active + 1
    end
    return
  end
  z.highest = max(z.highest or 0, seq)
  if session_over and pass_over then return line.remember_ended(seq) end
  -- A piece of facts that came twice.
  if line.slot_of(seq) then return end
  local slot = line.waiting_slot(string.rep('\0', 8), 0, at)
  slot.admitted, slot.session_over, slot.pass_over, slot.unmet = true, session_over, pass_over, true
  slot.session, slot.pass = settings[SESSION], settings[PASS]
  line.insert_slot(seq, slot)
  line.arm(seq, slot)
  if not session_over then z.active = z.active + 1 end
end
