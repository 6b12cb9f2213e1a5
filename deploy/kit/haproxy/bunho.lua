-- Asks Bunho whether a request may enter. HAProxy has no auth_request; this is one, in the HTTP client that its Lua has (2.5 and newer).
--
-- In:  txn.bunho_zone     the zone that protects what is asked for (haproxy.cfg sets it)
-- Out: txn.bunho_answer   good | refused | outage
--      txn.bunho_status, txn.bunho_body   Bunho's own refusal, for programs
--      txn.bunho_back     where the person came from, without a refused pass in it, for ?return_to=
--      txn.bunho_keep     a pass that came in the query and is good: the cookie to set
--
-- The call does not block: HAProxy serves others while it waits. It goes through the section `listen bunho_check` of haproxy.cfg, and that is
-- where its timeouts are, and how many nodes share the checks.

local CHECK_ADDRESS = "abns@bunho_check"
-- Passes have about 400 characters, all of these letters. What has others is none, and never becomes a header or a cookie.
local PASS_CHARS_MAX = 2048
local PASS = "^[%w_.-]+$"

local function pass_in(text)
  if text ~= nil and #text <= PASS_CHARS_MAX and text:match(PASS) then return text end
  return nil
end

-- The address that was asked for, ready to be encoded. One that begins with two slashes would be another host's.
local function way_back(path_and_query)
  local path, query = path_and_query:match("^([^?]*)%??(.*)$")
  if path:match("^/[/\\]") or not path:match("^/") then return "/" end
  local kept = {}
  for part in query:gmatch("[^&]+") do
    if not part:match("^pass=") then kept[#kept + 1] = part end
  end
  if #kept == 0 then return path end
  return path .. "?" .. table.concat(kept, "&")
end

local function check(txn)
  local zone = txn:get_var("txn.bunho_zone")
  -- A pass in the query came over from another origin just now; a cookie may be an older one.
  local in_query = pass_in(txn.sf:url_param("pass"))
  local pass = in_query or pass_in(txn.sf:req_hdr("bunho-pass")) or pass_in(txn.sf:req_cook("bunho_pass"))
  txn:set_var("txn.bunho_back", way_back(txn.sf:pathq()))

  -- Bunho sees the pass and nothing else of the client's: no other cookie, no Authorization.
  local headers = { ["host"] = { "bunho" } }
  if pass ~= nil then headers["bunho-pass"] = { pass } end
  local called, answer = pcall(function()
    return core.httpclient():get { url = "http://127.0.0.1/verify?zone=" .. zone, dst = CHECK_ADDRESS, headers = headers }
  end)
  local status = called and answer and answer.status or 0

  if status >= 200 and status < 300 then
    txn:set_var("txn.bunho_answer", "good")
    if in_query ~= nil then txn:set_var("txn.bunho_keep", in_query) end
  elseif status == 401 or status == 403 then
    txn:set_var("txn.bunho_answer", "refused")
    txn:set_var("txn.bunho_status", status)
    txn:set_var("txn.bunho_body", answer.body or "")
  else
    -- Also what a node answers when it is overloaded: whether the pass is good is then not known.
    txn:set_var("txn.bunho_answer", "outage")
  end
end

core.register_action("bunho_check", { "http-req" }, check, 0)
