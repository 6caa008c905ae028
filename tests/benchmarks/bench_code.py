"""What it costs to have code elsewhere: 10,000 files of which one has changed, over 80 ms of RTT.

A git work tree is snapshot and launched again and again, one file changed in between, through a
proxy that delays every byte by 40 ms. Beside it the goal (two round trips and 300 ms), and rsync
over the same proxy, if it is installed: which brings a folder up to date in place and gives no run
a copy of its own.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.services.proxy import Proxy

from traindeck.backends.base import Facts, RunSpec
from traindeck.backends.hosts.channel import Channel
from traindeck.backends.hosts.local import LocalHost
from traindeck.backends.process import ProcessBackend
from traindeck.console.runs.capture import capture
from traindeck.console.runs.hashed import SETTLED
from traindeck.console.store.ids import mint_id

FOLDERS, EACH = 100, 100
RTT = 0.08
TURNS = 7


def make(top: Path) -> None:
    """10,000 files of 2 kB, committed, which nobody has touched for an hour."""
    then = time.time() - 3600
    for folder in range(FOLDERS):
        (top / f"pkg{folder:02}").mkdir(parents=True)
        for number in range(EACH):
            file = top / f"pkg{folder:02}/m{number:02}.py"
            file.write_text(f"# {folder} {number}\n" + "x = 1\n" * 330)
            os.utime(file, (then, then))
    git = ["git", "-C", str(top), "-c", "user.name=b", "-c", "user.email=b@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True)


class FarHost(LocalHost):
    """This machine, with its agent at the other end of a proxy."""

    here = False

    def __init__(self, root: Path, port: int, marker: str) -> None:
        super().__init__(str(root))
        self._port, self._marker = port, marker
        self._channel: Channel | None = None

    async def agent(self) -> Channel:
        if self._channel is None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._channel = Channel(reader, writer, self._marker)
        return self._channel

    async def aclose(self) -> None:
        if self._channel is not None:
            await self._channel.aclose()


@contextmanager
def serving(root: Path, marker: str) -> Iterator[tuple[int, int]]:
    """An agent that serves the first connection to a port: that, and its process id."""
    host = LocalHost(str(root))
    words = [host.python, "-I", "-S", str(host.install()), "serve", marker]
    take = (
        "import os, socket, sys; s = socket.socket(fileno=0); c, _ = s.accept(); "
        "c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1); "
        "os.dup2(c.fileno(), 0); os.dup2(c.fileno(), 1); os.execv(sys.argv[1], sys.argv[1:])"
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = subprocess.Popen([sys.executable, "-c", take, *words], stdin=listening.fileno())
        try:
            yield listening.getsockname()[1], process.pid
        finally:
            process.kill()
            process.wait()


def busy(agent: int) -> float:
    """Seconds of processor time of this process and of the agent, with their children that have
    ended."""
    there = Path(f"/proc/{agent}/stat").read_text().rpartition(")")[2].split()[11:15]
    return sum(os.times()[:4]) + sum(map(int, there)) / os.sysconf("SC_CLK_TCK")


def edit(top: Path, turn: int) -> None:
    """A file changes, as in an editor."""
    (top / f"pkg{turn % FOLDERS:02}/m07.py").write_text(f"# {secrets.token_hex(8)}\n")


async def ours(home: Path, top: Path, port: int, marker: str, pid: int) -> None:
    """Launches of a snapshot: from the look at the files to the answer that the run is claimed."""
    host = FarHost(home / "root", port, marker)
    backend = ProcessBackend("far", host)
    memory = home / "memory"
    channel = await host.agent()
    await channel.call("hello")
    trips = []
    for _ in range(TURNS):
        start = time.perf_counter()
        await channel.call("ping")
        trips.append(time.perf_counter() - start)
    answer, _ = await channel.call("hello")
    facts = Facts(home=answer["root"], host=answer["host"], program="/bin/true")
    spec = RunSpec(argv=("true",), cwd=str(top), env={"PATH": os.defpath})

    async def launch() -> tuple[float, float, float]:
        before, start = busy(pid), time.perf_counter()
        code = capture(str(top), "snapshot", None, memory).code
        looked = time.perf_counter() - start
        plan = backend.plan(replace(spec, run_id=mint_id(), code=code), facts)
        ref = await backend.submit(plan)
        taken, worked = time.perf_counter() - start, busy(pid) - before
        folder = home / "root/runs" / ref.run_id / "code"
        assert sum(len(names) for _, _, names in os.walk(folder)) == FOLDERS * EACH
        return looked, taken, worked

    time.sleep(SETTLED + 0.1)  # then what was hashed is remembered
    _, first, _ = await launch()
    looks, taken, works, synced, copied = [], [], [], [], []
    for turn in range(TURNS):
        edit(top, turn)
        looked, whole, worked = await launch()
        works.append(worked)
        looks.append(looked)
        taken.append(whole)
        # The same without a run: what there is beside bringing the code there.
        start = time.perf_counter()
        plan = backend.plan(replace(spec, run_id=mint_id()), facts)
        await backend.submit(plan)
        synced.append(whole - (time.perf_counter() - start))
        # What the file system takes for as many new files just now: some take longer to make one
        # the more were removed a few minutes ago.
        start = time.perf_counter()
        cp = await asyncio.create_subprocess_exec("cp", "-r", str(top), str(home / f"cp{turn}"))
        assert await cp.wait() == 0
        copied.append(time.perf_counter() - start)
    await host.aclose()
    trip = statistics.median(trips)
    goal = 2 * RTT + 0.3
    looked, whole = statistics.median(looks), statistics.median(taken)
    sent, floor = whole - looked, statistics.median(copied)
    print(f"round trip | {trip * 1e3:.0f} ms | {RTT * 1e3:.0f} ms (proxy) | {trip / RTT:.2f}")
    print(f"the first launch, 20 MB | {first * 1e3:.0f} ms | |")
    print(
        f"one changed, to the answer that it runs | {whole * 1e3:.0f} ms | "
        f"{goal * 1e3:.0f} ms (goal) | {whole / goal:.2f}"
    )
    print(f"of it: git, looking, hashing, here | {looked * 1e3:.0f} ms | |")
    print(
        f"of it: sending, and 10,000 files copied there | {sent * 1e3:.0f} ms | "
        f"{floor * 1e3:.0f} ms (cp -r of the work tree, here) | {sent / floor:.2f}"
    )
    work = statistics.median(works)
    print(f"of it: processor time, here and there | {work * 1e3:.0f} ms | |")
    print(f"more than a launch without code | {statistics.median(synced) * 1e3:.0f} ms | |")


def rsync(home: Path, top: Path) -> float | None:
    """The same change by an rsync daemon behind the proxy, in seconds; None without rsync."""
    program = shutil.which("rsync")
    if program is None:
        return None
    target = home / "rsynced"
    target.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = f"uid = {os.getuid()}\ngid = {os.getgid()}\n" if os.getuid() == 0 else ""
    settings = home / "rsyncd.conf"
    settings.write_text(f"use chroot = no\n{user}[code]\npath = {target}\nread only = no\n")
    daemon = subprocess.Popen(
        [program, "--daemon", "--no-detach", f"--config={settings}", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with Proxy(port, delay=RTT / 2) as proxy:
            argv = [program, "-a", "--delete", "--exclude=.git", f"{top}/"]
            argv.append(f"rsync://127.0.0.1:{proxy.port}/code/")
            taken = []
            for turn in range(TURNS + 1):
                edit(top, turn)
                start = time.perf_counter()
                subprocess.run(argv, check=True)
                taken.append(time.perf_counter() - start)
    finally:
        daemon.kill()
        daemon.wait()
    return statistics.median(taken[1:])


def main() -> None:
    print("name | ours | peer or floor (what it is) | ratio")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        top = home / "project"
        make(top)
        marker = secrets.token_hex(8)
        with serving(home / "root", marker) as (port, agent), Proxy(port, delay=RTT / 2) as proxy:
            asyncio.run(ours(home, top, proxy.port, marker, agent))
        peer = rsync(home, top)
        if peer is None:
            print("rsync is not installed: nothing to compare with")
        else:
            print(f"one changed, in place | | {peer * 1e3:.0f} ms (rsync daemon) | ")


if __name__ == "__main__":
    main()
