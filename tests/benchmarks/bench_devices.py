"""What it costs to see GPUs, beside nvitop and gpustat, on a stand-in for NVIDIA's library."""

from __future__ import annotations

import asyncio
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "terminal"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench_ssh import HOSTS, ROUNDS, backend_on, control_masters, processor
from terminal_probe import Terminal
from tests.services import below
from tests.services.nvml import GB, Nvml, Proc, State, h100
from tests.services.sshd import Box, Sshd

from traindeck.backends.hosts.local import LocalHost
from traindeck.backends.process import ProcessBackend

SECONDS = 15
TURNS = 9
COMMAND = [sys.executable, "-m", "traindeck.console.cli.main", "top"]
NVITOP = [sys.executable, "-m", "nvitop"]
GPUSTAT = [sys.executable, "-m", "gpustat", "--json"]

SMI = r"""
#include <stdio.h>
typedef void *D;
typedef struct { unsigned long long total, free, used; } M;
typedef struct { unsigned gpu, memory; } U;
int nvmlInit_v2(void), nvmlShutdown(void), nvmlDeviceGetCount_v2(unsigned *);
int nvmlDeviceGetHandleByIndex_v2(unsigned, D *), nvmlDeviceGetUUID(D, char *, unsigned);
int nvmlDeviceGetMemoryInfo(D, M *), nvmlDeviceGetUtilizationRates(D, U *);
int nvmlDeviceGetPowerUsage(D, unsigned *), nvmlDeviceGetTemperature(D, int, unsigned *);
int main(void) {
    unsigned n = 0, power, warm;
    nvmlInit_v2();
    nvmlDeviceGetCount_v2(&n);
    for (unsigned i = 0; i < n; i++) {
        D d; char uuid[96]; M memory; U used;
        nvmlDeviceGetHandleByIndex_v2(i, &d);
        nvmlDeviceGetUUID(d, uuid, sizeof uuid);
        nvmlDeviceGetMemoryInfo(d, &memory);
        nvmlDeviceGetUtilizationRates(d, &used);
        nvmlDeviceGetPowerUsage(d, &power);
        nvmlDeviceGetTemperature(d, 0, &warm);
        printf("%s, %u, %llu, %u, %u\n", uuid, used.gpu, memory.used >> 20, power / 1000, warm);
    }
    return nvmlShutdown();
}
"""
"""What `nvidia-smi --query-gpu=… --format=csv` does, and no more: a floor for it."""


def eight(processes: list[int]) -> State:
    """Eight devices that work, with four processes each."""
    state = h100(8)
    for place in range(8):
        mine = processes[4 * place : 4 * place + 4]
        state = state.card(
            place, utilization_gpu=90 + place, memory_used=60 * GB, power=600_000 + place,
            processes=tuple(Proc(pid=pid, memory=15 * GB, sm=20) for pid in mine),
        )  # fmt: skip
    return state


class Changing:
    """The values change each second, as those of real devices do."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._task = asyncio.create_task(self._go())

    async def _go(self) -> None:
        turn = 0
        while True:
            turn += 1
            state = self._nvml.state
            for place in range(len(state.cards)):
                state = state.card(
                    place, utilization_gpu=(turn * 7 + place) % 101, power=500_000 + 997 * turn
                )
            self._nvml.show(state)
            await asyncio.sleep(1)

    def stop(self) -> None:
        self._task.cancel()


async def sampling(nvml: Nvml, root: Path) -> None:
    """A refresh a second: calls and processor time of the program that reads."""
    environ = {**os.environ, **nvml.environ(counted=True)}
    backend = ProcessBackend("local", LocalHost(str(root), environ=environ), kind="local")
    changing = Changing(nvml)
    async with backend.devices(1.0) as reports:
        for _ in range(3):
            await anext(reports)
        reader = [pid for pid in below(os.getpid()) if _words(pid)[-1:] == ["devices"]]
        calls, cpu = sum(nvml.calls().values()), _milliseconds(reader[0])
        for _ in range(SECONDS):
            await anext(reports)
        ours = _milliseconds(reader[0]) - cpu
        asked = sum(nvml.calls().values()) - calls
    changing.stop()
    await backend.aclose()
    print(
        f"8 devices x 4 processes, sampling, a refresh | {asked / SECONDS:.0f} calls, "
        f"{ours / SECONDS:.2f} ms | 60 calls, 2 ms (goal) | {asked / SECONDS / 60:.2f}, "
        f"{ours / SECONDS / 2:.2f}"
    )


async def drawing(nvml: Nvml, home: Path) -> None:
    """A refresh a second on a terminal, all that it takes: ours and nvitop's."""
    figures = {}
    for name, argv, wait in (
        ("ours", [*COMMAND, "--every", "1s"], "GPUs busy"),
        ("nvitop", [*NVITOP, "-m", "full", "--interval", "1"], "H100"),
    ):
        env = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8",
               "HOME": str(home), **nvml.environ(counted=True)}  # fmt: skip
        changing = Changing(nvml)
        screen = Terminal(argv, env)
        await asyncio.to_thread(screen.wait, wait)
        await asyncio.to_thread(screen.listen, 3.0)
        pids = below(screen.pid)
        calls, cpu = sum(nvml.calls().values()), sum(map(_milliseconds, pids))
        await asyncio.to_thread(screen.listen, float(SECONDS))
        figures[name] = (
            (sum(nvml.calls().values()) - calls) / SECONDS,
            (sum(map(_milliseconds, pids)) - cpu) / SECONDS,
        )
        changing.stop()
        screen.close()
    ours, peer = figures["ours"], figures["nvitop"]
    print(
        f"8 devices x 4 processes, with drawing, a second | {ours[0]:.0f} calls, {ours[1]:.1f} ms "
        f"| {peer[0]:.0f} calls, {peer[1]:.1f} ms (nvitop) | {ours[1] / peer[1]:.2f}"
    )


def once(nvml: Nvml, home: Path) -> None:
    """The whole command, as JSON, in turns."""
    env = {**os.environ, "HOME": str(home), **nvml.environ()}
    taken: dict[str, list[float]] = {"ours": [], "gpustat": []}
    for _ in range(TURNS):
        for name, argv in (("ours", [*COMMAND, "--once", "--json"]), ("gpustat", GPUSTAT)):
            begin = time.perf_counter()
            subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - begin)
    ours, peer = (statistics.median(taken[name]) for name in ("ours", "gpustat"))
    print(
        f"top --once --json, medians of {TURNS} turns | {ours * 1e3:.0f} ms | "
        f"{peer * 1e3:.0f} ms (gpustat --json) | {ours / peer:.2f}"
    )


async def elsewhere(folder: Path, nvml: Nvml) -> None:
    """Eight devices on each of 50 machines once a second, processor on both sides; beside a small
    program in C that asks five things of each device, through ControlMaster."""
    source, program = folder / "smi.c", folder / "smi"
    source.write_text(SMI)
    library = nvml.environ()["LD_LIBRARY_PATH"]
    linked = ["-L", library, "-l:libnvidia-ml.so.1", f"-Wl,-rpath,{library}"]
    subprocess.run(["gcc", "-O2", "-o", program, source, *linked], check=True)
    boxes = (Box(env=nvml.environ()) for _ in range(HOSTS))
    with Sshd(folder / "s", *boxes) as sshd:
        backends = [backend_on(sshd, f"box{n}") for n in range(HOSTS)]

        def both() -> float:
            there = {pid for box in sshd.boxes for pid in box.processes()}
            return processor({os.getpid(), *there})

        async def follow(backend: ProcessBackend, ready: list[int]) -> None:
            async with backend.devices(1.0) as reports:
                async for _ in reports:
                    ready.append(1)

        heard: list[int] = []
        tasks = [asyncio.create_task(follow(backend, heard)) for backend in backends]
        while len(heard) < 3 * HOSTS:
            await asyncio.sleep(0.1)
        before, count = both(), len(heard)
        await asyncio.sleep(ROUNDS)
        ours, reports = both() - before, len(heard) - count
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for backend in backends:
            await backend.aclose()

        masters = await control_masters(sshd, folder)
        pids = [master.pid for master in masters]

        async def one(n: int) -> None:
            argv = sshd.ssh(f"box{n}", shlex.quote(str(program)), options=("-S", f"{folder}/m{n}"))
            process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.DEVNULL)
            await process.wait()

        def with_masters() -> float:
            # Those that have ended are counted with whoever waited for them.
            there = {pid for box in sshd.boxes for pid in box.processes()}
            return processor({os.getpid(), *pids, *there})

        before, begin = with_masters(), time.monotonic()
        for number in range(1, ROUNDS + 1):
            await asyncio.gather(*(one(n) for n in range(HOSTS)))
            await asyncio.sleep(max(0.0, begin + number - time.monotonic()))
        peer = with_masters() - before
        for master in masters:
            master.terminate()
            await master.wait()
    print(
        f"8 devices on each of {HOSTS} machines, once a second for {ROUNDS} s, processor on both "
        f"sides | {ours:.2f} s ({reports} reports) | {peer:.2f} s (ssh through ControlMaster) | "
        f"{peer / ours:.1f} x fewer"
    )


def _words(pid: int) -> list[str]:
    try:
        said = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return said.decode("utf-8", "replace").rstrip("\0").split("\0")


def _milliseconds(pid: int) -> float:
    """Processor time of a process, of all its threads."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(thread.read_text().split()[0])
        except OSError:
            continue
    return total / 1e6


def main() -> None:
    print("name | ours | peer or floor (what it is) | ratio")
    with tempfile.TemporaryDirectory(prefix="td", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for part in ("home", "nvml", "e"):
            (folder / part).mkdir()
        sleepers = [subprocess.Popen(["sleep", "3600"]) for _ in range(32)]
        try:
            nvml = Nvml(folder / "nvml", eight([one.pid for one in sleepers]))
            asyncio.run(sampling(nvml, folder / "deck"))
            asyncio.run(drawing(nvml, folder / "home"))
            once(nvml, folder / "home")
            asyncio.run(elsewhere(folder / "e", nvml))
        finally:
            for sleeper in sleepers:
                sleeper.kill()
                sleeper.wait()


if __name__ == "__main__":
    main()
