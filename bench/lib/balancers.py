"""Those that balance between endpoints which fail or are slow. Their configurations are `failing.yaml` and the like in peers/."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .contestants import Contestant
from .peers import ENVOY, HAPROXY, gateway

RETRIES = """
defaults:
  timeouts: { per_try: 300ms }
  retry: { on: [connect, stale, reset, timeout, 500, gateway_error] }
"""
HEALTH = """
    health:
      active: { path: /health, interval: 1s, timeout: 300ms, unhealthy_after: 3, healthy_after: 2 }
      passive: { on: [connect, reset, timeout, 500, 502, 503, 504] }
"""
"""The probes, and the failures that eject, which the peers have as well."""
SLOW_START = "{kind}_lb_config: {{ slow_start_config: {{ slow_start_window: 10s }} }}"


@dataclass(frozen=True)
class Balancer:
    """A proxy in front of endpoints."""

    contestant: Contestant
    endpoint: str
    """One endpoint in its configuration, with `{number}` and `{port}`."""
    separator: str

    def before(self, ports: list[int]) -> Contestant:
        """Returns the contestant in front of endpoints at these ports."""
        lines = (self.endpoint.format(number=number, port=port) for number, port in enumerate(ports))
        values = {**self.contestant.values, "endpoints": self.separator.join(lines)}
        return replace(self.contestant, values=values)


def of_gateway(
    family: str, kind: str, program: Path, title: str, upstream: str, defaults: str = RETRIES
) -> Balancer:
    """Returns a program of the gateway with these lines in its upstream."""
    contestant = replace(
        gateway(family, program, "failing.yaml"),
        name=f"{family}-{kind}" if kind else family,
        title=title,
        values={"upstream": upstream.strip(), "defaults": defaults},
    )
    return Balancer(contestant, '"http://127.0.0.1:{port}"', ", ")


def _haproxy(name: str, balance: str, title: str = "HAProxy") -> Balancer:
    contestant = replace(
        HAPROXY,
        name=name,
        title=title,
        command=("haproxy", "-W", "-f", "{{folder}}/failing.cfg"),
        config="failing.cfg",
        values={"balance": balance},
    )
    return Balancer(contestant, "    server app-{number} 127.0.0.1:{port}", "\n")


def _envoy(name: str, balance: str, title: str = "Envoy") -> Balancer:
    settings = SLOW_START.format(kind=balance.lower())
    contestant = replace(
        ENVOY,
        name=name,
        title=title,
        command=tuple(part.replace("envoy.yaml", "failing-envoy.yaml") for part in ENVOY.command),
        config="failing-envoy.yaml",
        values={"balance": balance, "settings": settings},
    )
    line = (
        "        - endpoint: {{ address: {{ socket_address: "
        "{{ address: 127.0.0.1, port_value: {port} }} }} }}"
    )
    return Balancer(contestant, line, "\n")


def that_fail(programs: Mapping[str, Path]) -> list[Balancer]:
    """Returns those in front of endpoints that fail: all alike, and the gateway with as little as it takes."""
    ours = [
        balancer
        for name, program in programs.items()
        for balancer in (
            of_gateway(name, "", program, name, HEALTH),
            of_gateway(name, "defaults", program, f"{name}, defaults", ""),
        )
    ]
    return [*ours, _haproxy("haproxy", "random"), _envoy("envoy", "LEAST_REQUEST")]


def that_choose(programs: Mapping[str, Path]) -> list[Balancer]:
    """Returns those in front of endpoints of which one is slow: each with its ways to choose."""
    ours = [
        of_gateway(name, balance, program, f"{name}, {balance}", f"balance: {balance}")
        for name, program in programs.items()
        for balance in ("p2c", "least_request", "round_robin")
    ]
    haproxy = [
        _haproxy(f"haproxy-{balance}", balance, f"HAProxy, {balance}")
        for balance in ("random", "leastconn", "roundrobin")
    ]
    envoy = [
        _envoy(f"envoy-{balance.lower()}", balance, f"Envoy, {balance}")
        for balance in ("LEAST_REQUEST", "ROUND_ROBIN")
    ]
    return [*ours, *haproxy, *envoy]
