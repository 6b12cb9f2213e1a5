-- The commands. Each is a function of (now, command) to an answer; a command's own arguments start at its sixth field. What all have in
-- common (epoch, clock, time passing) is in main.lua.

local commands = {}

-- Commands that neither let time pass nor decide by the rules.
local plain = {}

-- Who must find room in the outbox before anything else is decided.
local needs_room = { define = true, leave = true, minute = true, delete = true }

-- Reserves more numbers if fewer than half a block of durable ones is left and no reservation is in flight.
function line.reserve()
  local upto = min(U32, z.reserved + RESERVE_BLOCK)
  if z.reserved - z.next >= RESERVE_BLOCK / 2 or z.reserving or upto == z.reserved or not line.room_in_outbox() then return end
  z.reserving = upto
  line.note(E_RESERVED, 0, z.epoch, upto)
end

-- Answers { OK, true, epoch, number, nonce, time of issue, ... as a poll }, or { OK, false, whether numbers are being reserved }.
function commands.join(now, c)
  local nonce, keyed, left = c[6], c[7], c[8]
  line.reserve()
  local seq = keyed and line.find_key(nonce)
  if seq then
    line.settle(seq, now)
    seq = line.find_key(nonce)
  end
  local slot = seq and line.slot_of(seq)
  if slot then
    local issued = slot.issued
    local answer = line.serve(seq, left, now)
    return answer[1] == OK and { OK, true, z.epoch, seq, nonce, issued, unpack(answer, 2) } or answer
  end
  if z.next >= z.reserved then return { OK, false, z.reserving and true or false } end
  local enters = z.alive == 0 and line.state_at(left, now) == MOVING and line.burst_room(now) > 0
  if enters and not line.room_in_outbox() then return { OVERLOADED } end
  seq = z.next
  z.next = seq + 1
  slot = line.waiting_slot(nonce, now, now)
  line.insert_slot(seq, slot)
  if keyed then line.insert_key(seq, slot) end
  local answer
  if enters then
    answer = line.admit(seq, slot, false, now)
  else
    z.fresh = z.fresh + 1
    answer = line.answer_waiting(seq, slot, left, now)
  end
  return { OK, true, z.epoch, seq, nonce, now, unpack(answer, 2) }
end

-- Answers { OK, 0, admitted at, pass ends }, { OK, 1, state, rank, behind, seconds or false, milliseconds to the next poll }, or a refusal.
function commands.poll(now, c)
  local seq = line.locate(c[6], c[7], c[8], c[9], now)
  local slot = seq and line.slot_of(seq)
  if not slot or (slot.admitted and slot.pass_over) then return { REFUSED, R_GONE } end
  local retry = line.hasty(seq, slot, now)
  if retry then return { REFUSED, R_TOO_FAST, retry } end
  return line.serve(seq, c[10], now)
end

function commands.leave(now, c)
  local epoch, seq = c[6], c[7]
  if epoch < z.epoch then
    if write('ZREM', key .. 'former', line.former_member(epoch, seq)) == 1 then
      line.look_at_former()
    elseif not line.end_retired(epoch, seq) then
      return { OK }
    end
    z.active = z.active - 1
  elseif line.locate(epoch, seq, c[8], c[9], now) then
    local slot = line.slot_of(seq)
    if not slot.admitted then line.drop_out(slot) end
    line.end_ticket(seq)
  else
    return { OK }
  end
  line.note(E_LEFT, seq, epoch, seq, now)
  return { OK }
end

-- A higher epoch is a reset: all tickets end, while the admissions of the last minute and the people inside still count.
function line.reset(now)
  line.flush_order()
  line.flush_wheel()
  if z.restore_until then line.recovery_over() end
  line.throw_away({ gen = z.gen, epoch = z.epoch, next = z.next, slots = true, range = 1, from = 0 })
  z.gen = z.gen + 1
  z.next, z.reserved, z.reserving, z.alive, z.present, z.levels = 0, 0, false, 0, 0, 1
  z.highest, z.front_told, z.front_at, z.tick = false, 0, now, floor(now / TICK_MS)
  run.slots, run.nodes = {}, {}
  line.new_pace(now)
end

function line.emit_settings()
  run.new_settings = true
  line.note(E_ZONE, 0, settings)
end

function commands.define(now, c)
  local new, if_revision = c[6], c[7]
  if if_revision and if_revision ~= settings[REVISION] then return { CONFLICT, settings[REVISION] } end
  if new[T_EPOCH] > z.epoch then
    line.reset(now)
    z.epoch = new[T_EPOCH]
  end
  new[T_EPOCH], new[REVISION] = z.epoch, settings[REVISION] + 1
  settings = new
  line.interrupt_pace()
  line.emit_settings()
  return { OK }
end

-- Answers whether there is more to look after.
function commands.sweep(now, c)
  local more = line.settle_due(now, c[6])
  return { OK, line.sweep_away(max(1, floor(c[6] / SLOTS_A_PIECE))) or more }
end

-- Tells of each finished minute, and every few seconds up to which number all tickets have ended, if that has changed.
function commands.minute(now)
  if z.finished > 0 then
    for _, m in ipairs(line.finished_minutes()) do line.note(E_MINUTE, 0, settings[ID], m[1], m[2], m[3], m[4], settings[LIMIT]) end
    line.store_minutes({})
  end
  if z.restore_until or now - z.front_at < FRONT_EVERY_MS then return { OK } end
  z.front_at = now
  local seq = line.first_waiting() or z.next
  if seq > z.front_told then
    z.front_told = seq
    line.note(E_FRONT, seq, z.epoch, seq)
  end
  return { OK }
end

-- Answers state, waiting, present, entered in the last minute, N, seconds, inside, entered in all, the minute under way, who dropped out in it;
-- who left, who fell silent and what was not used, in all; and the settings as they are.
function commands.status(now, c)
  local state, seconds = line.state_at(c[6], now), false
  if state == MOVING then
    seconds = z.alive == 0 and line.burst_room(now) > 0 and 0 or line.estimate(z.present, now)
  end
  local entered = min(U32, line.total_before(now + 1) - line.total_before(now + 1 - KEPT_MS))
  return { OK, state, z.alive, z.present, entered, settings[LIMIT], seconds, z.active, z.log_total, z.minute, z.dropped, z.left_in_all,
    z.silent_in_all, z.unused_in_all, pack(settings), z.version }
end

function commands.delete()
  if z.alive > 0 or z.active > 0 then return { REFUSED, R_IN_USE } end
  z.deleted = true
  line.note(E_ZONE_DELETED, 0, false)
  line.throw_all_away()
  return { OK }
end

-- Below: what the node does for itself.

-- A line of which nothing is known yet.
function line.empty_line(c, now)
  local random = (now + number * 7919) % 2147483646 + 1
  z = { version = 0, state_epoch = c[3], suspended = false, debug = false, deleted = false, last = '', clock = now, random = random, gen = 1,
    epoch = settings[T_EPOCH], next = 0, reserved = 0, reserving = false, alive = 0, present = 0, levels = 1, active = 0, highest = false,
    front_told = 0, front_at = now, tick = floor(now / TICK_MS), former_next = false, minute = line.start_of_minute(now), entered = 0, dropped = 0,
    finished = 0, log_total = 0, log_last = false, log_before = 0, log_dropped = 0, log_oldest = false, listen_until = false,
    restore_until = false, recovery_front = 0, below = 0, garbage = 0, left_in_all = 0, silent_in_all = 0, unused_in_all = 0 }
  line.new_pace(now)
  run.dirty, run.new_settings = true, true
end

-- Creates the zone with its first event: settings, whether tests may set its clock, and whether it is made to be restored, which
-- has its first event from where it is restored.
function plain.create(now, c)
  if z then return { EXISTS, z.state_epoch } end
  if c[4] and not c[7] then return { CLOCK } end
  settings = c[6]
  line.empty_line(c, now)
  line.is_sure()
  z.debug, z.suspended = c[7], c[8]
  if not z.suspended then line.emit_settings() end
  return { OK }
end

function line.wrong_epoch(c)
  if not z then return { UNKNOWN } end
  if c[3] ~= z.state_epoch then return { EPOCH, z.state_epoch } end
end

-- Stops all decisions under a new epoch; what the old one still has under way is refused from here on.
function plain.suspend(_, c)
  if not z then return { UNKNOWN } end
  if c[6] < z.state_epoch then return { EPOCH, z.state_epoch } end
  z.state_epoch, z.suspended = c[6], true
  return { OK }
end

function plain.resume(_, c)
  local wrong = line.wrong_epoch(c)
  if wrong then return wrong end
  line.is_sure()
  write('HDEL', key .. 'zone', 'x')
  return { OK }
end

-- Begins to restore what the journal tells, in a zone that is suspended: settings, numbers reserved, front, latest time of what
-- follows, start of the last minute in the history or false, version. Answers the time at which it is restored.
function plain.restore(now, c)
  local wrong = line.wrong_epoch(c)
  if wrong then return wrong end
  if not z.suspended then return { SUSPENDED } end
  local old = z
  settings = c[6]
  line.empty_line(c, max(now, c[9]))
  line.begin_life()
  z.suspended, z.debug, z.last, z.version, z.broken = true, old.debug, old.last, max(old.version, c[11]), old.broken
  z.gen, z.garbage = old.gen + 1, old.garbage
  write('UNLINK', key .. 'former', key .. 'lt', key .. 'lk')
  write('HDEL', key .. 'zone', 'p', 'n')
  run.plan, run.before, run.slots, run.nodes = false, {}, {}, {}
  line.throw_away({ gen = old.gen, epoch = false, next = max(old.next, old.below), slots = true, range = 1, from = 0 })
  z.reserved, z.next, z.front_told = c[7], c[7], c[8]
  z.told_minute = c[10] or z.minute - MINUTE_MS
  if z.reserved > 0 then
    -- Until it resumes nobody asks; from then on these are times.
    z.recovery_front, z.below, z.restore_until = c[8], z.reserved, now
  end
  write('HSET', key .. 'zone', 'm', z.told_minute)
  return { OK, z.clock }
end

-- Counts an admission of before a restart in its minute, unless the history has that.
function line.recount_minute(at, told)
  local minute = line.start_of_minute(at)
  if minute <= told then return end
  if minute >= z.minute then
    z.entered = z.entered + 1
    return
  end
  local list = line.finished_minutes()
  local last = list[#list]
  if last and last[1] == minute then
    last[2] = last[2] + 1
  else
    line.finish_minute(list, minute, 1, 0, 0)
  end
  line.store_minutes(list)
end

-- Admissions, each as epoch, number, time and whether it has left, in the order of their times: at most a few hundred a command.
function plain.admitted(_, c)
  local wrong = line.wrong_epoch(c)
  if wrong then return wrong end
  if not line.is_being_restored() then return { SUSPENDED } end
  local facts, told = c[6], tonumber(call('HGET', key .. 'zone', 'm'))
  for i = 1, #facts, 4 do
    local epoch, seq, at, left = facts[i], facts[i + 1], facts[i + 2], facts[i + 3]
    if z.clock - at < KEPT_MS then
      line.log_admission(at)
      line.recount_minute(at, told)
    end
    if not left then
      line.restore_admitted(epoch, seq, at, z.clock)
    elseif epoch == z.epoch then
      z.highest = max(z.highest or 0, seq)
    end
  end
  return { OK }
end

-- Numbers of the zone's epoch whose tickets have left.
function plain.left(_, c)
  local wrong = line.wrong_epoch(c)
  if wrong then return wrong end
  if not line.is_being_restored() then return { SUSPENDED } end
  for _, seq in ipairs(c[6]) do line.remember_ended(seq) end
  return { OK }
end

-- All facts are in: the line listens for two short poll intervals, and for as long as a ticket may have been silent it puts unknown tickets back.
function plain.recover(now, c)
  local wrong = line.wrong_epoch(c)
  if wrong then return wrong end
  -- The answer was lost and the command came again: nobody else lets it go on under this epoch.
  if not z.suspended then return { OK } end
  if not line.is_being_restored() then return { SUSPENDED } end
  now = max(now, z.clock)
  if z.restore_until then
    z.listen_until = now + 2 * settings[POLL_MS]
    z.restore_until = now + 1000 * (settings[ABANDON] + settings[GRACE]) + settings[POLL_MAX_MS]
  end
  line.is_sure()
  write('HDEL', key .. 'zone', 'x', 'm')
  return { OK }
end

-- A reservation is in the journal: its numbers may be given out. One of an older epoch means nothing any more.
function line.take_reserved(epoch, upto)
  if epoch ~= z.epoch then return end
  z.reserved = max(z.reserved, upto)
  if z.reserving and z.reserving <= upto then z.reserving = false end
end

-- Removes entries that the journal has: id and the zone's version after it, in turn; and takes over the latest reservation among them (epoch and
-- number, or false), in the same step, so that none is ever gone from the outbox and not known here. Where Redis knows an older version than
-- the journal, it has stepped back, and the zone stops at once. Draining removes what an earlier epoch left as well: its answers were never given.
function plain.shipped(_, c)
  local entries, epoch, upto, draining = c[6], c[7], c[8], c[9]
  if not z and not draining then return { UNKNOWN } end
  local ids, stale = {}, false
  for i = 1, #entries, 2 do
    ids[#ids + 1] = entries[i]
    if z and entries[i + 1] > z.version then stale = true end
  end
  if not draining then
    if stale then z.suspended = true end
    local wrong = line.wrong_epoch(c)
    if wrong then return wrong end
    if stale then return { STALE, z.version } end
  end
  for i = 1, #ids, ARGS_MOST do write('XDEL', KEYS[1], unpack(ids, i, min(i + ARGS_MOST - 1, #ids))) end
  if z and epoch then line.take_reserved(epoch, upto) end
  return { OK }
end

-- Entries of the outbox from an id on, for whoever ships what its own node did not; with an age, those that are at least so many milliseconds
-- old. Where ids are ahead of the clock, as that of the primary before this one may have been, nobody can tell.
function plain.outbox(_, c)
  local upto = '+'
  if c[8] then
    local newest = call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
    if newest and tonumber(string.match(newest[1], '^%d+')) <= run.now then upto = string.format('%d', run.now - c[8]) end
  end
  local entries = {}
  for _, row in ipairs(call('XRANGE', KEYS[1], c[6], upto, 'COUNT', c[7])) do
    entries[#entries + 1] = row[1]
    entries[#entries + 1] = row[2][2]
  end
  return { OK, entries }
end

-- What this state is: epoch, version, whether it is suspended, broken and deleted; or false.
function plain.standing()
  return { OK, z and { z.state_epoch, z.version, z.suspended, z.broken, z.deleted } or false }
end

-- Everything of the generation that there is goes, and with it what a restore may still have been waiting for.
function line.throw_all_away()
  line.throw_away({ gen = z.gen, epoch = false, next = max(z.next, z.below), slots = true, range = 1, from = 0 })
end

-- Lets go of a zone that is suspended, as if it had been deleted; its journal hears nothing of that.
function plain.forget(_, c)
  if not z then return { OK } end
  local wrong = line.wrong_epoch(c)
  if wrong then return wrong end
  if z.deleted then return { OK } end
  if not (z.suspended or z.broken) then return { REFUSED, R_IN_USE } end
  z.deleted = true
  line.throw_all_away()
  return { OK }
end

-- Takes away what is left of a zone that was deleted, in pieces. Answers whether there is more. Its name goes last, and not before its outbox is
-- empty: entries are removed by who knows the zone.
function plain.discard(_, c)
  if not z then return { OK, false } end
  if not z.deleted then return { REFUSED, R_IN_USE } end
  if line.sweep_away(c[6]) or #run.records > 0 or call('XLEN', KEYS[1]) > 0 then return { OK, true } end
  write('UNLINK', key .. 'zone', key .. 'former', key .. 'lt', key .. 'lk')
  z = nil
  return { OK, false }
end

-- Below: for tests, in zones that were made with a clock of theirs.

-- Holds the next ticket of this run that is told to wait to another period than it is told, so that a line with another generator of jitter can
-- be followed step by step.
function plain.hold(_, c)
  if not z or not z.debug then return { CLOCK } end
  run.hold = c[6]
  return { OK }
end
