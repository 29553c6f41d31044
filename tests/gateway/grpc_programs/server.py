"""A gRPC server without generated code: server.py [CERTIFICATE KEY]. It prints its port, and stops at SIGTERM."""

import asyncio
import signal
import sys

import grpc

EVENTS = None
ARRIVED = "arrived"


async def unary(request, context):
    return request


async def upload(requests, context):
    sizes = [len(request) async for request in requests]
    return repr(sizes).encode()


async def download(request, context):
    for number in range(int(request)):
        yield str(number).encode()
    context.set_trailing_metadata((("x-late", "text"), ("x-late-bin", b"\x00\xff")))


async def chat(requests, context):
    await context.send_initial_metadata((("x-early", "yes"),))
    async for request in requests:
        yield b"re: " + request


async def fail(request, context):
    await context.abort(grpc.StatusCode.NOT_FOUND, "kein Maß für „%“ \U0001f600", (("x-detail-bin", bytes(range(256))),))


async def hold(request, context):
    """Never replies. Reports what was left of the deadline, and that the call was cancelled."""
    left = context.time_remaining()
    EVENTS.put_nowait(f"{ARRIVED} {left if left is None else round(left, 3)}")
    try:
        await asyncio.Event().wait()
    finally:
        EVENTS.put_nowait("cancelled")


async def hold_stream(request, context):
    EVENTS.put_nowait(ARRIVED)
    try:
        number = 0
        while True:
            yield str(number).encode()
            number += 1
            await asyncio.sleep(0.005)
    finally:
        EVENTS.put_nowait("cancelled")


async def next_event(request, context):
    return (await EVENTS.get()).encode()


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Upload": grpc.stream_unary_rpc_method_handler(upload),
    "Download": grpc.unary_stream_rpc_method_handler(download),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Hold": grpc.unary_unary_rpc_method_handler(hold),
    "HoldStream": grpc.unary_stream_rpc_method_handler(hold_stream),
    "NextEvent": grpc.unary_unary_rpc_method_handler(next_event),
}


async def main(identity):
    global EVENTS
    EVENTS = asyncio.Queue()
    large = 8 << 20
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", large), ("grpc.max_send_message_length", large)]
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("probe.Probe", METHODS),))
    if identity:
        certificate, key = (open(path, "rb").read() for path in identity)
        port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(key, certificate)]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, lambda: asyncio.ensure_future(server.stop(grace=30))
    )
    print(port, flush=True)
    await server.wait_for_termination()


asyncio.run(main(sys.argv[1:]))
