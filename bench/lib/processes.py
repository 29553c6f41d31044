"""Processes that the bench starts: pinned to a CPU, looked at through /proc, and ended with it."""

import os
import re
import resource
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PROXY_CPU, LOAD_CPU = 0, 1
"""The proxy has a CPU of its own; load generator and origin share the other."""

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 5
STATES = {"01": "ESTABLISHED", "06": "TIME_WAIT"}
"""The states that /proc/net/tcp numbers, as far as the bench counts them."""

_given_ports: set[int] = set()


class BenchError(Exception):
    """Something that whoever runs the bench can do something about; its text is all that is shown."""


@dataclass(frozen=True)
class CpuTime:
    """CPU time of a process and its descendants so far, in seconds."""

    total: float
    """By the processes' CPU clocks, in nanoseconds. User and system of /proc/PID/stat are this in ticks of 10 ms."""
    system: float
    """By /proc/PID/stat, in ticks."""

    def __sub__(self, earlier: "CpuTime") -> "CpuTime":
        """What was used since."""
        return CpuTime(self.total - earlier.total, self.system - earlier.system)


@dataclass(frozen=True)
class Memory:
    """Memory of a process and its descendants, in KiB."""

    pss: int
    """Resident, pages shared between processes counted in proportion."""
    peak_rss: int
    """The most that was resident at any time, each process by itself."""


class Process:
    """A program running in a folder of its own, which has its messages."""

    def __init__(self, command: list[str], cpu: int, folder: Path, environment: dict[str, str] | None = None):
        self.messages = folder / "messages"
        with open(self.messages, "ab") as messages:
            # In a session of its own: Ctrl-C is for the bench, which then ends its processes one by one.
            self._child = subprocess.Popen(
                ["taskset", "-c", str(cpu), *command],
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=messages,
                start_new_session=True,
            )
        self.pid = self._child.pid

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process alone."""
        self._child.send_signal(number)

    def stop(self) -> None:
        """Ends it and all its descendants: asks first, then insists."""
        tree = descendants(self.pid)
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for pid in tree[1:]:
            _kill(pid, self.pid)

    def said(self) -> str:
        """The last of its messages."""
        return self.messages.read_text(errors="replace")[-2000:].strip()

    def cpu_time(self) -> CpuTime:
        """What it and its descendants have used so far."""
        total = system = 0.0
        for pid in descendants(self.pid):
            try:
                total += time.clock_gettime(_cpu_clock(pid))
                system += int(_stat(pid)[12]) / TICKS_PER_SECOND
            except OSError:
                continue  # It has ended since it was listed.
        return CpuTime(total, system)

    def memory(self) -> Memory:
        """What it and its descendants hold now."""
        pss = peak = 0
        for pid in descendants(self.pid):
            try:
                pss += _kib("Pss", Path(f"/proc/{pid}/smaps_rollup").read_text())
                peak += _kib("VmHWM", Path(f"/proc/{pid}/status").read_text())
            except OSError:
                continue
        return Memory(pss, peak)


def descendants(root: int) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
        except OSError:
            continue
    tree, queue = [], [root]
    while queue:
        tree.append(queue.pop())
        queue += children.get(tree[-1], [])
    return tree


class Others:
    """CPU time that other programs use beside the bench."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.monotonic(), _busy_seconds(), _own_seconds()

    def cpus(self) -> float:
        """Returns the number of CPUs that they have kept busy, on average since this was made."""
        others = (_busy_seconds() - self._busy) - (_own_seconds() - self._own)
        return max(0.0, others) / (time.monotonic() - self._began)


def _busy_seconds() -> float:
    """Returns the time that all CPUs have been busy with processes of any kind, or were taken by other machines."""
    first = Path("/proc/stat").read_text().partition("\n")[0]
    # The bench's own packets are work of the interrupts.
    user, nice, system, _idle, _waiting, _hard, _soft, stolen = (int(ticks) for ticks in first.split()[1:9])
    return (user + nice + system + stolen) / TICKS_PER_SECOND


def _own_seconds() -> float:
    """Returns the CPU time of this program, of those that it has started, and of those of them that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for pid in descendants(os.getpid()):
        try:
            total += time.clock_gettime(_cpu_clock(pid))
        except OSError:
            continue
    return total


def sockets_to(port: int) -> dict[str, int]:
    """TCP sockets of this machine whose peer has the port, by state."""
    counts = dict.fromkeys(STATES.values(), 0)
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, remote, state = line.split()[:4]
            if state not in STATES:
                continue
            # Which side waits depends on who closed first, so that either end of a connection in TIME_WAIT counts.
            ends = (remote, local) if STATES[state] == "TIME_WAIT" else (remote,)
            if any(int(end.rpartition(":")[2], 16) == port for end in ends):
                counts[STATES[state]] += 1
    return counts


def free_port() -> int:
    """A port that nobody listens on, and that was not given out before."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        if port not in _given_ports:
            _given_ports.add(port)
            return int(port)


def _cpu_clock(pid: int) -> int:
    # What clock_getcpuclockid(3) answers, which Python does not offer.
    return (~pid << 3) | 2


def _stat(pid: int) -> list[str]:
    # From the state on: what is before it is the name, in which anything may stand.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _kib(key: str, text: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _kill(pid: int, session: int) -> None:
    # Numbers of ended processes are given out again: only one that is of the same session is the one meant.
    try:
        if os.getsid(pid) == session:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
