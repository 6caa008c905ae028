"""What looks at a Slurm cluster cost: one beside `squeue` itself, and those of ten `wait`s beside
those of one; and the screen while they come in.

bench_slurm.py [JOBS]    with so many jobs listed; 10,000 by default, for which the goals are stated
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "terminal"))

if TYPE_CHECKING:
    from tests.services.slurm import Cluster

TURNS = 9
WAITS = 10
WATCHED = 30.0
"""Seconds for which the waits are watched."""
LINE = (
    "{n}|{n}|{n}|PENDING|gpu|1|gres:gpu:h100:4|1-00:00:00|1-00:00:00|2026-11-30T07:12:06|N/A|N/A|"
    "42949017|ml|normal|u|(null)||Priority|td-{run}-0"
)
CONSOLE = (sys.executable, "-m", "traindeck.console.cli.main")
TICK = os.sysconf("SC_CLK_TCK")


def row(what: str, ours: str, beside: str, ratio: float) -> None:
    print(f"{what} | {ours} | {beside} | {ratio:.2f}", flush=True)


def listed(count: int) -> None:
    """The list of many jobs, read."""
    from traindeck.backends.slurm.listing import Listing

    output = "\n".join(LINE.format(n=n, run=f"{n:012d}") for n in range(count))

    def best(work: object) -> float:
        assert callable(work)
        spent = []
        for _ in range(TURNS):
            start = time.process_time()
            work()
            spent.append((time.process_time() - start) * 1e3)
        return min(spent)

    floor = best(lambda: [line.split("|") for line in output.splitlines()])
    ours = best(lambda: Listing(output).of_run(f"{0:012d}"))
    row(f"a list of {count:,} jobs, one of them read", f"{ours:.0f} ms", f"{floor:.0f} ms (split)",
        ours / floor)  # fmt: skip


def cpu(pid: int, *, children: bool = True) -> float:
    """Seconds of processor that a process has used, and those it has waited for."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11 : 15 if children else 13])) / TICK


def fill(made: Cluster, count: int) -> None:
    """Submit many jobs that stay: an array, whose tasks are made jobs of their own by renaming."""
    options = ("--parsable", "--hold", "--wrap=true", "--output=/dev/null")
    job = made.run("sbatch", *options, f"--array=0-{count - 1}").stdout.strip()
    names = "".join(f"update JobId={job}_{n} JobName=job-{n}\n" for n in range(count))
    made.run("scontrol", input=names, timeout=600)


async def polls(made: Cluster, count: int) -> None:
    """One poll of the backend beside `squeue`, in turns: by the clock, and by the processor that
    both sides use, slurmctld's part included."""
    from traindeck.backends.base import RunSpec
    from traindeck.backends.hosts.local import LocalHost
    from traindeck.backends.slurm.backend import SlurmBackend
    from traindeck.backends.slurm.commands import ENVIRONMENT, my_jobs
    from traindeck.console.store.ids import mint_id

    with tempfile.TemporaryDirectory() as root:
        host = LocalHost(root, environ=made.env)
        backend = SlurmBackend("lab", host)
        spec = RunSpec(run_id=mint_id(), argv=("sleep", "600"), cwd="/")
        ref = await backend.submit(backend.plan(spec, await backend.survey(spec)))
        await backend.poll([ref])
        assert host._served is not None
        agent, ctld = host._served.process.pid, made._running["slurmctld"].pid
        env = {**made.env, **ENVIRONMENT}

        def used() -> float:
            ended = resource.getrusage(resource.RUSAGE_CHILDREN)
            return time.process_time() + ended.ru_utime + ended.ru_stime + cpu(agent) + cpu(ctld)

        ours, theirs = [], []
        spent = {"ours": 0.0, "theirs": 0.0}
        for _ in range(TURNS):
            before, start = used(), time.perf_counter()
            await backend.poll([ref])
            middle, between = time.perf_counter(), used()
            subprocess.run(my_jobs(), env=env, stdout=subprocess.PIPE, check=True)
            theirs.append((time.perf_counter() - middle) * 1e3)
            ours.append((middle - start) * 1e3)
            spent["ours"] += between - before
            spent["theirs"] += used() - between
        await backend.cancel(ref)
        await backend.aclose()
    poll, floor = statistics.median(ours), statistics.median(theirs)
    row(f"one poll, {count:,} jobs listed", f"{poll:.0f} ms", f"{floor:.0f} ms (squeue)",
        poll / floor)  # fmt: skip
    mine, other = (spent[who] / TURNS * 1e3 for who in ("ours", "theirs"))
    row("  the same, processor of both sides", f"{mine:.0f} ms", f"{other:.0f} ms", mine / other)


class Home:
    """A user of the cluster."""

    def __init__(self, made: Cluster, folder: Path) -> None:
        from traindeck.console.store.index import Index
        from traindeck.console.store.places import find_places

        self.made = made
        folders = {f"XDG_{name}_HOME": str(folder / name) for name in ("CONFIG", "STATE", "CACHE")}
        self.env: Mapping[str, str] = {**made.env, "HOME": str(folder), **folders}
        self.run("backends", "add", "slurm", "lab", "--local")
        self.index = Index.open(find_places(self.env).index)

    def run(self, *words: str) -> str:
        argv = [*CONSOLE, *words]
        done = subprocess.run(argv, env=self.env, cwd="/", capture_output=True, check=True)
        return done.stdout.decode().strip()


def asked(made: Cluster) -> int:
    """How often the cluster was asked for jobs, by its own count."""
    said = made.run("sdiag").stdout
    return sum(map(int, re.findall(r"REQUEST_JOB\w*INFO\w*\s+\(\s*\d+\)\s+count:(\d+)", said)))


def waits(made: Cluster) -> None:
    """What ten `wait`s for ten runs cost the cluster beside one: from their start, and then on."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(made, Path(folder))
        runs = [home.run("run", "--on", "lab", "-q", "--", "sleep", "600") for _ in range(WAITS)]
        ctld = made._running["slurmctld"].pid

        def load(of: list[str]) -> tuple[int, float, float, int]:
            """(polls, slurmctld's seconds, the agents' seconds, agents) while these are waited
            for, once all who wait do."""
            argvs = [[*CONSOLE, "wait", run] for run in of]
            waiting: list[Any] = [
                subprocess.Popen(argv, env=home.env, cwd="/", stdout=subprocess.DEVNULL)
                for argv in argvs
            ]
            while not set(of).issubset(home.index.wanted()):
                time.sleep(0.1)
            time.sleep(3.0)  # their first looks

            def agents() -> list[int]:
                return [
                    int(pid)
                    for one in waiting
                    for pid in Path(f"/proc/{one.pid}/task/{one.pid}/children").read_text().split()
                ]

            polled, used, there = asked(made), cpu(ctld), sum(map(cpu, agents()))
            time.sleep(WATCHED)
            pids = agents()
            found = asked(made) - polled, cpu(ctld) - used, sum(map(cpu, pids)) - there, len(pids)
            for one in waiting:
                one.terminate()
                one.wait()
            return found

        one, ten = load(runs[:1]), load(runs)
        for run in runs:
            home.run("stop", run)
    row(f"{WAITS} waits, looks at the cluster in {WATCHED:.0f} s", str(ten[0]), f"{one[0]} (one)",
        ten[0] / one[0])  # fmt: skip
    row("  processor of slurmctld", f"{ten[1]:.2f} s", f"{one[1]:.2f} s (one)", ten[1] / one[1])
    row(f"  of their agents ({ten[3]} of them, {one[3]})", f"{ten[2]:.2f} s",
        f"{one[2]:.2f} s (one)", ten[2] / one[2])  # fmt: skip


def screen(made: Cluster, count: int) -> None:
    """Key to paint with the cluster's jobs on the list, of all of which a look every two seconds
    tells; beside the same while nobody looks."""
    from bench_tui import ENV, MAIN, keys

    with tempfile.TemporaryDirectory() as folder:
        home = Home(made, Path(folder))
        home.run("ls")
        settings = Path(home.env["XDG_CONFIG_HOME"]) / "traindeck" / "settings.yaml"
        places = settings.read_text()
        found = {}
        for refresh in ("2s", "10m"):
            settings.write_text(f"{places}\nrefresh: {refresh}\n")
            found[refresh] = keys([sys.executable, "-c", MAIN], {**ENV, **home.env})
    for name, ours, floor in zip(("p50", "p99"), found["2s"], found["10m"], strict=True):
        row(f"key to paint {name}, {count:,} jobs on the list", f"{ours * 1e3:.0f} ms",
            f"{floor * 1e3:.0f} ms without looks", ours / floor)  # fmt: skip


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    listed(10_000)
    if os.geteuid() != 0:
        return
    from tests.services.slurm import cluster

    settings = {"MaxJobCount": "20000", "MaxArraySize": "20001"}
    with cluster(settings=settings, cpus=16) as made:
        waits(made)
        fill(made, count)
        asyncio.run(polls(made, count))
        screen(made, count)


if __name__ == "__main__":
    print("what | ours | beside | ratio")
    main()
