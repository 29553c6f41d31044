// Writes a response's body in capitals.
function body(request, data, flags) {
    request.sendBuffer(data.toUpperCase(), flags);
}

export default { body };
