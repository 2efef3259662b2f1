-- Posts the bodies in a folder, in turn, and writes result.json there. bench/serving/wrk.py runs it.
-- wrk counts in a worker thread and reports in the main one, which reads the worker's globals by name.

local ffi = require("ffi")
ffi.cdef("int getpid(); int kill(int process, int signal);")
local INTERRUPT = 2
-- Where several processes accept from one socket, one may get all connections. Opening them again spreads them.
local REQUESTS_OF_A_CONNECTION = 100

local bodies, last_bodies, turn, sent, limit = {}, {}, 0, 0, 0
local worker
folder, answered, statuses = "", 0, {}

local function read(name)
  local file = assert(io.open(folder .. "/" .. name, "rb"))
  local content = file:read("*a")
  file:close()
  return content
end

function setup(thread)
  worker = thread
end

function init(arguments)
  local path, count
  folder, path, count, limit = arguments[1], arguments[2], tonumber(arguments[3]), tonumber(arguments[4])
  for index = 1, count do
    local headers = {["Content-Type"] = read(index .. ".type"), ["Host"] = wrk.headers["Host"]}
    bodies[index] = wrk.format("POST", path, headers, read(index .. ".body"))
    headers["Connection"] = "close"
    last_bodies[index] = wrk.format("POST", path, headers, read(index .. ".body"))
  end
end

function request()
  turn, sent = turn % #bodies + 1, sent + 1
  return (sent % REQUESTS_OF_A_CONNECTION == 0 and last_bodies or bodies)[turn]
end

function response(status)
  answered = answered + 1
  if status ~= 200 then
    statuses[tostring(status)] = (statuses[tostring(status)] or 0) + 1
  end
  if answered == limit then
    wrk.thread:stop()
    ffi.C.kill(ffi.C.getpid(), INTERRUPT) -- otherwise wrk sleeps to the end of its duration
  end
end

function done(summary, latency)
  local errors = {}
  for status, number in pairs(worker:get("statuses")) do
    errors[#errors + 1] = string.format('"%s": %d', status, number)
  end
  for _, kind in ipairs({"connect", "read", "write", "timeout"}) do
    if summary.errors[kind] > 0 then
      errors[#errors + 1] = string.format('"%s": %d', kind, summary.errors[kind])
    end
  end
  local file = assert(io.open(worker:get("folder") .. "/result.json", "w"))
  file:write(string.format(
    '{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "longest": %f, "errors": {%s}}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    latency.max / 1e6, table.concat(errors, ", ")
  ))
  file:close()
end
