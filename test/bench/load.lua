-- For wrk: POST with a key of its own per request (fresh), or with one key for all (replay).
-- Arguments: fresh|replay, the key or what all keys begin with
local head = "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: 34\r\nIdempotency-Key: "
local tail = '\r\n\r\n{"amount":1999,"currency":"EUR"}  '
local key, fresh, count = "", false, 0

function init(args)
  fresh = args[1] == "fresh"
  key = args[2]
  head = string.format(head, wrk.path)
end

function request()
  if not fresh then return head .. key .. tail end
  count = count + 1
  return head .. key .. count .. tail
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"durationUs":%d,"p50Us":%d,"p99Us":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
