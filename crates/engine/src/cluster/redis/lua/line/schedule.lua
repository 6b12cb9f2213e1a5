-- Who entered in the last minute, and when the limiter lets the next in: bunho_domain::line::{log, schedule}.
--
-- The log has one entry for each millisecond in which somebody entered. The latest one stands in the state, since it still changes; the others stand
-- in two sorted sets: `lt` from the time to the running total, `lk` from the total to the time and to what was before.

function line.trim_log(at)
  local limit = at - KEPT_MS
  if z.log_last <= limit then
    z.log_dropped, z.log_last, z.log_oldest = z.log_total, false, false
    write('UNLINK', key .. 'lt', key .. 'lk')
  else
    local last = call('ZREVRANGEBYSCORE', key .. 'lt', limit, '-inf', 'LIMIT', 0, 1)[1]
    z.log_dropped = tonumber(last)
    write('ZREMRANGEBYSCORE', key .. 'lt', '-inf', limit)
    write('ZREMRANGEBYSCORE', key .. 'lk', '-inf', z.log_dropped)
    local oldest = call('ZRANGE', key .. 'lt', 0, 0, 'WITHSCORES')
    z.log_oldest = tonumber(oldest[2] or z.log_last)
  end
  run.before = {}
end

-- Notes an admission; times do not run backwards.
function line.log_admission(at)
  if z.log_oldest and at - z.log_oldest >= KEPT_MS then line.trim_log(at) end
  if not z.log_last or z.log_last < at then
    if z.log_last then
      write('ZADD', key .. 'lt', z.log_last, z.log_total)
      write('ZADD', key .. 'lk', z.log_total, z.log_last .. ':' .. z.log_before)
    end
    z.log_last, z.log_before = at, z.log_total
    z.log_oldest = z.log_oldest or at
  end
  z.log_total = z.log_total + 1
  run.before = {}
end

-- Admissions since the line began that were before `moment`.
function line.total_before(moment)
  if not z.log_oldest or z.log_oldest >= moment then return z.log_dropped end
  if z.log_last < moment then return z.log_total end
  local known = run.before[moment]
  if not known then
    local last = call('ZREVRANGEBYSCORE', key .. 'lt', '(' .. moment, '-inf', 'LIMIT', 0, 1)[1]
    known = last and tonumber(last) or z.log_dropped
    run.before[moment] = known
  end
  return known
end

-- Time of the admission with so many before it, and how many of its millisecond were before it. Nil: not in the log.
function line.logged(total)
  if total < z.log_dropped or total >= z.log_total then return end
  if total >= z.log_before then return z.log_last, total - z.log_before end
  local entry = call('ZRANGEBYSCORE', key .. 'lk', '(' .. total, '+inf', 'LIMIT', 0, 1)[1]
  if not entry then return end
  local at, before = string.match(entry, '^(%d+):(%d+)$')
  return tonumber(at), total - tonumber(before)
end

-- The limiter's settings in milliseconds: N, window, slot, quota. Nil: no limit.
function line.limits_of()
  local limit = settings[LIMIT]
  if not limit then return end
  local window, slot = max(1, settings[WINDOW]), max(1, settings[SLOT])
  return { limit = limit, window = window * 1000, slot = slot * 1000, quota = min(U32, ceil(limit * settings[SLOT] / window)) }
end

function line.window_room(limits, now)
  return max(0, limits.limit - min(U32, z.log_total - line.total_before(now + 1 - limits.window)))
end

function line.limited_room(limits, now)
  local in_slot = z.log_total - line.total_before(floor(now / limits.slot) * limits.slot)
  return min(line.window_room(limits, now), max(0, limits.quota - min(U32, in_slot)))
end

-- A slot of the plan: admissions in it and before it; free at its start; first of the log that leaves the window in it, and how many do.
local PLAN_FORMAT = '<I4i6I6I4'
local PLAN_BYTES = 20
local PLAN_HEAD = '<I4I4I4I4I6I6H'
local PLAN_HEAD_BYTES = 30

function line.load_plan()
  local raw = call('HGET', key .. 'zone', 'p')
  if not raw then return false end
  local plan = { slots = sub(raw, PLAN_HEAD_BYTES + 1) }
  plan.limit, plan.window, plan.slot, plan.quota, plan.first, plan.before, plan.count = sunpack(PLAN_HEAD, raw)
  return plan
end

function line.plan_slot(plan, s)
  return sunpack(PLAN_FORMAT, plan.slots, 1 + PLAN_BYTES * s)
end

function line.plan_upto(plan, s)
  if s < 0 or s >= plan.count then return 0 end
  return (sunpack('<I4', plan.slots, 1 + PLAN_BYTES * s))
end

function line.slots_per_window(limits)
  return max(1, floor(limits.window / limits.slot))
end

function line.make_plan(limits, first)
  local count = 2 * ceil(max(limits.window, limits.slot) / limits.slot)
  local begin = first * limits.slot
  local before = line.total_before(begin)
  -- A logged admission is free from one window after it on; those free at the very start are carried.
  local first_freed = line.total_before(begin + 1 - limits.window)
  local carried = limits.limit - (before - first_freed)
  local upto, uptos, slots = 0, {}, {}
  for s = 0, count - 1 do
    local start = begin + s * limits.slot
    local last = max(first_freed, min(before, line.total_before(start + limits.slot - limits.window)))
    local freed, again = min(U32, last - first_freed), 0
    local e = s - line.slots_per_window(limits)
    if e >= 0 then again = uptos[e] - (uptos[e - 1] or 0) end
    local free = carried + freed + again
    local admitted = max(0, min(limits.quota, free))
    -- A burst without a line may have passed the quota.
    if s == 0 then admitted = max(admitted, min(U32, z.log_total - before)) end
    upto = min(U32, upto + admitted)
    uptos[s] = upto
    slots[#slots + 1] = spack(PLAN_FORMAT, upto, carried, first_freed, freed)
    carried = free - admitted
    first_freed = last
  end
  run.new_plan = true
  run.plan = { limit = limits.limit, window = limits.window, slot = limits.slot, quota = limits.quota, first = first, before = before,
    count = count, slots = table.concat(slots) }
end

function line.plan_for(limits, first)
  if run.plan == nil then run.plan = line.load_plan() end
  local plan = run.plan
  local fits = plan and plan.first == first and plan.limit == limits.limit and plan.window == limits.window and plan.slot == limits.slot
    and plan.quota == limits.quota and plan.count > 0 and min(U32, max(0, z.log_total - plan.before)) <= line.plan_upto(plan, 0)
  if not fits then line.make_plan(limits, first) end
  return run.plan
end

-- Moment of the `place`-th admission since the start of the first slot.
function line.planned(plan, limits, from, place)
  local happened = line.logged(plan.before + place)
  if happened then return happened end
  -- The first slot whose `upto` is above the place.
  local low, high = 0, plan.count
  while low < high do
    local middle = floor((low + high) / 2)
    if line.plan_upto(plan, middle) <= place then low = middle + 1 else high = middle end
  end
  local s = low
  if s >= plan.count then return from end
  local _, carried, first_freed, count_freed = line.plan_slot(plan, s)
  local start = (plan.first + s) * limits.slot
  if s == 0 then start = max(start, from) end
  local index = place - line.plan_upto(plan, s - 1)
  if index < carried then
    return start + floor(index * floor(limits.slot / SPREAD_PART) / max(1, limits.quota))
  end
  local freed = index - carried
  if freed > U32 then return start end
  if freed < count_freed then
    local at, among = line.logged(first_freed + freed)
    if not at then return start end
    return max(start, at + limits.window + floor(among / POLLS_PER_MS))
  end
  -- It becomes free by an admission that this plan foresees in an earlier slot, and that is one step back.
  local earlier = s - line.slots_per_window(limits)
  if earlier < 0 then return start end
  local earlier_place = min(min(U32, line.plan_upto(plan, earlier - 1) + freed - count_freed), max(0, place - 1))
  return max(start, line.planned(plan, limits, from, earlier_place) + limits.window)
end

-- The earliest moment, not before `from`, at which someone may enter who has `ahead` admissions to wait for. Nil: never, because N is 0.
function line.plan_moment(limits, from, ahead)
  local plan = line.plan_for(limits, floor(from / limits.slot))
  local place = min(U32, min(U32, max(0, z.log_total - plan.before)) + ahead)
  -- Beyond the plan the second half of it repeats.
  local half, whole = line.plan_upto(plan, plan.count / 2 - 1), line.plan_upto(plan, plan.count - 1)
  local turn, later = max(0, whole - half), 0
  if place >= whole then
    if turn == 0 then return end
    local turns = floor((place - whole) / turn) + 1
    place = max(0, place - min(U32, turns * turn))
    later = turns * limits.slot * plan.count / 2
  end
  return max(line.planned(plan, limits, from, place) + later, from)
end

function line.flush_plan()
  if not run.new_plan then return end
  local plan = run.plan
  local head = spack(PLAN_HEAD, plan.limit, plan.window, plan.slot, plan.quota, plan.first, plan.before, plan.count)
  write('HSET', key .. 'zone', 'p', head .. plan.slots)
end
