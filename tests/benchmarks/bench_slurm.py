"""What a look at a Slurm cluster costs: beside `squeue` itself, with many jobs listed.

bench_slurm.py [JOBS]    1,000 by default; the goal is stated for 10,000, which take minutes to
                         submit
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
TURNS = 9
LINE = (
    "{n}|{n}|{n}|PENDING|gpu|1|gres:gpu:h100:4|1-00:00:00|1-00:00:00|2026-11-30T07:12:06|N/A|N/A|"
    "42949017|ml|normal|u|(null)||Priority|td-{run}-0"
)


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
    print(f"a list of {count:,} jobs, one of them read | {ours:.0f} ms | {floor:.0f} ms (split) | "
          f"{ours / floor:.2f}")  # fmt: skip


async def polls(count: int) -> None:
    """One poll of the backend beside `squeue`, in turns."""
    from tests.services.slurm import Cluster, cluster

    from traindeck.backends.base import RunSpec
    from traindeck.backends.hosts.local import LocalHost
    from traindeck.backends.slurm.backend import SlurmBackend
    from traindeck.backends.slurm.commands import ENVIRONMENT, my_jobs
    from traindeck.console.store.ids import mint_id

    def submit(made: Cluster) -> None:
        made.run("sbatch", "--parsable", "--hold", "--wrap=true", "--output=/dev/null")

    with cluster(settings={"MaxJobCount": "20000"}) as made, tempfile.TemporaryDirectory() as root:
        backend = SlurmBackend("lab", LocalHost(root, environ=made.env))
        spec = RunSpec(run_id=mint_id(), argv=("sleep", "600"), cwd="/")
        ref = await backend.submit(backend.plan(spec, await backend.survey(spec)))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: submit(made), range(count)))
        env = {**made.env, **ENVIRONMENT}
        ours, theirs = [], []
        await backend.poll([ref])
        for _ in range(TURNS):
            start = time.perf_counter()
            await backend.poll([ref])
            middle = time.perf_counter()
            subprocess.run(my_jobs(), env=env, stdout=subprocess.PIPE, check=True)
            ours.append((middle - start) * 1e3)
            theirs.append((time.perf_counter() - middle) * 1e3)
        await backend.cancel(ref)
        await backend.aclose()
    poll, floor = statistics.median(ours), statistics.median(theirs)
    print(f"one poll, {count:,} jobs listed | {poll:.0f} ms | {floor:.0f} ms (squeue) | "
          f"{poll / floor:.2f}")  # fmt: skip


def main() -> None:
    listed(10_000)
    if os.geteuid() == 0:
        asyncio.run(polls(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    print("what | ours | beside | ratio")
    main()
