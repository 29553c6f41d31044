-- For wrk: sends POSTs of so many bytes where that is asked for, and ends with its results as JSON.
-- wrk -s wrk.lua URL -- [BYTES]
function init(arguments)
    local bytes = tonumber(arguments[1] or "0")
    if bytes > 0 then
        wrk.method = "POST"
        wrk.body = string.rep("hello, World 123", bytes / 16)
    end
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '\nJSON {"requests": %d, "seconds": %f, "failed": %d}\n',
        summary.requests,
        summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout
    ))
end
