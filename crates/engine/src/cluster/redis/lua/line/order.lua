-- The tickets of one epoch in the order of their numbers, and how many stand ahead of any of them: bunho_domain::line::{slot, order, keys}.
--
-- Numbers are dense, so the line is an array in pieces: slots of 31 bytes, 1,024 to a string of Redis. A rank is a sum over a tree of
-- radix 32 whose leaves are chunks of 8,192 bits, and one BITCOUNT of at most 1 KiB: two steps of the tree up to 8 million numbers, four at most.

local SLOT_BYTES = 31
-- Nonce, time of issue, last sign of life or admission, flags, shown rank or seconds of the session, period or seconds of the pass, bucket.
local SLOT_FORMAT = '<c8I6I6BI4I4H'
local EMPTY_SLOT = string.rep('\0', SLOT_BYTES)
local CHUNK = 1024
local BITS = 8192
local RADIX = 32
local UNARMED = 65535
local KEY_SHARDS = 16384

local PRESENT, ABSENT, DORMANT = 0, 1, 2

-- Flags: 2 bits of kind (0 unknown, 1 waiting, 2 admitted); waiting: 2 of presence, 1 asked again, 2 of hasty polls; admitted: session over,
-- pass over, bearer unmet; and the highest, for both: its nonce leads to it.
function line.read_slot(raw)
  local nonce, issued, touched, flags, one, other, bucket = sunpack(SLOT_FORMAT, raw)
  local kind = flags % 4
  if kind == 0 then return false end
  local slot = { nonce = nonce, issued = issued, touched = touched, bucket = bucket, keyed = flags >= 128 }
  if kind == 1 then
    slot.presence, slot.again, slot.hasty = floor(flags / 4) % 4, floor(flags / 16) % 2 == 1, floor(flags / 32) % 4
    slot.shown, slot.period = one, other
    slot.w, slot.a, slot.p = 1, slot.presence ~= DORMANT and 1 or 0, slot.presence == PRESENT and 1 or 0
  else
    slot.admitted = true
    slot.session_over, slot.pass_over, slot.unmet = floor(flags / 4) % 2 == 1, floor(flags / 8) % 2 == 1, floor(flags / 16) % 2 == 1
    slot.session, slot.pass = one, other
    slot.w, slot.a, slot.p = 0, 0, 0
  end
  return slot
end

function line.written_slot(slot)
  if not slot then return EMPTY_SLOT end
  local flags = slot.keyed and 128 or 0
  if slot.admitted then
    flags = flags + 2 + (slot.session_over and 4 or 0) + (slot.pass_over and 8 or 0) + (slot.unmet and 16 or 0)
    return spack(SLOT_FORMAT, slot.nonce, slot.issued, slot.touched, flags, slot.session, slot.pass, slot.bucket)
  end
  flags = flags + 1 + 4 * slot.presence + (slot.again and 16 or 0) + 32 * slot.hasty
  return spack(SLOT_FORMAT, slot.nonce, slot.issued, slot.touched, flags, slot.shown, slot.period, slot.bucket)
end

function line.waiting_slot(nonce, issued, now)
  return { nonce = nonce, issued = issued, touched = now, bucket = UNARMED, keyed = false, presence = PRESENT, again = false, hasty = 0,
    shown = U32, period = 0, w = 0, a = 0, p = 0 }
end

-- The ticket with this number, or false if none is known. Whoever changes it says so by touch, and a change of its standing by mark.
function line.slot_of(seq)
  local slot = run.slots[seq]
  if slot == nil then
    local from = seq % CHUNK * SLOT_BYTES
    local raw = call('GETRANGE', key .. 's:' .. z.gen .. ':' .. floor(seq / CHUNK), from, from + SLOT_BYTES - 1)
    slot = #raw == SLOT_BYTES and line.read_slot(raw)
    run.slots[seq] = slot
  end
  return slot
end

function line.touch(seq)
  run.changed[seq] = true
end

-- One node of the tree: f has 32 counts of alive and 32 of present, v has 32 of waiting.
local NODE_FORMATS = { f = '<' .. string.rep('I4', 2 * RADIX), v = '<' .. string.rep('I4', RADIX) }

function line.node_of(kind, level, index)
  local name = kind .. ':' .. z.gen .. ':' .. level .. ':' .. index
  local node = run.nodes[name]
  if not node then
    local raw = call('GET', key .. name)
    if raw then
      node = { sunpack(NODE_FORMATS[kind], raw) }
    else
      node = {}
      for i = 1, kind == 'f' and 2 * RADIX or RADIX do node[i] = 0 end
      node.new = true
    end
    node.kind, node.changed = kind, {}
    run.nodes[name] = node
  end
  return node
end

function line.add(kind, offset, chunk, delta)
  local at = chunk
  for level = 0, z.levels - 1 do
    local index = floor(at / RADIX)
    local node, place = line.node_of(kind, level, index), at % RADIX + offset + 1
    node[place] = node[place] + delta
    node.changed[place] = true
    at = index
  end
end

-- Lets the tree reach this chunk: a new root has all there was as its first child.
function line.grow(chunk)
  while chunk >= RADIX ^ z.levels do
    local f, v = line.node_of('f', z.levels, 0), line.node_of('v', z.levels, 0)
    local old_f, old_v = line.node_of('f', z.levels - 1, 0), line.node_of('v', z.levels - 1, 0)
    local alive, present, waiting = 0, 0, 0
    for i = 1, RADIX do
      alive, present, waiting = alive + old_f[i], present + old_f[RADIX + i], waiting + old_v[i]
    end
    f[1], f[RADIX + 1], v[1] = alive, present, waiting
    f.changed[1], f.changed[RADIX + 1], v.changed[1] = true, true, true
    z.levels = z.levels + 1
  end
end

function line.set_bit(kind, seq, on)
  write('SETBIT', key .. kind .. ':' .. z.gen .. ':' .. floor(seq / BITS), seq % BITS, on)
end

-- Sets a ticket's bits (waiting, alive, present) and changes the sums with them.
function line.set_standing(seq, slot, w, a, p)
  local chunk = floor(seq / BITS)
  if w ~= slot.w then
    line.set_bit('w', seq, w)
    line.add('v', 0, chunk, w - slot.w)
    slot.w = w
  end
  if a ~= slot.a then
    line.set_bit('a', seq, a)
    line.add('f', 0, chunk, a - slot.a)
    z.alive = z.alive + a - slot.a
    slot.a = a
  end
  if p ~= slot.p then
    line.set_bit('p', seq, p)
    line.add('f', RADIX, chunk, p - slot.p)
    z.present = z.present + p - slot.p
    slot.p = p
  end
  line.touch(seq)
end

-- Brings the bits and sums in line with the ticket's standing.
function line.mark(seq, slot)
  if slot.admitted then return line.set_standing(seq, slot, 0, 0, 0) end
  line.set_standing(seq, slot, 1, slot.presence ~= DORMANT and 1 or 0, slot.presence == PRESENT and 1 or 0)
end

function line.insert_slot(seq, slot)
  line.grow(floor(seq / BITS))
  run.slots[seq] = slot
  local chunk = floor(seq / CHUNK)
  run.used[chunk] = (run.used[chunk] or 0) + 1
  line.mark(seq, slot)
end

function line.remove_slot(seq, slot)
  line.set_standing(seq, slot, 0, 0, 0)
  run.slots[seq] = false
  local chunk = floor(seq / CHUNK)
  run.used[chunk] = (run.used[chunk] or 0) - 1
end

function line.ahead(seq, kind, offset)
  local within, sum, at = seq % BITS, 0, floor(seq / BITS)
  if within > 0 then
    sum = call('BITCOUNT', key .. kind .. ':' .. z.gen .. ':' .. at, 0, within - 1, 'BIT')
  end
  for level = 0, z.levels - 1 do
    local index, place = floor(at / RADIX), at % RADIX
    if place > 0 then
      local node = line.node_of('f', level, index)
      for i = offset + 1, offset + place do sum = sum + node[i] end
    end
    at = index
  end
  return sum
end

function line.alive_ahead(seq) return line.ahead(seq, 'a', 0) end
function line.present_ahead(seq) return line.ahead(seq, 'p', RADIX) end

-- The lowest number that waits: present, absent or dormant. False: none does.
function line.first_waiting()
  local at = 0
  for level = z.levels - 1, 0, -1 do
    local node, child = line.node_of('v', level, at), false
    for i = 1, RADIX do
      if node[i] > 0 then
        child = i - 1
        break
      end
    end
    if not child then return false end
    at = at * RADIX + child
  end
  local bit = call('BITPOS', key .. 'w:' .. z.gen .. ':' .. at, 1)
  return bit >= 0 and at * BITS + bit
end

function line.shard_of(nonce)
  local a, b = byte(nonce, 3, 4)
  return key .. 'k:' .. z.gen .. ':' .. (a * 256 + b) % KEY_SHARDS
end

function line.find_key(nonce)
  local seq = call('HGET', line.shard_of(nonce), nonce)
  return seq and tonumber(seq)
end

-- Remembers that this ticket was given to this nonce, unless another ticket was.
function line.insert_key(seq, slot)
  if not slot.keyed and write('HSETNX', line.shard_of(slot.nonce), slot.nonce, seq) == 1 then
    slot.keyed = true
    line.touch(seq)
  end
end

function line.remove_key(seq, slot)
  if slot.keyed then
    write('HDEL', line.shard_of(slot.nonce), slot.nonce)
    slot.keyed = false
    line.touch(seq)
  end
end

-- A chunk lost its last ticket: it goes, and the bits with the last chunk that they are of.
function line.free_chunk(counts, chunk)
  write('HDEL', counts, chunk)
  write('UNLINK', key .. 's:' .. z.gen .. ':' .. chunk)
  local bits, same = floor(chunk * CHUNK / BITS), {}
  if bits == floor(z.next / BITS) then return end
  for i = 0, BITS / CHUNK - 1 do same[i + 1] = bits * BITS / CHUNK + i end
  for _, count in ipairs(call('HMGET', counts, unpack(same))) do
    if count then return end
  end
  local name = ':' .. z.gen .. ':' .. bits
  write('UNLINK', key .. 'a' .. name, key .. 'p' .. name, key .. 'w' .. name)
end

function line.flush_used()
  local counts = key .. 'u:' .. z.gen
  for chunk, delta in pairs(run.used) do
    local left = delta ~= 0 and write('HINCRBY', counts, chunk, delta) or tonumber(call('HGET', counts, chunk) or 0)
    if left == 0 and chunk ~= floor(z.next / CHUNK) then line.free_chunk(counts, chunk) end
  end
  run.used = {}
end

function line.flush_nodes()
  for name, node in pairs(run.nodes) do
    if next(node.changed) == nil then
      -- It was only read.
    elseif node.new then
      write('SET', key .. name, spack(NODE_FORMATS[node.kind], unpack(node)))
      node.new = false
    else
      for place in pairs(node.changed) do write('SETRANGE', key .. name, 4 * (place - 1), spack('<I4', node[place])) end
    end
    node.changed = {}
  end
end

function line.flush_order()
  local made = {}
  for seq in pairs(run.changed) do
    local index = floor(seq / CHUNK)
    local chunk = key .. 's:' .. z.gen .. ':' .. index
    if run.used[index] and not made[index] then
      made[index] = true
      -- At once as long as it will be: a string that grows takes up to twice its length.
      if call('EXISTS', chunk) == 0 then write('SETRANGE', chunk, CHUNK * SLOT_BYTES - 1, '\0') end
    end
    write('SETRANGE', chunk, seq % CHUNK * SLOT_BYTES, line.written_slot(run.slots[seq]))
  end
  run.changed = {}
  line.flush_used()
  line.flush_nodes()
end
