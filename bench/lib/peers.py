"""All contestants there are. Their configurations are in peers/; what differs between those of one proxy is here."""

import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .contestants import FILTERS, ROOT, Contestant

GATEWAY = ROOT / "target/dist/gateway"
PREBUILT = ROOT / "plugins/prebuilt/uppercase.wasm"
"""The same filter as FILTERS / "upper.wasm", written in Rust with the SDK."""


NOTHING = "access_log: off"
LOGS = 'access_log: { output: "{{folder}}/logs/access.log", rotate: { size: 256MiB, keep: 1 } }'
"""A line for each request goes to a file, in the default format. The log has a folder of its own, as in packages: the gateway watches the
folder of its configuration, and each write there would wake it."""
TRACES = 'access_log: off, traces: { otlp: "http://{{origin}}/1k", protocol: http, sample: 0.01 }'
"""One request of a hundred goes to a receiver, which is the origin: it takes spans without looking at them."""


def contestants(gateways: Mapping[str, Path]) -> list[Contestant]:
    """All there are; each program of the gateway is two, for the filter in C and the one in Rust, and two more that record."""
    ours = []
    for family, program in gateways.items():
        ours.append(_gateway(family, program, FILTERS / "upper.wasm", "nothing heads upper"))
        ours.append(_gateway(family, program, PREBUILT, "upper", "rust"))
        plain = ours[-2]
        ours.append(_recording(plain, "traces", {"telemetry": TRACES}))
        ours.append(_recording(plain, "logs", {"telemetry": LOGS}))
    return [*ours, *PEERS]


def _recording(plain: Contestant, kind: str, telemetry: Mapping[str, str]) -> Contestant:
    """Returns a proxy that differs in what it records, and takes part where that is compared."""
    return replace(
        plain,
        name=f"{plain.family}-{kind}",
        title=f"{plain.title}, {kind}",
        values={**plain.values, **telemetry},
        plain=False,
        filters=frozenset(),
        policies=frozenset(),
        telemetry=frozenset({kind}),
    )


def _gateway(family: str, program: Path, upper: Path, filters: str, kind: str = "") -> Contestant:
    return replace(
        gateway(family, program, "gateway.yaml"),
        name=f"{family}-{kind}" if kind else family,
        filter_kind="wasm from Rust" if kind else "wasm from C",
        route="  - { name: route-{{number}}, match: { prefix: /route-{{number}} }, upstream: kept }",
        values={"upper": str(upper), "telemetry": NOTHING},
        plain=not kind,
        upstream_http2=True,
        filters=frozenset(filters.split()),
        policies=frozenset() if kind else frozenset({"limit", "key", "jwt", "basic", "forward"}),
        telemetry=frozenset() if kind else frozenset({"traces", "logs"}),
        reload=signal.SIGHUP,
    )


def gateway(name: str, program: Path, config: str) -> Contestant:
    """Returns a program of the gateway with a configuration."""
    return Contestant(
        name=name,
        family=name,
        title=name,
        filter_kind="",
        command=(str(program), "--config", "{{folder}}/" + config, "--log", "warn"),
        config=config,
    )


# -- nginx

# A block that has such lines of its own does not inherit those around it.
FORWARDED = """
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header Via "1.1 nginx";
"""
NGINX_LUA = """
        location /heads/ {
            access_by_lua_block { local path = ngx.var.request_uri }
            header_filter_by_lua_block { ngx.header["x-filtered"] = "yes" }
            proxy_pass http://kept;
        }
        location /upper/ {
            body_filter_by_lua_block { ngx.arg[1] = string.upper(ngx.arg[1]) }
            proxy_pass http://kept;
        }
"""
NGINX_LOGS = """log_format line escape=json '{"time":"$time_iso8601","client":"$remote_addr","listener":"web","method":"$request_method",'
        '"target":"$request_uri","version":"$server_protocol","host":"$http_host","status":$status,"route":"kept",'
        '"endpoint":"$upstream_addr","reused":"$connection_requests","request_bytes":$request_length,"response_bytes":$body_bytes_sent,'
        '"connect":$upstream_connect_time,"first_byte":$upstream_header_time,"total":$request_time,"user_agent":"$http_user_agent"}';
    access_log access.log line buffer=256k flush=100ms;"""
"""The fields of the gateway's log as far as there are such, written in pieces as large and as often. It does not know whether an upstream
connection was used before: a number of the client's connection stands in its place."""
NGINX_NJS = "location /upper/ { js_body_filter upper.body; proxy_pass http://kept; }"


def _nginx(
    name: str,
    kind: str = "",
    modules: str = "",
    http: str = "",
    locations: str = "",
    filters: str = "",
    upstream_tls12: bool = False,
) -> Contestant:
    loaded = "\n".join(f"load_module /usr/lib/nginx/modules/{module}.so;" for module in modules.split())
    return Contestant(
        name=name,
        family="nginx",
        title="nginx, TLS 1.2" if upstream_tls12 else "nginx",
        filter_kind=kind,
        command=("nginx", "-e", "stderr", "-p", "{{folder}}", "-c", "{{folder}}/nginx.conf"),
        config="nginx.conf",
        route="        location /route-{{number}}/ { proxy_pass http://kept; }",
        values={"modules": loaded, "http": http, "filters": locations, "forwarded": FORWARDED}
        | {"upstream_tls": "TLSv1.2" if upstream_tls12 else "TLSv1.3", "access_log": "access_log off;"},
        version=("nginx", "-v"),
        plain=not filters,
        upstream_tls12=upstream_tls12,
        filters=frozenset(filters.split()),
        policies=frozenset() if filters or upstream_tls12 else frozenset({"limit", "basic", "forward"}),
        telemetry=frozenset() if filters or upstream_tls12 else frozenset({"logs"}),
        reload=signal.SIGHUP,
    )


# -- HAProxy


def _haproxy(name: str, kind: str = "", start: str = "", upper: str = "", filters: str = "") -> Contestant:
    return Contestant(
        name=name,
        family="haproxy",
        title="HAProxy",
        filter_kind=kind,
        command=("haproxy", "-W", "-f", "{{folder}}/haproxy.cfg"),
        config="haproxy.cfg",
        route="    use_backend kept if { path_beg /route-{{number}}/ }",
        values={"global": start, "upper": upper},
        version=("haproxy", "-v"),
        plain=not filters,
        upstream_http2=True,
        filters=frozenset(filters.split()),
        reload=signal.SIGUSR2,
        walls={
            "s8-10000": "one rule a route is tried after the other, which takes milliseconds; a map would be the way"
        },
    )


# -- Envoy: filters are off but for the routes that switch them on

ENVOY_WASM = """
          - name: {{name}}
            disabled: true
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                vm_config:
                  vm_id: {{name}}
                  runtime: envoy.wasm.runtime.v8
                  code: { local: { filename: "{{module}}" } }
"""
ENVOY_LUA = """
          - name: upper
            disabled: true
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
              default_source_code:
                inline_string: |
                  function envoy_on_response(handle)
                    local body = handle:body(true)
                    body:setBytes(body:getBytes(0, body:length()):upper())
                  end
"""
ENVOY_ROUTE = """
              - match: { prefix: "/{{name}}/" }
                route: { cluster: kept }
                typed_per_filter_config:
                  {{name}}: { "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {} }
"""


def _envoy(name: str, kind: str, filters: Mapping[str, str]) -> Contestant:
    """Envoy with filters by name."""
    return Contestant(
        name=name,
        family="envoy",
        title="Envoy",
        filter_kind=kind,
        command=(
            "{{installed}}/envoy",
            "-c",
            "{{folder}}/envoy.yaml",
            "--concurrency",
            "1",
            "-l",
            "error",
            "--disable-hot-restart",
        ),
        config="envoy.yaml",
        route='              - { match: { prefix: "/route-{{number}}/" }, route: { cluster: kept } }',
        values={
            "filters": "".join(filters.values()),
            "filtered": "".join(ENVOY_ROUTE.replace("{{name}}", one) for one in filters),
        },
        version=("{{installed}}/envoy", "--version"),
        plain=not filters,
        upstream_http2=True,
        filters=frozenset(filters),
        policies=frozenset() if filters else frozenset({"limit", "jwt", "jwt-again", "forward"}),
        walls={
            "s8-10000": "one route is tried after the other, which takes half a millisecond; a matcher would be the way"
        },
    )


def _envoy_wasm(modules: Mapping[str, Path]) -> dict[str, str]:
    return {
        name: ENVOY_WASM.replace("{{name}}", name).replace("{{module}}", str(module))
        for name, module in modules.items()
    }


# -- Caddy and Pingora

CADDY = Contestant(
    name="caddy",
    family="caddy",
    title="Caddy",
    filter_kind="",
    command=("{{installed}}/caddy", "run", "--adapter", "caddyfile", "--config", "{{folder}}/Caddyfile"),
    config="Caddyfile",
    route="\thandle /route-{{number}}/* {\n\t\timport kept\n\t}",
    environment={"GOMAXPROCS": "1", "HOME": "{{folder}}"},
    version=("{{installed}}/caddy", "version"),
    walls={"s8-10000": "it takes minutes to start"},
)
PINGORA = Contestant(
    name="pingora",
    family="pingora",
    title="Pingora",
    filter_kind="native",
    command=(
        str(ROOT / "bench/pingora/target/release/bench-pingora"),
        *("--port={{port}}", "--tls-port={{tls_port}}", "--origin={{origin}}", "--origin-tls={{origin_tls}}"),
        *("--certificate={{certificate}}", "--key={{key}}", "--routes={{routes_count}}", "--idle=256"),
    ),
    version=("sed", "-n", '/^name = "pingora"$/{n;p}', str(ROOT / "bench/pingora/Cargo.lock")),
    filters=frozenset({"upper"}),
    walls={"s8-10000": "routes are its program's own affair, here a plain loop"},
)

C_MODULES = {name: FILTERS / f"{name}.wasm" for name in ("nothing", "heads", "upper")}
HAPROXY, ENVOY = _haproxy("haproxy"), _envoy("envoy", kind="", filters={})
PEERS = (
    _nginx("nginx"),
    _recording(_nginx("nginx"), "logs", {"access_log": NGINX_LOGS}),
    # As it is without being told: resuming a session of TLS 1.2 takes no key exchange.
    _nginx("nginx-tls12", upstream_tls12=True),
    _nginx(
        "nginx-lua",
        kind="Lua",
        modules="ndk_http_module ngx_http_lua_module",
        locations=NGINX_LUA,
        filters="upper heads",
    ),
    _nginx(
        "nginx-njs",
        kind="njs",
        modules="ngx_http_js_module",
        http="js_path {{here}}; js_import upper from upper.js;",
        locations=NGINX_NJS,
        filters="upper",
    ),
    HAPROXY,
    _haproxy(
        "haproxy-lua",
        kind="Lua",
        start="lua-load {{here}}/upper.lua",
        upper="filter lua.upper",
        filters="upper",
    ),
    ENVOY,
    _envoy("envoy-lua", kind="Lua", filters={"upper": ENVOY_LUA}),
    _envoy("envoy-wasm", kind="wasm from C", filters=_envoy_wasm(C_MODULES)),
    _envoy("envoy-rust", kind="wasm from Rust", filters=_envoy_wasm({"upper": PREBUILT})),
    CADDY,
    PINGORA,
)
