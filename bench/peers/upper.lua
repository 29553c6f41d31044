-- Writes a response's body in capitals. HAProxy changes bodies on their way only through a filter like this one.
local upper = { id = "upper", flags = filter.FLT_CFG_FL_HTX }
upper.__index = upper

function upper.new()
    return setmetatable({}, upper)
end

function upper:start_analyze(_, channel)
    if channel:is_resp() then
        filter.register_data_filter(self, channel)
    end
    return filter.CONTINUE
end

function upper:http_payload(_, message)
    local body = message:body()
    if body and #body > 0 then
        message:set(body:upper(), 0, #body)
    end
end

core.register_filter("upper", upper, function(made)
    return made
end)
