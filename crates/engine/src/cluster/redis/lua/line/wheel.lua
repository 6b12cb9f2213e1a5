-- When tickets change by themselves: bunho_domain::line::wheel, with a list of Redis for each quarter second of the ring.
--
-- A list cannot be left from its middle: a ticket whose deadline came nearer is entered a second time, and its slot tells which entry
-- counts. The other one is dropped when its bucket comes up, so there are at most 512 of a ticket and mostly one.

function line.deadline_of(slot)
  if slot.admitted then
    local session = not slot.session_over and slot.touched + 1000 * slot.session
    local pass = not slot.pass_over and slot.touched + 1000 * slot.pass
    if session and pass then return min(session, pass) end
    return session or pass
  end
  local abandoned = slot.touched + 1000 * settings[ABANDON]
  if slot.presence == PRESENT then return min(abandoned, slot.touched + slot.period + POLL_SLACK_MS) end
  if slot.presence == ABSENT then return abandoned end
  return abandoned + 1000 * settings[GRACE]
end

-- Puts the ticket where its deadline comes up, unless it already comes up sooner.
function line.arm(seq, slot)
  local deadline = line.deadline_of(slot)
  if not deadline then return end
  local tick = max(z.tick, min(ceil(deadline / TICK_MS), z.tick + BUCKETS - 1))
  if slot.bucket ~= UNARMED and (slot.bucket - z.tick) % BUCKETS <= tick - z.tick then return end
  slot.bucket = tick % BUCKETS
  line.touch(seq)
  local pushes = run.pushes[slot.bucket]
  if not pushes then
    pushes = {}
    run.pushes[slot.bucket] = pushes
  end
  pushes[#pushes + 1] = seq
end

function line.bucket_key(bucket)
  return key .. 'b:' .. z.gen .. ':' .. bucket
end

function line.flush_bucket(bucket)
  local pushes = run.pushes[bucket]
  if not pushes then return end
  for i = 1, #pushes, ARGS_MOST do
    write('RPUSH', line.bucket_key(bucket), unpack(pushes, i, min(i + ARGS_MOST - 1, #pushes)))
  end
  run.pushes[bucket] = nil
end

function line.flush_wheel()
  local buckets = {}
  for bucket in pairs(run.pushes) do buckets[#buckets + 1] = bucket end
  for _, bucket in ipairs(buckets) do line.flush_bucket(bucket) end
end

-- Takes out at most `most` entries that have come up by `now`: sequence numbers and the bucket they were in. Nil: nothing more has come up.
function line.pop_due(now, most)
  local last = floor(now / TICK_MS)
  -- After a long silence every bucket has come up once; going round more often would find nothing.
  z.tick = max(z.tick, last - BUCKETS + 1)
  while z.tick <= last do
    local bucket = z.tick % BUCKETS
    line.flush_bucket(bucket)
    local seqs = call('LPOP', line.bucket_key(bucket), min(most, ARGS_MOST))
    if seqs then
      run.wrote = true
      return seqs, bucket
    end
    z.tick = z.tick + 1
  end
end
