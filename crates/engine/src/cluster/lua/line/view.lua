-- What those who wait are told: bunho_domain::line::view.

-- What the rest of the script uses of this file; a function of Lua has room for 200 locals.
local state_at, burst_room, estimate, answer_waiting, serve
do

local function listens(now)
  return z.listen_until and now < z.listen_until
end

-- Left: units of the offer that stops the line, false where there is none.
function state_at(left, now)
  local opens, closes = settings[OPENS], settings[CLOSES]
  if opens and now < opens then return NOT_OPEN end
  if (closes and closes <= now) or settings[LIMIT] == 0 then return CLOSED end
  if settings[IS_PAUSED] then return PAUSED end
  if left == 0 then return SOLD_OUT end
  if listens(now) then return RECOVERING end
  return MOVING
end

local function seats()
  return settings[SEATS] and max(0, settings[SEATS] - z.active) or U32
end

-- How many may enter now while a line exists; and where nobody waits: a short burst makes no line, so the slot does not count.
local function room_at(now)
  local limits = limits_of()
  return min(limits and limited_room(limits, now) or U32, seats())
end

function burst_room(now)
  local limits = limits_of()
  return min(limits and window_room(limits, now) or U32, seats())
end

-- When the limiter lets someone in who has `ahead` to wait for, if all of them enter as soon as they may. Nil: never.
local function moment_of(ahead, now)
  local from = max(now, z.listen_until or now, settings[OPENS] or now)
  local limits = limits_of()
  if limits then return plan_moment(limits, from, ahead) end
  if from > now then return from + floor(ahead / POLLS_PER_MS) end
  return from
end

-- By the limiter's schedule and the measured share of it that is used. Nil: nobody may enter.
local function seconds_by_schedule(ahead, now)
  local loss, used = loss_per_second(), utilisation()
  local first = moment_of(0, now)
  if not first then return end
  first = (first - now) / 1000
  ahead = ahead * math.exp(-loss * first)
  local last = moment_of(min(U32, floor(ahead + 0.5)), now)
  if not last then return end
  local entering = survivors(ahead, loss, ((last - now) / 1000 - first) / used)
  last = moment_of(min(U32, floor(entering + 0.5)), now)
  if not last then return end
  return first + ((last - now) / 1000 - first) / used
end

-- Seconds until one enters who has `ahead` present tickets ahead, if those drop out as they were measured to. False: not to be said.
function estimate(ahead, now)
  local seats_bind = ahead >= seats()
  local behind = max(0, max(0, z.present - ahead) - 1)
  local really, seconds = really_waiting(ahead, behind)
  if seats_bind then
    local pace = admissions_per_second()
    if not pace then return false end
    local all = (really + 1) / pace
    seconds = survivors(all, loss_per_second(), all)
  elseif not settings[LIMIT] then
    seconds = 0
  else
    seconds = seconds_by_schedule(really, now)
    if not seconds then return false end
  end
  return max(0, min(U32, ceil(seconds)))
end

-- Park and Miller's generator, exact in doubles: enough to keep polls apart.
local function draw(among)
  z.random = z.random * 16807 % 2147483647
  return z.random % among
end

-- `around` give or take a tenth, but at most `most`.
local function jittered(around, most)
  around = min(around, most - floor(most / (JITTER_PARTS + 1)))
  local width = floor(around / JITTER_PARTS)
  return max(PERIOD_FLOOR_MS, min(around - width + draw(2 * width + 1), most))
end

-- Milliseconds until the next poll.
local function period_of(state, ahead, now)
  local short, long = settings[POLL_MS], settings[POLL_MAX_MS]
  local runs = state == MOVING or state == NOT_OPEN or state == RECOVERING
  local moment = state ~= CLOSED and moment_of(ahead, now)
  if not moment then return jittered(long, long) end
  local wait = moment - now
  if state == MOVING and ahead >= seats() then
    -- No schedule tells when somebody inside leaves.
    local seconds = estimate(ahead, now)
    if seconds then wait = max(wait, seconds * 1000) end
    wait = max(wait, short)
  elseif runs and wait <= min(short + floor(short / 2), long) then
    return max(wait, PERIOD_FLOOR_MS)
  end
  local period = jittered(max(short, min(floor(wait / POLLS_ON_THE_WAY), long)), long)
  return runs and min(period, wait) or period
end

-- Tells a ticket its place, and holds it to the poll that it is told to make.
function answer_waiting(seq, slot, left, now)
  local state = state_at(left, now)
  if state ~= MOVING then interrupt_pace() end
  local alive, present = alive_ahead(seq), present_ahead(seq)
  local behind = max(0, max(0, z.alive - alive) - 1)
  local rank, ahead_of_it = alive + 1, present
  if listens(now) then
    ahead_of_it = max(alive, z.highest and max(0, max(0, seq - z.highest) - 1) or seq)
    rank = max(rank, max(0, seq - z.recovery_front) + 1)
  else
    rank = min(rank, slot.shown)
    slot.shown = rank
  end
  local seconds = state == MOVING and estimate(present, now)
  local period = period_of(state, ahead_of_it, now)
  slot.period, run.hold = run.hold or period, false
  touch(seq)
  arm(seq, slot)
  return { OK, 1, state, rank, behind, seconds, period }
end

-- Answers a ticket that is known: its admission again, its admission now, or its place.
function serve(seq, left, now)
  local slot = slot_of(seq)
  if slot.admitted then return { OK, 0, slot.touched, slot.touched + 1000 * slot.pass } end
  see(seq, slot, now)
  if state_at(left, now) == MOVING and present_ahead(seq) < room_at(now) then
    if room_in_outbox() then return admit(seq, slot, true, now) end
    arm(seq, slot)
    return { OVERLOADED }
  end
  return answer_waiting(seq, slot, left, now)
end

end
