-- What those who wait are told: bunho_domain::line::view.

function line.listens(now)
  return z.listen_until and now < z.listen_until
end

-- Left: units of the offer that stops the line, -1 where nobody knows, false where there is none.
function line.state_at(left, now)
  local opens, closes = settings[OPENS], settings[CLOSES]
  if opens and now < opens then return NOT_OPEN end
  if (closes and closes <= now) or settings[LIMIT] == 0 then return CLOSED end
  if settings[IS_PAUSED] then return PAUSED end
  if left == 0 then return SOLD_OUT end
  if left == -1 or line.listens(now) then return RECOVERING end
  return MOVING
end

function line.seats()
  return settings[SEATS] and max(0, settings[SEATS] - z.active) or U32
end

-- How many may enter now while a line exists; and where nobody waits: a short burst makes no line, so the slot does not count.
function line.room_at(now)
  local limits = line.limits_of()
  return min(limits and line.limited_room(limits, now) or U32, line.seats())
end

function line.burst_room(now)
  local limits = line.limits_of()
  return min(limits and line.window_room(limits, now) or U32, line.seats())
end

-- When the limiter lets someone in who has `ahead` to wait for, if all of them enter as soon as they may. Nil: never.
function line.moment_of(ahead, now)
  local from = max(now, z.listen_until or now, settings[OPENS] or now)
  local limits = line.limits_of()
  if limits then return line.plan_moment(limits, from, ahead) end
  if from > now then return from + floor(ahead / POLLS_PER_MS) end
  return from
end

-- By the limiter's schedule and the measured share of it that is used. Nil: nobody may enter.
function line.seconds_by_schedule(ahead, now)
  local loss, used = line.loss_per_second(), line.utilisation()
  local first = line.moment_of(0, now)
  if not first then return end
  first = (first - now) / 1000
  ahead = ahead * math.exp(-loss * first)
  local last = line.moment_of(min(U32, floor(ahead + 0.5)), now)
  if not last then return end
  local entering = line.survivors(ahead, loss, ((last - now) / 1000 - first) / used)
  last = line.moment_of(min(U32, floor(entering + 0.5)), now)
  if not last then return end
  return first + ((last - now) / 1000 - first) / used
end

-- Seconds until one enters who has `ahead` present tickets ahead, if those drop out as they were measured to. False: not to be said.
function line.estimate(ahead, now)
  local seats_bind = ahead >= line.seats()
  local behind = max(0, max(0, z.present - ahead) - 1)
  local really, seconds = line.really_waiting(ahead, behind)
  if seats_bind then
    local pace = line.admissions_per_second()
    if not pace then return false end
    local all = (really + 1) / pace
    seconds = line.survivors(all, line.loss_per_second(), all)
  elseif not settings[LIMIT] then
    seconds = 0
  else
    seconds = line.seconds_by_schedule(really, now)
    if not seconds then return false end
  end
  return max(0, min(U32, ceil(seconds)))
end

-- Park and Miller's generator, exact in doubles: enough to keep polls apart.
function line.draw(among)
  z.random = z.random * 16807 % 2147483647
  return z.random % among
end

-- `around` give or take a tenth, but at most `most`.
function line.jittered(around, most)
  around = min(around, most - floor(most / (JITTER_PARTS + 1)))
  local width = floor(around / JITTER_PARTS)
  return max(PERIOD_FLOOR_MS, min(around - width + line.draw(2 * width + 1), most))
end

-- Milliseconds until the next poll.
function line.period_of(state, ahead, now)
  local short, long = settings[POLL_MS], settings[POLL_MAX_MS]
  local runs = state == MOVING or state == NOT_OPEN or state == RECOVERING
  local moment = state ~= CLOSED and line.moment_of(ahead, now)
  if not moment then return line.jittered(long, long) end
  local wait = moment - now
  if state == MOVING and ahead >= line.seats() then
    -- No schedule tells when somebody inside leaves.
    local seconds = line.estimate(ahead, now)
    if seconds then wait = max(wait, seconds * 1000) end
    wait = max(wait, short)
  elseif runs and wait <= min(short + floor(short / 2), long) then
    return max(wait, PERIOD_FLOOR_MS)
  end
  local period = line.jittered(max(short, min(floor(wait / POLLS_ON_THE_WAY), long)), long)
  return runs and min(period, wait) or period
end

-- Tells a ticket its place, and holds it to the poll that it is told to make.
function line.answer_waiting(seq, slot, left, now)
  local state = line.state_at(left, now)
  if state == MOVING then line.pace_runs() else line.interrupt_pace() end
  local alive, present = line.alive_ahead(seq), line.present_ahead(seq)
  local behind = max(0, max(0, z.alive - alive) - 1)
  local rank, ahead_of_it = alive + 1, present
  if line.listens(now) then
    ahead_of_it = max(alive, z.highest and max(0, max(0, seq - z.highest) - 1) or seq)
    rank = max(rank, max(0, seq - z.recovery_front) + 1)
  else
    rank = min(rank, slot.shown)
    slot.shown = rank
  end
  local seconds = state == MOVING and line.estimate(present, now)
  local period = line.period_of(state, ahead_of_it, now)
  slot.period, run.hold = run.hold or period, false
  line.touch(seq)
  line.arm(seq, slot)
  return { OK, 1, state, rank, behind, seconds, period }
end

-- Answers a ticket that is known: its admission again, its admission now, or its place.
function line.serve(seq, left, now)
  local slot = line.slot_of(seq)
  if slot.admitted then return { OK, 0, slot.touched, slot.touched + 1000 * slot.pass } end
  line.see(seq, slot, now)
  if line.state_at(left, now) == MOVING and line.present_ahead(seq) < line.room_at(now) then
    if line.room_in_outbox() then return line.admit(seq, slot, true, now) end
    line.arm(seq, slot)
    return { OVERLOADED }
  end
  return line.answer_waiting(seq, slot, left, now)
end
