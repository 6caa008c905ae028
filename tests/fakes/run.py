"""The fake world with everything the Run screen reads of a run: series, logs, files, what it was
made from. Logs are read by the real engine from bytes that a test may append to."""

from __future__ import annotations

import asyncio
import math
import random
from array import array
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.fakes.runs import NOW, FakeServices, make_run

from traindeck.backends.base import (
    BackendError,
    Code,
    FileEntry,
    LinkState,
    Listener,
    LogStat,
    RunSpec,
    State,
    Status,
    Terminal,
    TerminalSize,
    TraindeckError,
    Unreachable,
)
from traindeck.console.logs.source import ByteSource, Continuity
from traindeck.console.logs.times import Times
from traindeck.console.runs.log_opening import FAILED, Fate, Opening
from traindeck.console.runs.log_session import LogSession
from traindeck.console.runs.log_shown import Spot
from traindeck.console.runs.pulling import Progress, Pulled
from traindeck.console.store.records import MetricSummary, RunRecord
from traindeck.console.store.series import Points
from traindeck.console.tui.services import Forwarded, Outcome


class BytesSource:
    """A log in memory, `read` again at every look."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._continuity = Continuity()

    async def stat(self) -> LogStat:
        size = len(self._read())
        return LogStat(
            size=size, identity=await self._continuity.identity("memory", size, self.read_at)
        )

    async def read_at(self, offset: int, size: int) -> bytes:
        return self._read()[offset : offset + size]

    async def local_fd(self) -> int | None:
        return None

    async def find(self, needle: bytes, offset: int, *, backward: bool = False) -> int | None:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Nothing is held."""


class FakeRunServices(FakeServices):
    """A world whose runs can be opened.

    Attributes:
        points: Run id -> metric -> points.
        specs, trees: Run id -> what it was made from, its files' contents by path.
        samples: Run id -> the times of its log, as a supervisor notes them.
        links: Run id -> how it stands with the way to its place.
        others: Run id -> the logs of its ranks but the first, by rank; None is not here.
        tried: Run id -> how its attempts ended.
        shares: Run id -> how much of its log was read for metrics.
        listeners: Run id -> the ports it listens on; `open_ports` are those that are forwarded.
        broken: Method -> what it raises.
    """

    def __init__(self, runs: Sequence[RunRecord] = (), **more: Any) -> None:
        super().__init__(runs, **more)
        self.points: dict[str, dict[str, Points]] = {}
        self.specs: dict[str, RunSpec] = {}
        self.trees: dict[str, dict[str, bytes]] = {}
        self.samples: dict[str, bytes] = {}
        self.links: dict[str, LinkState] = {}
        self.others: dict[str, dict[int, bytes | None]] = {}
        self.tried: dict[str, Sequence[Status]] = {}
        self.shares: dict[str, float] = {}
        self.listeners: dict[str, Sequence[Listener]] = {}
        self.open_ports: list[Forwarded] = []
        self.pulls: asyncio.Event | None = None
        self.broken: dict[str, TraindeckError] = {}

    async def _pause(self, name: str, detail: object = None) -> None:
        await super()._pause(name, detail)
        if name in self.broken:
            raise self.broken[name]

    async def measure(self, run_id: str) -> None:
        await self._pause("measure", run_id)

    async def log_share(self, run_id: str) -> float:
        await self._pause("log_share", run_id)
        return self.shares.get(run_id, 1.0)

    async def series(self, run_id: str, names: Sequence[str]) -> Mapping[str, Points]:
        await self._pause("series", (run_id, tuple(names)))
        have = self.points.get(run_id, {})
        return {name: have[name] for name in names if name in have}

    async def open_log(
        self, run_id: str, attempt: int | None = None, *, rank: int = 0, spot: Spot | None = None
    ) -> LogSession:
        await self._pause("open_log", (run_id, attempt, *([rank] if rank else [])))

        def read() -> bytes:
            if not rank:
                return self.logs.get(run_id, b"")
            data = self.others[run_id][rank]
            if data is None:
                raise Unreachable(f"The log of rank {rank} of run {run_id} is not here: a copy is "
                                  "kept of what was opened, and of the end of each rank's when a "
                                  "run has failed. gpu1 does not answer.")  # fmt: skip
            return data

        def fate() -> Fate:
            run = next((run for run in self.runs if run and run.id == run_id), None)
            if run is None or run.active:
                return Fate(over=run is None)
            return Fate(
                over=True, failed=run.state in FAILED, exit_code=run.exit_code, signal=run.signal
            )

        def times() -> Times | None:
            samples = self.samples.get(run_id)
            return None if samples is None else Times(BytesSource(lambda: samples))

        def source() -> ByteSource:
            return BytesSource(read)

        async def why_none() -> str:
            return self.no_log.get(run_id, "")

        def link() -> LinkState:
            return self.links.get(run_id, LinkState())

        opening = Opening(source=source, times=times, fate=fate, why_none=why_none, link=link)
        return LogSession(_here, opening, spot)

    async def ranks(self, run_id: str, attempt: int) -> Sequence[int]:
        await self._pause("ranks", (run_id, attempt))
        return [0, *self.others.get(run_id, ())]

    async def open_file(self, run_id: str, path: str) -> LogSession:
        await self._pause("open_file", (run_id, path))

        def source() -> ByteSource:
            return BytesSource(lambda: self.trees.get(run_id, {}).get(path, b""))

        return LogSession(_here, Opening(source=source, from_start=True))

    async def attempts(self, run_id: str) -> Sequence[Status]:
        await self._pause("attempts", run_id)
        return self.tried.get(run_id, ())

    async def again(self, run_id: str, env: Mapping[str, str]) -> Outcome:
        await self._pause("again", (run_id, dict(env)))
        run = next(run for run in self.runs if run and run.id == run_id)
        fresh = make_run(len(self.runs) + 30, f"{run.name}-again", State.STARTING, age=1)
        self.add(fresh)
        return Outcome(run_id=fresh.id, text=fresh.name)

    async def files(self, run_id: str) -> Sequence[FileEntry]:
        await self._pause("files", run_id)
        tree = self.trees.get(run_id, {})
        folders = {path[:n] for path in tree for n, sign in enumerate(path) if sign == "/"}
        entries = [FileEntry(path=path, is_dir=True, modified=self.now - 60) for path in folders]
        entries += [
            FileEntry(path=path, size=len(data), modified=self.now - 30)
            for path, data in tree.items()
        ]
        return sorted(entries, key=lambda entry: entry.path.split("/"))

    async def read_file(self, run_id: str, path: str, size: int) -> bytes:
        await self._pause("read_file", path)
        tree = self.trees.get(run_id, {})
        if path not in tree:
            raise BackendError(f"There is no {path} in the run's directory.")
        return tree[path][:size]

    async def spec(self, run_id: str) -> RunSpec | None:
        await self._pause("spec", run_id)
        return self.specs.get(run_id)

    async def open_shell(self, run_id: str, size: TerminalSize) -> Terminal:
        await self._pause("open_shell", run_id)
        raise BackendError("gpu1 cannot open a shell where its runs are.")

    async def ports(self, run_id: str) -> Sequence[Listener]:
        await self._pause("ports", run_id)
        return self.listeners.get(run_id, ())

    async def forward(self, run_id: str, port: int) -> Forwarded:
        await self._pause("forward", (run_id, port))
        run = next(run for run in self.runs if run and run.id == run_id)
        taken = [made.local for made in self.open_ports]
        local = port if port not in taken else 40000 + len(taken)
        made = Forwarded(
            run_id=run_id, name=run.name, port=port, local=local, url=f"http://127.0.0.1:{local}"
        )
        self.open_ports.append(made)
        return made

    async def forwards(self) -> Sequence[Forwarded]:
        return list(self.open_ports)

    async def end_forward(self, local: int) -> None:
        await self._pause("end_forward", local)
        self.open_ports = [made for made in self.open_ports if made.local != local]

    async def pull(
        self, run_id: str, paths: Sequence[str], to: Path, tell: Callable[[Progress], None]
    ) -> Sequence[Pulled]:
        await self._pause("pull", (run_id, tuple(paths), str(to)))
        if self.pulls is not None:
            try:
                await self.pulls.wait()
            except asyncio.CancelledError:
                self.calls.append(("pull cancelled", None))
                raise
        return [Pulled(path=path, size=7) for path in paths]

    async def folder(self, run_id: str) -> str:
        await self._pause("folder", run_id)
        return f"/home/user1/.traindeck/runs/{run_id}"


def _here(work: Callable[[], Coroutine[Any, Any, Any]]) -> Awaitable[Any]:
    return asyncio.ensure_future(work())


# ------------------------------------------------------------------------------------------ worlds


def points(
    key: str,
    values: Sequence[float],
    *,
    every: int = 1,
    began: float = NOW - 3600,
    seconds: float = 1.0,
    seam: int | None = None,
) -> Points:
    """A series with a value `every` steps, a step each `seconds`; attempt 1 begins at index
    `seam`."""
    steps = array("q", (every * (n + 1) for n in range(len(values))))
    seams = ((0, 0),) if seam is None else ((0, 0), (seam, 1))
    return Points(
        key=key,
        steps=steps,
        times=array("d", (began + seconds * step for step in steps)),
        values=array("d", values),
        seams=seams,
        sources=("stdout",),
    )


def summary(series: Points) -> MetricSummary:
    """What the index says of a series."""
    finite = [(v, s) for v, s in zip(series.values, series.steps, strict=True) if math.isfinite(v)]
    low, high = min(finite, default=(None, None)), max(finite, default=(None, None))
    last = series.values[-1]
    return MetricSummary(
        key=series.key,
        count=len(series.steps),
        first=series.values[0],
        last=last if math.isfinite(last) else None,
        last_step=series.steps[-1],
        last_time=series.times[-1],
        min=low[0],
        min_step=low[1],
        max=high[0],
        max_step=high[1],
        spark="666555444433333222211110",
        nonfinite=len(series.steps) - len(finite),
        source="stdout",
    )


def curves_of_a_run(steps: int = 3120, seed: int = 4, seam: int | None = None) -> list[Points]:
    """What a fine-tune reports: a noisy loss, its evaluation, a gradient norm with a hole and a
    spike, the process's samples, two checkpoints."""
    dice = random.Random(seed)
    seconds = 3600 / steps
    loss = [1.28 + 1.6 * math.exp(-n / (steps / 6)) + dice.gauss(0, 0.05) for n in range(steps)]
    norm = [0.8 + dice.random() * 0.2 for _ in range(steps)]
    norm[steps // 3] = math.nan
    norm[steps * 2 // 3] = 3.9
    evals = [1.33 + 1.4 * math.exp(-n / 2.6) for n in range(12)]
    cpu = [70 + 25 * math.sin(n / 30) for n in range(600)]
    memory = [1.4e9 + 4e6 * n for n in range(600)]
    return [
        points("loss", loss, seconds=seconds, seam=seam),
        points("eval/loss", evals, every=steps // 12, seconds=seconds, seam=None),
        points("grad_norm", norm, seconds=seconds, seam=seam),
        points("learning_rate", [3e-4 * (1 - n / steps) for n in range(steps)], seconds=seconds),
        points("system/cpu_pct", cpu, seconds=6.0),
        points("system/rss_bytes", memory, seconds=6.0),
        points("__checkpoint__", [1.0, 1.0, 1.0], every=steps // 3, seconds=seconds),
    ]


BROKEN_LOG = (
    b"".join(b"step %d/5000 loss %.3f grad_norm 0.84\n" % (n, 3.1 - n * 0.002) for n in range(413))
    + b"WARNING: 3 samples longer than 4096 tokens were cut\n"
    + b"Traceback (most recent call last):\n"
    + b'  File "/home/user1/project/train.py", line 88, in <module>\n    main()\n'
    + b'  File "/home/user1/project/train.py", line 61, in main\n    loss = model(batch)\n'
    + b'  File "/usr/lib/python3/site-packages/torch/module.py", line 1751, in __call__\n'
    + b"    return self.forward(*args)\n"
    + b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a total "
    + b"capacity of 79.10 GiB of which 1.00 GiB is free.\n"
)


def run_world() -> FakeRunServices:
    """A running, a failed, a finished and a queued run that can be looked into."""
    running = make_run(
        4, "llama1b-lora-lr3e4", State.RUNNING, age=3840, step=3120, total=8000, loss=1.284,
        eta=102 * 60, tags={"sft": "", "lr": "3e-4"}, params={"lr": 3e-4, "rank": 16, "seed": 4},
    )  # fmt: skip
    failed = make_run(
        1, "nanogpt-big", State.FAILED, age=11040, step=412, total=5000, loss=2.276, exit_code=1,
        reason="CUDA out of memory at step 412 · 78.1 of 79.1 GiB",
    )  # fmt: skip
    done = make_run(
        13, "base-pretrain", State.SUCCEEDED, age=18000, step=150, total=150, loss=1.277,
        exit_code=0,
    )  # fmt: skip
    queued = make_run(
        10, "llama1b-dpo", State.QUEUED, age=720,
        reason="waits for llama1b-lora-lr3e4 · which has 1h42 left",
    )  # fmt: skip
    world = FakeRunServices([running, failed, done, queued])
    for key, (run, steps) in enumerate([(running, 3120), (failed, 412), (done, 300)]):
        made = {series.key: series for series in curves_of_a_run(steps, seed=key)}
        world.points[run.id] = made
        world.runs[key] = replace(
            run, metrics={name: summary(series) for name, series in made.items()}
        )
    world.logs = {
        running.id: b"".join(
            b"step %d/8000 loss %.3f grad_norm 0.84 lr 8.7e-05\n" % (n, 1.42 - 0.0001 * n)
            for n in range(2000, 3121)
        ),
        failed.id: BROKEN_LOG,
        done.id: b"step 150/150 loss 1.277\nsaved to out/\n",
    }
    for run in (running, failed, done, queued):
        world.specs[run.id] = RunSpec(
            run_id=run.id, name=run.name, argv=run.argv, cwd=run.cwd,
            env={"PATH": "/usr/local/bin:" * 12 + "/usr/bin", "PYTHONUNBUFFERED": "1"},
            env_names=("HOME", "LANG", "USER"), secrets=("WANDB_API_KEY",),
            python="/home/user1/venv/bin/python", python_version="3.12.4", packages=3,
            host="box", driver="560.35.03",
            code=Code(root=run.cwd, commit="0123456789abcdef0123456789abcdef01234567",
                      branch="main", dirty=True, untracked=("notes.txt",)),
        )  # fmt: skip
        world.trees[run.id] = {
            "run.json": b'{"name": "a run"}\n',
            "attempts/0/exit.slot": b"TDX1\0\0\0\0" * 8,
            "attempts/0/logs/0.log": world.logs.get(run.id, b""),
            "code/.traindeck/packages.txt": b"numpy==2.1.0\ntorch==2.6.0\ntransformers==5.0.0\n",
            "code/.traindeck/diff.patch": b"diff --git a/train.py b/train.py\n--- a/train.py\n"
            b"+++ b/train.py\n@@ -1,2 +1,2 @@\n-lr = 1e-4\n+lr = 3e-4\n import torch\n",
            "artifacts/adapter.bin": bytes(range(256)) * 40,
        }
    return world
