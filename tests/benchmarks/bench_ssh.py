"""What another machine costs: beside OpenSSH's own client, on loopback and over 80 ms."""

from __future__ import annotations

import asyncio
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "terminal"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from terminal_probe import Terminal
from tests.services.proxy import Proxy
from tests.services.sshd import Box, Sshd

from traindeck.backends.base import JobRef, RunSpec
from traindeck.backends.hosts.ssh import SSHHost
from traindeck.backends.process import ProcessBackend
from traindeck.console.store.ids import mint_id

MAIN = "from traindeck.console.cli.main import main; import sys; sys.argv = ['traindeck']; main()"
HOSTS = 50
ROUNDS = 20
LOG = 256 << 20
DELAY = 0.04
TURNS = 9


def backend_on(sshd: Sshd, alias: str, transport: str = "auto") -> ProcessBackend:
    host = SSHHost(alias, alias, config_file=str(sshd.config), transport=transport)
    return ProcessBackend(alias, host, kind="ssh")


async def start(backend: ProcessBackend, *argv: str) -> JobRef:
    spec = RunSpec(run_id=mint_id(), argv=argv, cwd="/")
    return await backend.submit(backend.plan(spec, await backend.survey(spec)))


def processor(pids: Iterable[int]) -> float:
    """Seconds of processor time of some processes and of their children that have ended."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


# ------------------------------------------------------------------------------------- polling


async def polling(folder: Path) -> None:
    """The state of one run on each of 50 machines, once a second, on both sides."""
    with Sshd(folder, *(Box() for _ in range(HOSTS))) as sshd:
        jobs: set[int] = set()

        def remote() -> float:
            # Without the runs themselves: their supervisors wake whether anybody asks or not.
            return processor({pid for box in sshd.boxes for pid in box.processes()} - jobs)

        async def every_second(once: object) -> tuple[float, float]:
            """(here, there) in seconds of processor time for all rounds."""
            there, here = remote(), _here()
            begin = time.monotonic()
            for number in range(1, ROUNDS + 1):
                await once()  # type: ignore[operator]
                await asyncio.sleep(max(0.0, begin + number - time.monotonic()))
            here = _here() - here
            return here, remote() - there

        backends = [backend_on(sshd, f"box{n}") for n in range(HOSTS)]
        refs = [await start(backend, "sleep", "600") for backend in backends]
        runs = [
            box.home / ".traindeck/runs" / ref.run_id
            for box, ref in zip(sshd.boxes, refs, strict=True)
        ]

        jobs |= {pid for box in sshd.boxes for pid in box.processes() if not _answers(pid)}

        async def nothing() -> None:
            return

        async def ours() -> None:
            await asyncio.gather(*(b.poll([r]) for b, r in zip(backends, refs, strict=True)))

        quiet = await every_second(nothing)
        with_us = await every_second(ours)

        masters = await control_masters(sshd, folder)
        pids = [master.pid for master in masters]

        async def one(n: int) -> None:
            # The same question in a shell: is it alive, how long is its log, has it ended?
            there = shlex.quote(f"{runs[n]}/attempts/0")
            command = (
                f"cd {there} && cat agent.json && stat -c '%s %Y' heartbeat logs/0.log && "
                "head -c 64 exit.slot | tr -d '\\0'"
            )
            argv = sshd.ssh(f"box{n}", command, options=("-S", f"{folder}/m{n}"))
            process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.DEVNULL)
            await process.wait()

        async def peer() -> None:
            await asyncio.gather(*(one(n) for n in range(HOSTS)))

        before = processor(pids)
        with_ssh = await every_second(peer)
        with_ssh = (with_ssh[0] + processor(pids) - before, with_ssh[1])
        for master in masters:
            master.terminate()
            await master.wait()
        for backend, ref in zip(backends, refs, strict=True):
            await backend.cancel(ref, grace=0)
            await backend.aclose()
    a = [max(0.0, x - q) for x, q in zip(with_us, quiet, strict=True)]
    b = [max(0.0, x - q) for x, q in zip(with_ssh, quiet, strict=True)]
    print(
        f"{HOSTS} machines polled at 1 Hz for {ROUNDS} s, processor on both sides | "
        f"{sum(a):.2f} s ({a[0]:.2f} here, {a[1]:.2f} there) | "
        f"{sum(b):.2f} s ({b[0]:.2f}, {b[1]:.2f}; ssh through ControlMaster) | "
        f"{sum(b) / sum(a):.1f} × fewer"
    )


async def control_masters(sshd: Sshd, folder: Path) -> list[asyncio.subprocess.Process]:
    """A connection of OpenSSH's to each machine that others go through, at `<folder>/m<n>`."""
    masters = []
    for n in range(HOSTS):
        argv = sshd.ssh(f"box{n}", options=("-M", "-N", "-S", f"{folder}/m{n}"))
        masters.append(await asyncio.create_subprocess_exec(*argv))
    for n in range(HOSTS):
        while not Path(f"{folder}/m{n}").exists():
            await asyncio.sleep(0.02)
    return masters


def _answers(pid: int) -> bool:
    """Whether a process is there to answer: sshd, or our agent."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return words.startswith(b"sshd") or b"/sshd" in words or b"\0serve\0" in words


def _here() -> float:
    ours, theirs = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return ours.ru_utime + ours.ru_stime + theirs.ru_utime + theirs.ru_stime


# ---------------------------------------------------------------------------------------- logs


async def following(folder: Path) -> None:
    """A log as fast as it comes, and a line as soon as it is there."""
    with Sshd(folder, Box()) as sshd, Proxy(sshd[0].port, delay=DELAY) as proxy:
        source = folder / "log"
        source.write_bytes(os.urandom(1 << 20) * (LOG >> 20))
        for label, ports, size in (
            ("loopback", {}, LOG),
            ("80 ms", {"box0": proxy.port}, LOG // 8),
        ):
            sshd.write_configuration(ports=ports)
            for transport in ("paramiko", "openssh"):
                backend = backend_on(sshd, "box0", transport)
                ref = await start(backend, "head", "-c", str(size), str(source))
                while not (await backend.poll([ref]))[ref].state.terminal:
                    await asyncio.sleep(0.05)
                # In turns: how fast this machine is changes from one second to the next.
                pairs = [
                    (await _ours(backend, ref, size), await _cat(sshd, source, size))
                    for _ in range(TURNS)
                ]
                await backend.aclose()
                ours, peer = (statistics.median(speeds) for speeds in zip(*pairs, strict=True))
                print(
                    f"log of {size >> 20} MiB, {label}, {transport}, medians of {TURNS} turns | "
                    f"{ours / 1e6:.0f} MB/s | {peer / 1e6:.0f} MB/s (ssh host cat) | "
                    f"{ours / peer:.2f} ({_spread(ours / peer for ours, peer in pairs)})"
                )


def _spread(ratios: Iterable[float]) -> str:
    low, *_, high = sorted(ratios)
    return f"{low:.2f} to {high:.2f}"


async def _ours(backend: ProcessBackend, ref: JobRef, size: int) -> float:
    begin = time.perf_counter()
    got = 0
    async with backend.logs(ref) as chunks:
        async for chunk in chunks:
            got += len(chunk.data)
    assert got == size
    return size / (time.perf_counter() - begin)


async def _cat(sshd: Sshd, source: Path, size: int) -> float:
    begin = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *sshd.ssh("box0", f"head -c {size} {source}"), stdout=subprocess.DEVNULL
    )
    await process.wait()
    return size / (time.perf_counter() - begin)


# -------------------------------------------------------------------------------------- launch


async def launching(folder: Path) -> None:
    """From submit to the job's first byte, and from a line's writing to its arrival."""
    with Sshd(folder, Box()) as sshd, Proxy(sshd[0].port, delay=DELAY) as proxy:
        sshd.write_configuration(ports={"box0": proxy.port})
        for transport in ("paramiko", "openssh"):
            async with AsyncExitStack() as stack:
                backend = backend_on(sshd, "box0", transport)
                stack.push_async_callback(backend.aclose)
                begin = time.perf_counter()
                await backend.probe()
                connected = time.perf_counter() - begin
                taken = []
                for _ in range(TURNS):
                    spec = RunSpec(run_id=mint_id(), argv=("sh", "-c", "echo x"), cwd="/")
                    plan = backend.plan(spec, await backend.survey(spec))
                    begin = time.perf_counter()
                    ref = await backend.submit(plan)
                    async with backend.logs(ref) as chunks:
                        async for chunk in chunks:
                            if chunk.data:
                                break
                    taken.append(time.perf_counter() - begin)
                ours = statistics.median(taken)
                goal = 3 * 2 * DELAY + 0.15
                print(
                    f"submit to first byte over 80 ms, warm, {transport} | {ours * 1e3:.0f} ms | "
                    f"{goal * 1e3:.0f} ms (goal: 3 round trips + 150 ms) | {ours / goal:.2f}"
                )
                print(f"the connection itself, {transport} | {connected * 1e3:.0f} ms | |")
                lags = await _lags(backend)
                goal = 2 * DELAY + 0.1
                print(
                    f"a new line over 80 ms, {transport}, p50 / worst | "
                    f"{statistics.median(lags) * 1e3:.0f} / {max(lags) * 1e3:.0f} ms | "
                    f"{goal * 1e3:.0f} ms (goal: a round trip + 100 ms) | "
                    f"{statistics.median(lags) / goal:.2f}"
                )


def from_the_screen(folder: Path) -> None:
    """From the key that launches, in the whole program in a terminal, to the job's first byte: the
    job writes when that is. Beside it the command, which connects for itself."""
    with Sshd(folder / "s", Box()) as sshd, Proxy(sshd[0].port, delay=DELAY) as proxy:
        sshd.write_configuration(ports={"box0": proxy.port})
        home, runs = folder / "home", sshd[0].home / ".traindeck/runs"
        home.mkdir(parents=True)
        env = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8",
               "HOME": str(home)}  # fmt: skip

        def traindeck(*words: str) -> None:
            argv = [sys.executable, "-m", "traindeck.console.cli.main", *words]
            subprocess.run(argv, env=env, cwd=home, check=True, capture_output=True)

        def began(since: float, known: set[Path]) -> float:
            """Seconds until the first byte of the run that is new, by its own clock: ours."""
            while True:
                deck.listen(0.02)
                for log in set(runs.glob("*/attempts/0/logs/0.log")) - known:
                    if (said := log.read_text()).endswith("\n"):
                        return float(said) - since

        traindeck("backends", "add", "ssh", "box0", "--ssh-config", str(sshd.config))
        traindeck("backends", "check", "box0")
        begin = time.time()
        traindeck("run", "--on", "box0", "--code", "here", "--cwd", str(sshd[0].home),
                  "--", "sh", "-c", "date +%s.%N")  # fmt: skip
        deck = Terminal([sys.executable, "-c", MAIN], env)
        command = began(begin, set())
        deck.wait("selected 1/")
        taken = []
        for _ in range(TURNS):
            deck.press("N")
            deck.wait("up to date")
            deck.quiet(0.3)
            known, begin = set(runs.glob("*/attempts/0/logs/0.log")), time.time()
            deck.press("\x07")
            taken.append(began(begin, known))
            deck.quiet(0.5)
        deck.close()
    goal, median = 3 * 2 * DELAY + 0.15, statistics.median(taken)
    print(
        f"the key that launches to the job's first byte over 80 ms, p50 / worst | "
        f"{median * 1e3:.0f} / {max(taken) * 1e3:.0f} ms | "
        f"{goal * 1e3:.0f} ms (goal: 3 round trips + 150 ms) | {median / goal:.2f}"
    )
    print(f"the same by a command, which connects for itself | {command * 1e3:.0f} ms | |")


async def _lags(backend: ProcessBackend) -> list[float]:
    """How old lines are when they are here; the clock there is ours."""
    code = "import time\nfor _ in range(30): print(time.time(), flush=True); time.sleep(0.1)"
    ref = await start(backend, sys.executable, "-c", code)
    lags = []
    async with backend.logs(ref) as chunks:
        async for chunk in chunks:
            lags += [time.time() - float(line) for line in chunk.data.split()]
    return lags[5:]


def main() -> None:
    print("name | ours | peer or floor (what it is) | ratio")
    with tempfile.TemporaryDirectory(prefix="td", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        asyncio.run(polling(folder / "p"))
        asyncio.run(following(folder / "f"))
        asyncio.run(launching(folder / "l"))
        from_the_screen(folder / "k")


if __name__ == "__main__":
    main()
