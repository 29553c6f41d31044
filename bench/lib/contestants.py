"""The contestants: how each is configured and started, and what it takes part in."""

import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .scenarios import Scenario

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
INSTALLED = BENCH / ".peers"
"""Where setup.sh puts what no package brings to its place."""
FILTERS = INSTALLED / "filters"
GATEWAY = ROOT / "target/release/gateway"


@dataclass(frozen=True)
class Contestant:
    """A proxy in one configuration. In texts, {{name}} stands for a value: see Arena.values."""

    name: str
    family: str
    """The name of the same proxy without filters."""
    title: str
    command: tuple[str, ...]
    config: str = ""
    """Its file in peers/, which is filled in and put into the working folder."""
    route: str = ""
    """What one of many prefix routes is in that file; {{number}} is its number."""
    values: Mapping[str, str] = field(default_factory=dict)
    """More values for its file."""
    environment: Mapping[str, str] = field(default_factory=dict)
    version: tuple[str, ...] = ()
    """The command that tells the version."""
    plain: bool = True
    """Whether it takes part where there are no filters."""
    filters: frozenset[str] = frozenset()
    """What it has filters for."""
    walls: Mapping[str, str] = field(default_factory=dict)
    """Scenarios in which it would take seconds a request or minutes to start, and why; left out unless asked for."""
    reload: signal.Signals | None = None
    """What makes it read its configuration again."""

    def takes_part(self, scenario: Scenario) -> bool:
        """Whether it can do what the scenario asks for."""
        return scenario.filter in self.filters if scenario.filter else self.plain

    def missing(self) -> str:
        """What has to be installed first, or nothing."""
        program = fill(self.command[0], {"installed": str(INSTALLED)})
        return "" if shutil.which(program) else f"{self.name}: there is no {program}"

    def version_text(self) -> str:
        """Its version, as it says itself."""
        if not self.version:
            return ""
        command = [fill(part, {"installed": str(INSTALLED)}) for part in self.version]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
        return found[0] if found else "?"


def fill(text: str, values: Mapping[str, object]) -> str:
    """Puts values in their places. An unknown name is an error."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: str(values[found[1]]), text)


FORWARDED = """
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header Via "1.1 nginx";
"""
"""nginx inherits such lines only where a block has none of its own."""


def gateway(family: str, program: Path, kind: str, upper: Path) -> Contestant:
    """The gateway, with the module that writes in capitals; only the one without a kind takes part where there are no filters."""
    plain = not kind
    return Contestant(
        f"{family}-{kind}" if kind else family, family, f"{family}, {kind}" if kind else family,
        (str(program), "--config", "{{folder}}/gateway.yaml", "--log", "warn"), "gateway.yaml",
        route="  - { name: route-{{number}}, match: { prefix: /route-{{number}} }, upstream: kept }",
        values={"upper": str(upper)}, plain=plain, reload=signal.SIGHUP,
        filters=frozenset({"upper", "heads", "nothing"} if plain else {"upper"}),
    )


def _nginx(name: str, title: str, modules: str = "", http: str = "", filters: str = "", names: str = "") -> Contestant:
    loaded = "\n".join(f"load_module /usr/lib/nginx/modules/{module}.so;" for module in modules.split())
    return Contestant(
        name, "nginx", title, ("nginx", "-e", "stderr", "-p", "{{folder}}", "-c", "{{folder}}/nginx.conf"), "nginx.conf",
        route="        location /route-{{number}}/ { proxy_pass http://kept; }",
        values={"modules": loaded, "http": http, "filters": filters, "forwarded": FORWARDED},
        version=("nginx", "-v"), plain=not names, filters=frozenset(names.split()), reload=signal.SIGHUP,
    )


def _haproxy(name: str, title: str, start: str = "", upper: str = "", names: str = "") -> Contestant:
    return Contestant(
        name, "haproxy", title, ("haproxy", "-W", "-f", "{{folder}}/haproxy.cfg"), "haproxy.cfg",
        route="    use_backend kept if { path_beg /route-{{number}}/ }",
        values={"global": start, "upper": upper}, version=("haproxy", "-v"),
        plain=not names, filters=frozenset(names.split()), reload=signal.SIGUSR2,
        walls={"s8-10000": "it tries one rule after the other, 2.6 ms a request; its maps are for exact paths or one lookup"},
    )


LUA = """
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
NJS = "location /upper/ { js_body_filter upper.body; proxy_pass http://kept; }"

PEERS = (
    _nginx("nginx", "nginx"),
    _nginx("nginx-lua", "nginx, Lua", "ndk_http_module ngx_http_lua_module", filters=LUA, names="upper heads"),
    _nginx("nginx-njs", "nginx, njs", "ngx_http_js_module", "js_path {{here}}; js_import upper from upper.js;", NJS, "upper"),
    _haproxy("haproxy", "HAProxy"),
    _haproxy("haproxy-lua", "HAProxy, Lua", "lua-load {{here}}/upper.lua", "filter lua.upper", "upper"),
)


def contestants(gateways: Mapping[str, Path]) -> list[Contestant]:
    """All there are; each program of the gateway is one, and one more with the filter written in Rust."""
    ours = []
    for name, program in gateways.items():
        ours.append(gateway(name, program, "", FILTERS / "upper.wasm"))
        ours.append(gateway(name, program, "rust", ROOT / "plugins/prebuilt/uppercase.wasm"))
    return [*ours, *PEERS]
