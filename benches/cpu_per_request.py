#!/usr/bin/env python3
"""CPU time per proxied request, of the gateway and of nginx set up alike.

    cargo build --release && python3 benches/cpu_per_request.py

Needs wrk and nginx (apt-get install wrk nginx-light) and two CPUs: the proxy has one worker, pinned to CPU 0; the load
generator and the origin (another nginx) share CPU 1. The rounds of the contestants are interleaved, so that what else the
machine does hits all of them. The figure to compare is CPU microseconds per request (utime + stime of the proxy's
processes over the requests done): on a shared machine it moves by a few percent where requests per second move by tens.
"""
import argparse
import http.client
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

PROXY_CPU, LOAD_CPU = 0, 1
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
UPSTREAM_CONNECTIONS = 256

NGINX_COMMON = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 20000;
events { worker_connections 8192; }
"""
NGINX_HTTP = """
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000000;
"""
NGINX_ORIGIN = NGINX_COMMON + """
http {
    %(http)s
    default_type application/octet-stream;
    server { listen 127.0.0.1:%(port)d backlog=4096; location / { return 200 "%(body)s"; } }
}
"""
# The same fields that the gateway adds to a request.
NGINX_PROXY = NGINX_COMMON + """
http {
    %(http)s
    upstream origin {
        server 127.0.0.1:%(origin)d;
        keepalive %(connections)d;
        keepalive_requests 1000000000;
    }
    server {
        listen 127.0.0.1:%(port)d backlog=4096;
        location / {
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Via "1.1 nginx";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
        }
    }
}
"""
GATEWAY = """
workers: 1
telemetry: { access_log: off }
listeners: [{ address: "127.0.0.1:%(port)d" }]
routes:
  - match: { prefix: / }
    upstream: { url: "http://127.0.0.1:%(origin)d" }
    pool: { max_connections: %(connections)d, max_idle: %(connections)d }
"""


@dataclass
class Contestant:
    name: str
    command: list
    port: int
    process: subprocess.Popen = None
    cpu_micros: list = field(default_factory=list)
    system_share: list = field(default_factory=list)
    per_second: list = field(default_factory=list)
    busy: list = field(default_factory=list)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(command, cpu, folder):
    """Starts a process that may use this one CPU, with its messages in a file of its folder."""
    with open(folder / "messages", "wb") as messages:
        return subprocess.Popen(
            ["taskset", "-c", str(cpu), *command],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=messages, stderr=subprocess.STDOUT,
        )


def stop(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until_it_answers(name, process, port, folder):
    deadline = time.monotonic() + 10
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/")
            response = connection.getresponse()
            body = response.read()
            connection.close()
            if response.status == 200:
                return body
            problem = f"it answers {response.status}"
        except OSError as error:
            problem = str(error)
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{name} does not serve ({problem}):\n{(folder / 'messages').read_text()}")
        time.sleep(0.05)


def process_tree(root):
    """The process and all its descendants."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry))
    tree, queue = [], [root]
    while queue:
        tree.append(queue.pop())
        queue += children.get(tree[-1], [])
    return tree


def cpu_seconds(root):
    """User and system time that the process tree has used so far."""
    user = system = 0
    for process in process_tree(root):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    return user / TICKS_PER_SECOND, system / TICKS_PER_SECOND


def load(port, connections, seconds):
    """Runs wrk; the number of requests done and the seconds they took. Any failed request ends the benchmark."""
    command = ["taskset", "-c", str(LOAD_CPU), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    output = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/"], check=True, capture_output=True, text=True
    ).stdout
    if failures := re.search(r"(Socket errors|Non-2xx).*", output):
        sys.exit(f"requests failed: {failures[0]}")
    done = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", output)
    return int(done[1]), float(done[2]) * {"ms": 0.001, "s": 1, "m": 60}[done[3]]


def measure(contestant, connections, seconds):
    user, system = cpu_seconds(contestant.process.pid)
    requests, took = load(contestant.port, connections, seconds)
    user_after, system_after = cpu_seconds(contestant.process.pid)
    used = user_after - user + system_after - system
    contestant.cpu_micros.append(used / requests * 1e6)
    contestant.system_share.append((system_after - system) / used)
    contestant.per_second.append(requests / took)
    contestant.busy.append(used / took)


def prepare(arguments, folder, stack):
    """Starts the origin and the contestants, and makes sure that each hands on what the origin says."""
    body = "x" * arguments.body_bytes
    origin_port = free_port()
    values = {"http": NGINX_HTTP, "origin": origin_port, "connections": UPSTREAM_CONNECTIONS, "body": body}

    def launch(name, cpu, config_name, config, command, port):
        own = folder / name
        own.mkdir()
        (own / config_name).write_text(config % {**values, "port": port})
        process = start([part.replace("@", str(own)) for part in command], cpu, own)
        stack.callback(stop, process)
        if wait_until_it_answers(name, process, port, own).decode() != body:
            sys.exit(f"{name} answers with something else than the origin's {arguments.body_bytes} bytes")
        return process

    nginx = ["nginx", "-e", "stderr", "-p", "@", "-c", "@/nginx.conf"]
    gateway = [str(Path(arguments.gateway).resolve()), "--config", "@/gateway.yaml"]
    launch("origin", LOAD_CPU, "nginx.conf", NGINX_ORIGIN, nginx, origin_port)
    contestants = [Contestant("nginx", nginx, free_port()), Contestant("gateway", gateway, free_port())]
    configs = {"nginx": ("nginx.conf", NGINX_PROXY), "gateway": ("gateway.yaml", GATEWAY)}
    contestants = [one for one in contestants if arguments.only in (None, one.name)]
    for one in contestants:
        one.process = launch(one.name, PROXY_CPU, *configs[one.name], one.command, one.port)
    return contestants


def report(contestants):
    def spread(values, digits):
        low, middle, high = min(values), statistics.median(values), max(values)
        return f"{middle:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"

    print("\n| | CPU µs per request | of it system | requests per second | CPU 0 used |")
    print("|---|---|---|---|---|")
    for one in contestants:
        share, busy = statistics.median(one.system_share), statistics.median(one.busy)
        print(f"| {one.name} | {spread(one.cpu_micros, 2)} | {share:.0%} | {spread(one.per_second, 0)} | {busy:.0%} |")
    print("\nMedian of the rounds, and (lowest–highest).")
    if len(contestants) == 2:
        nginx, gateway = (statistics.median(one.cpu_micros) for one in contestants)
        print(f"The gateway uses {gateway / nginx:.2f} times the CPU of nginx.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", default="target/release/gateway", help="the program (default: %(default)s)")
    parser.add_argument("--only", choices=["nginx", "gateway"], help="measure this one alone")
    parser.add_argument("--rounds", type=int, default=7, help="per contestant (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=4, help="of a round (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="of the load generator (default: %(default)s)")
    parser.add_argument("--body-bytes", type=int, default=1024,
                        help="of a response, 4000 at most (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.body_bytes > 4000:
        parser.error("nginx, the origin, takes no longer text than 4000 bytes in its configuration")

    if missing := [program for program in ("wrk", "nginx", "taskset") if not shutil.which(program)]:
        sys.exit(f"not installed: {', '.join(missing)} (apt-get install wrk nginx-light util-linux)")
    if not {PROXY_CPU, LOAD_CPU} <= os.sched_getaffinity(0):
        sys.exit("CPUs 0 and 1 are needed")
    if arguments.only != "nginx" and not os.access(arguments.gateway, os.X_OK):
        sys.exit(f"{arguments.gateway} is not there: cargo build --release")

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contestants = prepare(arguments, folder, stack)
        load_before = os.getloadavg()[0]
        for one in contestants:
            load(one.port, arguments.connections, 1)
        for number in range(arguments.rounds):
            # Every other round backwards, so that neither always follows the other.
            for one in contestants if number % 2 == 0 else contestants[::-1]:
                measure(one, arguments.connections, arguments.seconds)
                print(f"round {number + 1}: {one.name} {one.cpu_micros[-1]:.2f} µs, {one.per_second[-1]:,.0f}/s")
        report(contestants)
        if load_before > 0.5:
            print(f"The machine had a load of {load_before:.1f} before; for figures to keep, let it be idle.")


if __name__ == "__main__":
    main()
