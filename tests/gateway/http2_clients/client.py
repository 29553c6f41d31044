"""Requests and a WebSocket over HTTP/2, by the package h2: client.py HOST PORT CA"""

import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings


class Client:
    """A connection, which reads until a test has what it waits for."""

    def __init__(self, host, port, ca):
        context = ssl.create_default_context(cafile=ca)
        context.set_alpn_protocols(["h2"])
        self.authority = f"{host}:{port}"
        plain = socket.create_connection((host, port), timeout=60)
        self.socket = context.wrap_socket(plain, server_hostname=host)
        assert self.socket.selected_alpn_protocol() == "h2"
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.heads, self.bodies, self.trailers, self.ended, self.settings = {}, {}, {}, set(), False
        self.flush()
        self.read_until(lambda: self.settings)

    def flush(self):
        self.socket.sendall(self.connection.data_to_send())

    def read_until(self, condition):
        while not condition():
            data = self.socket.recv(65536)
            assert data, "the gateway has closed the connection"
            for event in self.connection.receive_data(data):
                self.take(event)
            self.flush()

    def take(self, event):
        if isinstance(event, h2.events.ResponseReceived):
            self.heads[event.stream_id] = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.bodies.setdefault(event.stream_id, bytearray()).extend(event.data)
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers[event.stream_id] = dict(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.settings = True
        elif isinstance(event, h2.events.StreamReset):
            # Without an error, it asks for no more of a request whose response is whole (RFC 9113 §8.1).
            assert event.error_code == 0 and event.stream_id in self.ended, event
        elif isinstance(event, h2.events.ConnectionTerminated):
            raise AssertionError(event)

    def open(self, method, path, more=(), end=True):
        stream = self.connection.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "https"), (":authority", self.authority), (":path", path)]
        self.connection.send_headers(stream, fields + list(more), end_stream=end)
        self.flush()
        return stream

    def send(self, stream, data, end):
        while data:
            self.read_until(lambda: self.connection.local_flow_control_window(stream) > 0)
            length = min(
                self.connection.local_flow_control_window(stream),
                self.connection.max_outbound_frame_size,
                len(data),
            )
            self.connection.send_data(stream, data[:length])
            data = data[length:]
            self.flush()
        if end:
            self.connection.end_stream(stream)
            self.flush()

    def body(self, stream):
        self.read_until(lambda: stream in self.ended)
        return bytes(self.bodies.get(stream, b""))


client = Client(sys.argv[1], int(sys.argv[2]), sys.argv[3])
settings = client.connection.remote_settings
assert settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL) == 1, settings

stream = client.open("GET", "/local")
assert client.body(stream) == b"hello"
assert client.heads[stream][":status"] == "200"

streams = [client.open("GET", "/local") for _ in range(100)]
assert all(client.body(stream) == b"hello" for stream in streams)

upload = bytes(range(256)) * 12_000
stream = client.open("POST", "/echo", end=False)
client.send(stream, upload, end=True)
assert client.body(stream) == upload

stream = client.open("GET", "/trailers")
assert client.body(stream) == b"body"
assert client.trailers[stream] == {"x-end": "1"}, client.trailers

stream = client.open("CONNECT", "/chat", [(":protocol", "websocket"), ("sec-websocket-version", "13")], end=False)
client.read_until(lambda: stream in client.heads)
head = client.heads[stream]
assert head[":status"] == "200" and not {"connection", "upgrade", "sec-websocket-accept"} & set(head), head
client.send(stream, upload, end=False)
client.read_until(lambda: len(client.bodies.get(stream, b"")) == len(upload))
client.send(stream, b"bye", end=True)
assert client.body(stream) == upload + b"bye"

stream = client.open("CONNECT", "/local", [(":protocol", "websocket")], end=False)
client.read_until(lambda: stream in client.heads)
assert client.heads[stream][":status"] == "501"
assert client.heads[stream]["x-gateway-error"] == "request.protocol"
print("done")
