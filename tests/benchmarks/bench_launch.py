"""What it costs to start a run and to keep one: beside a bare typer program and fork + exec."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = """
import typer
app = typer.Typer()
@app.command()
def run() -> None:
    print("[]")
app()
"""
TURNS = 9


def whole(argv: list[str], env: dict[str, str]) -> float:
    """Wall time of a process, in milliseconds."""
    start = time.perf_counter()
    subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - start) * 1e3


def commands(home: Path, env: dict[str, str]) -> None:
    """Whole commands, in turns with their floor."""
    bare = home / "bare.py"
    bare.write_text(BARE)
    ours = [sys.executable, "-m", "traindeck.console.cli.main", "run", "-q", "--", "true"]
    for argv in (ours, [sys.executable, str(bare)]):
        whole(argv, env)
    pairs = [(whole(ours, env), whole([sys.executable, str(bare)], env)) for _ in range(TURNS)]
    run, floor = min(a for a, _ in pairs), min(b for _, b in pairs)
    print(
        f"traindeck run -q -- true, whole | {run:.0f} ms | {floor:.0f} ms (bare typer) | "
        f"{run / floor:.2f}"
    )


async def first_byte(home: Path) -> None:
    """From submit to the first byte of the job's output, with a warm connection."""
    from traindeck.backends.base import RunSpec
    from traindeck.backends.process import make
    from traindeck.console.store.ids import mint_id

    backend = make("local", {"root": str(home / "root")})
    command = ("sh", "-c", "echo x")
    taken, bare = [], []
    for _ in range(TURNS):
        spec = RunSpec(run_id=mint_id(), argv=command, cwd="/", env={"PATH": os.environ["PATH"]})
        plan = backend.plan(spec, await backend.survey(spec))
        start = time.perf_counter()
        ref = await backend.submit(plan)
        async with backend.logs(ref) as chunks:
            async for chunk in chunks:
                if chunk.data:
                    break
        taken.append((time.perf_counter() - start) * 1e3)
        start = time.perf_counter()
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        await process.stdout.read(1)
        bare.append((time.perf_counter() - start) * 1e3)
        await process.wait()
    await backend.aclose()
    ours, floor = statistics.median(taken), statistics.median(bare)
    print(
        f"submit to first byte, connection warm | {ours:.0f} ms | {floor:.0f} ms (fork + exec) | "
        f"+{ours - floor:.0f} ms"
    )


async def supervising(home: Path) -> None:
    """Memory and processor of the supervisor of a quiet run, over ten seconds."""
    from traindeck.backends.base import RunSpec
    from traindeck.backends.process import make
    from traindeck.console.store.ids import mint_id

    backend = make("local", {"root": str(home / "root")})
    spec = RunSpec(
        run_id=mint_id(), argv=("sh", "-c", "sleep 60 & sleep 60"), cwd="/",
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    ref = await backend.submit(backend.plan(spec, await backend.survey(spec)))
    import json

    folder = home / "root" / "runs" / spec.run_id / "attempts" / "0"
    pid = json.loads((folder / "agent.json").read_text())["pid"]
    await asyncio.sleep(2)
    before = _cpu(pid)
    await asyncio.sleep(10)
    share = (_cpu(pid) - before) / 10
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    await backend.cancel(ref, grace=0.5)
    await backend.aclose()
    print(f"supervisor, memory | {resident / 1e6:.1f} MB | 12 MB (goal) | {resident / 12e6:.2f}")
    print(f"supervisor, of a core | {share:.2%} | 0.3 % (goal) | {share / 0.003:.2f}")


def _cpu(pid: int) -> float:
    """Seconds of processor time from the scheduler's own counter, which is finer than ticks."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def main() -> None:
    print("name | ours | peer or floor (what it is) | ratio")
    # The supervisor of the last job may still be noting its end.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "VIRTUAL_ENV")}
        env = {**kept, "HOME": str(home)}
        commands(home, env)
        asyncio.run(first_byte(home))
        asyncio.run(supervising(home))


if __name__ == "__main__":
    main()
