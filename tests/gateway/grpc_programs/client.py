"""A gRPC client without generated code: client.py CASE TARGET [CA]. It prints `done`, or fails."""

import asyncio
import sys
import time

import grpc

LARGE = 4 << 20
OPTIONS = [
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.max_send_message_length", 8 << 20),
    # Each channel has a connection of its own.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]
# Longer than anything takes on a loaded machine.
PATIENCE = 50


class Client:
    def __init__(self, target, ca):
        if ca:
            credentials = grpc.ssl_channel_credentials(open(ca, "rb").read())
            self.channel = grpc.aio.secure_channel(target, credentials, OPTIONS)
        else:
            self.channel = grpc.aio.insecure_channel(target, OPTIONS)

    def unary(self, method, request, timeout=PATIENCE, **more):
        return self.channel.unary_unary(method)(request, timeout=timeout, **more)

    def probe(self, method, request=b"", **more):
        return self.unary(f"/probe.Probe/{method}", request, **more)

    async def event(self):
        return (await self.probe("NextEvent")).decode()


async def status_of(call):
    try:
        reply = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"a reply of {len(reply)} bytes in place of an error")


async def kinds(client):
    for request in [b"", b"hello"]:
        assert await client.probe("Unary", request) == request

    async def requests():
        for size in [0, 1, 100_000]:
            yield b"r" * size

    upload = client.channel.stream_unary("/probe.Probe/Upload")
    assert await upload(requests(), timeout=PATIENCE) == b"[0, 1, 100000]"

    download = client.channel.unary_stream("/probe.Probe/Download")(b"1000", timeout=PATIENCE)
    assert [reply async for reply in download] == [str(number).encode() for number in range(1000)]
    late = dict(await download.trailing_metadata())
    assert (late["x-late"], late["x-late-bin"]) == ("text", b"\x00\xff"), late

    # A reply arrives before the next request is sent.
    chat = client.channel.stream_stream("/probe.Probe/Chat")(timeout=PATIENCE)
    assert dict(await chat.initial_metadata())["x-early"] == "yes"
    for number in range(100):
        await chat.write(b"%d" % number)
        assert await chat.read() == b"re: %d" % number
    await chat.done_writing()
    assert await chat.read() is grpc.aio.EOF
    assert await chat.code() is grpc.StatusCode.OK


async def errors(client):
    error = await status_of(client.probe("Fail"))
    assert error.code() is grpc.StatusCode.NOT_FOUND, error
    assert error.details() == "kein Maß für „%“ \U0001f600", error
    assert dict(error.trailing_metadata())["x-detail-bin"] == bytes(range(256)), error
    # The server's own, and the gateway's for a path without a route.
    error = await status_of(client.probe("Nothing"))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED, error
    assert "x-gateway-error" not in dict(error.trailing_metadata()), error
    error = await status_of(client.unary("/other.Service/Call", b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED, error
    assert error.details().startswith("route.none: "), error


async def down(client):
    error = await status_of(client.probe("Unary"))
    assert error.code() is grpc.StatusCode.UNAVAILABLE, error
    assert error.details().startswith("upstream.connect: "), error


async def deadline(client):
    error = await status_of(client.probe("Hold", timeout=1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, error
    arrived, left = (await client.event()).split()
    assert arrived == "arrived" and float(left) <= 1, left
    assert await client.event() == "cancelled"
    # Other calls have their own time.
    assert await client.probe("Unary", b"hello") == b"hello"


async def cancel(client):
    for _ in range(20):
        call = client.probe("Hold", timeout=None)
        assert await client.event() == "arrived None"
        call.cancel()
        assert await client.event() == "cancelled"
    call = client.channel.unary_stream("/probe.Probe/HoldStream")(b"")
    assert await call.read() == b"0"
    call.cancel()
    assert [await client.event(), await client.event()] == ["arrived", "cancelled"]


async def many(client, others):
    """10,000 calls, of which 200 are under way at any moment."""
    clients = [client, *others]
    numbers = iter(range(10_000))

    async def worker(client):
        unary = client.channel.unary_unary("/probe.Probe/Unary")
        for number in numbers:
            request = b"%d" % number
            assert await unary(request, timeout=PATIENCE) == request

    await asyncio.gather(*(worker(client) for client in clients for _ in range(200 // len(clients))))


async def large(client):
    message = bytes(range(256)) * (LARGE // 256)
    replies = await asyncio.gather(*(client.probe("Unary", message) for _ in range(4)))
    assert all(reply == message for reply in replies)
    chat = client.channel.stream_stream("/probe.Probe/Chat")(timeout=PATIENCE)
    for _ in range(3):
        await chat.write(message)
        assert await chat.read() == b"re: " + message
    await chat.done_writing()
    assert await chat.read() is grpc.aio.EOF


async def main(case, target, ca=None):
    client = Client(target, ca)
    others = [Client(target, ca) for _ in range(3)] if case == "many" else []
    began = time.monotonic()
    await globals()[case](client, *([others] if others else []))
    print(f"{case}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    print("done")


asyncio.run(main(*sys.argv[1:]))
