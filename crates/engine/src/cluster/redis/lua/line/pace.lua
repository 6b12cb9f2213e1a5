-- What the crowd really does, and the history of minutes: bunho_domain::line::{pace, minutes}.

local MINUTE_MS = 60000

local MEMORY_SECONDS = 60
local STEP_MS = 1000
local CALM_SECONDS = 60
local CALM_FIRST_POLLS = 10
local USE_MIN = 0.02

-- Whether the line stood still lately: not in the slot under way, for a part of it, or still as far as anybody was told.
local NOT, FOR_A_PART, STILL = 0, 1, 2

function line.new_pace(now)
  z.pace_at, z.forgotten_at, z.fresh = now, now, 0
  z.present_seconds, z.losses, z.first_polls, z.first_misses = 0, 0, 0, 0
  z.pace_used, z.pace_allowed, z.admissions, z.waiting_seconds, z.watched = 0, 0, 0, 0, false
  z.stood = NOT
end

-- Time has passed with as many present as there are.
function line.pass_pace(now)
  local seconds = (now - z.pace_at) / 1000
  z.pace_at = now
  z.present_seconds = z.present_seconds + seconds * max(0, z.present - z.fresh)
  if z.present > 0 then z.waiting_seconds = z.waiting_seconds + seconds end
  if now - z.forgotten_at < STEP_MS then return end
  local kept = math.exp((now - z.forgotten_at) / -1000 / MEMORY_SECONDS)
  z.present_seconds, z.losses = z.present_seconds * kept, z.losses * kept
  z.first_polls, z.first_misses = z.first_polls * kept, z.first_misses * kept
  z.pace_used, z.pace_allowed = z.pace_used * kept, z.pace_allowed * kept
  z.admissions, z.waiting_seconds = z.admissions * kept, z.waiting_seconds * kept
  z.forgotten_at = now
end

function line.pace_lost(again)
  if again then
    z.losses = z.losses + 1
  else
    z.fresh = max(0, z.fresh - 1)
    z.first_misses = z.first_misses + 1
  end
end

function line.pace_asked(again)
  if again then return end
  z.fresh = max(0, z.fresh - 1)
  z.first_polls = z.first_polls + 1
end

function line.pace_returned(again)
  if again then
    z.losses = z.losses - 1
  else
    z.first_misses = z.first_misses - 1
    z.first_polls = z.first_polls + 1
  end
end

-- Looks whether a slot has ended, and measures it if there were enough people all along; and what it allowed and they did not take. Watched: the limits, the slot's number and how many
-- were present when it began; 0 if it is not to be measured.
function line.watch_pace(limits, now)
  if not limits then
    z.watched = false
    return
  end
  local slot = floor(now / limits.slot)
  local w = z.watched
  local same = w and w[1] == limits.limit and w[2] == limits.window and w[3] == limits.slot and w[4] == limits.quota
  if same and w[5] == slot then return end
  if same and w[5] + 1 == slot and z.present > 0 then
    local last = slot * limits.slot
    local upto = line.total_before(last)
    local used = upto - line.total_before(w[5] * limits.slot)
    local missed = min(max(0, limits.quota - used), max(0, limits.limit - (upto - line.total_before(last - limits.window))))
    if w[6] >= used + missed then
      z.pace_used = z.pace_used + used
      z.pace_allowed = z.pace_allowed + used + missed
    end
    if z.stood == NOT then z.unused_in_all = z.unused_in_all + min(missed, max(0, w[6] - used), line.seats()) end
  end
  z.watched = { limits.limit, limits.window, limits.slot, limits.quota, slot, z.present }
  if z.stood == FOR_A_PART then z.stood = NOT end
end

-- Somebody was let in, or told that the line moves.
function line.pace_runs()
  if z.stood == STILL then z.stood = FOR_A_PART end
end

function line.interrupt_pace()
  z.stood = STILL
  if z.watched then z.watched[6] = 0 end
end

function line.really_waiting(ahead, behind)
  local misses = max(0, z.first_misses)
  local share = misses / (misses + max(0, z.first_polls) + CALM_FIRST_POLLS)
  return ahead - share * min(max(0, z.fresh - behind), ahead)
end

function line.loss_per_second()
  return max(0, z.losses / (z.present_seconds + CALM_SECONDS))
end

function line.utilisation()
  if z.pace_allowed < 1 then return 1 end
  return max(USE_MIN, min(1, z.pace_used / z.pace_allowed))
end

function line.admissions_per_second()
  if z.admissions >= 1 and z.waiting_seconds > 0 then return z.admissions / z.waiting_seconds end
end

-- Of `ahead` tickets, how many will have entered when the last of them is through, if each drops out with `loss` a second meanwhile.
function line.survivors(ahead, loss, seconds)
  local x = loss * seconds
  if x < 1e-6 then return ahead end
  return ahead * math.log(1 + x) / x
end

function line.start_of_minute(moment)
  return floor(moment / MINUTE_MS) * MINUTE_MS
end

-- Finished minutes that nobody has asked for yet, oldest first: start, entered, waiting, dropped.
function line.finished_minutes()
  if z.finished == 0 then return {} end
  return unpacked(call('HGET', key .. 'zone', 'n'))
end

function line.store_minutes(list)
  z.finished = #list
  write('HSET', key .. 'zone', 'n', pack(list))
end

function line.finish_minute(list, minute, entered, waiting, dropped)
  if entered == 0 and waiting == 0 and dropped == 0 then return end
  if #list == MINUTES_PENDING_MAX then table.remove(list, 1) end
  list[#list + 1] = { minute, entered, waiting, dropped }
end

-- Time has passed. Minutes in which nothing was are not kept.
function line.pass_minutes(now)
  if now - z.minute < MINUTE_MS then return end
  local list = line.finished_minutes()
  line.finish_minute(list, z.minute, z.entered, z.alive, z.dropped)
  z.entered, z.dropped = 0, 0
  -- Minutes in which nobody asked anything: the line stood still.
  local current = line.start_of_minute(now)
  z.minute = max(z.minute + MINUTE_MS, current - MINUTE_MS * MINUTES_PENDING_MAX)
  while z.minute < current do
    line.finish_minute(list, z.minute, 0, z.alive, 0)
    z.minute = z.minute + MINUTE_MS
  end
  line.store_minutes(list)
end
