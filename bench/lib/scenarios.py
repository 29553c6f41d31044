"""The scenarios: what clients ask, and what the proxy has to do with it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """One kind of request. Proxies tell by the path's first segment what to do; the origin answers by the last."""

    name: str
    title: str
    path: str = "/1k"
    tls: bool = False
    """Whether clients speak TLS."""
    http2: bool = False
    """Whether clients speak HTTP/2: 16 connections of 8 streams each."""
    post_bytes: int = 0
    """The body of a POST; 0 for a GET."""
    client_close: bool = False
    """Whether each request comes on a connection of its own."""
    kept: bool = True
    """Whether connections to the origin are kept for later requests."""
    upstream_tls: bool = False
    upstream_http2: bool = False
    """Whether the origin is spoken to by HTTP/2, without TLS."""
    grpc: bool = False
    """Whether the request is a unary call of gRPC."""
    filter: str = ""
    """What filters do: `upper` writes the response's body in capitals, `heads` looks at a field of the request and sets
    one of the response, `nothing` has callbacks for both heads and does nothing in them."""
    policy: str = ""
    """What decides about requests: a limit on their rate, or a way to know who calls."""
    telemetry: str = ""
    """What is recorded of requests by some contestants, beside the same that record nothing."""
    headers: tuple[tuple[str, str], ...] = ()
    """Fields of the request, in which {{name}} stands for a value of the arena."""
    asks: int = 1
    """The requests that the origin gets for each."""
    routes: int = 0
    """Prefix routes that there are besides; the request is for the last of them."""


TOKEN = ("authorization", "Bearer {{token}}")

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("s1", "1 KiB, keep-alive"),
        Scenario("s2", "64 KiB", "/64k"),
        Scenario("s3", "POST of 16 KiB, echoed", "/echo", post_bytes=16 * 1024),
        Scenario("s4", "1 KiB, new client connections", client_close=True),
        Scenario("s5", "1 KiB, TLS client", tls=True),
        Scenario("s6", "1 KiB, TLS client, HTTP/2", tls=True, http2=True),
        Scenario("s6-64k", "64 KiB, TLS client, HTTP/2", "/64k", tls=True, http2=True),
        Scenario("h2", "1 KiB, HTTP/2 on both sides", "/h2/1k", tls=True, http2=True, upstream_http2=True),
        Scenario("grpc", "gRPC, 1 KiB", "/h2/call", tls=True, http2=True, upstream_http2=True, grpc=True),
        Scenario("s7", "1 KiB, HTTPS upstream, kept", "/tls/1k", upstream_tls=True),
        Scenario("s7-off", "1 KiB, HTTPS upstream, not kept", "/tls-off/1k", kept=False, upstream_tls=True),
        Scenario("off", "1 KiB, plain upstream, not kept", "/off/1k", kept=False),
        Scenario("s8-10", "1 KiB, last of 10 routes", "/route-9/1k", routes=10),
        Scenario("s8-10000", "1 KiB, last of 10,000 routes", "/route-9999/1k", routes=10_000),
        Scenario("f-nothing", "1 KiB, a filter that does nothing", "/nothing/1k", filter="nothing"),
        Scenario("f-heads", "1 KiB, a filter that looks at heads", "/heads/1k", filter="heads"),
        Scenario("p-limit", "1 KiB, a limit on the rate by address", "/limit/1k", policy="limit"),
        Scenario(
            "p-key", "1 KiB, an API key", "/key/1k", policy="key", headers=(("x-api-key", "{{api_key}}"),)
        ),
        Scenario("p-jwt", "1 KiB, a token (ES256)", "/jwt/1k", policy="jwt", headers=(TOKEN,)),
        Scenario(
            "p-jwt-again",
            "1 KiB, a token (ES256) that is verified each time",
            "/jwt-again/1k",
            policy="jwt-again",
            headers=(TOKEN,),
        ),
        Scenario(
            "p-basic",
            "1 KiB, a password (sha-crypt)",
            "/basic/1k",
            policy="basic",
            headers=(("authorization", "Basic {{basic}}"),),
        ),
        Scenario("p-forward", "1 KiB, another server asked", "/forward/1k", policy="forward", asks=2),
        Scenario("t-traces", "1 KiB, with and without traces of 1 %", telemetry="traces"),
        Scenario("t-logs", "1 KiB, with and without an access log in a file", telemetry="logs"),
        Scenario("s9a", "1 KiB in capitals by a filter", "/upper/1k", filter="upper"),
        Scenario("s9b", "64 KiB in capitals by a filter", "/upper/64k", filter="upper"),
    )
}

PLAIN = {"s9a": "s1", "s9b": "s2", "f-nothing": "s1", "f-heads": "s1"}
"""The scenario without a filter that one with a filter is compared with."""
