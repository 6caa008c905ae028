"""A world of runs that exists only in memory, for snapshots, terminal tests and benchmarks.

Implements `Services` on a list of records. It can be slow (every method sleeps) and broken (every
method raises), so that a test can show that the screens are neither.
"""

from __future__ import annotations

import asyncio
import math
import random
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from traindeck.backends.base import Reach, RunSpec, State, TraindeckError, UsageError
from traindeck.console.runs.fleet import PlaceDevices
from traindeck.console.store.records import (
    GROUPS,
    MetricSummary,
    Progress,
    RunRecord,
    group,
    silent_after,
)
from traindeck.console.tui.services import (
    Counts,
    Curve,
    FleetNews,
    Group,
    Listing,
    Outcome,
    Place,
    Removal,
    View,
)

NOW = 1_790_000_000.0
"""The fixed clock of snapshots: 2026-09-21 14:13:20 UTC."""

TITLES = {name: name.upper() for name in GROUPS}


class FakeServices:
    """A world in memory.

    Args:
        runs: The records; a run's key is its place in this list.
        now: The world's clock.
        delay: Seconds that every method sleeps.
        error: Raised by every method.
        logs: Run id -> its log. `no_log` says of those without why there is none.
        places: The backends.

    Attributes:
        fleet: What the places have said of their devices; `watchers` are told of it.
    """

    able = frozenset({"demo"})

    def __init__(
        self,
        runs: Sequence[RunRecord] = (),
        *,
        now: float = NOW,
        delay: float = 0.0,
        error: TraindeckError | None = None,
        logs: Mapping[str, bytes] | None = None,
        places: Sequence[Place] = (Place(name="local", seen_at=NOW),),
    ) -> None:
        self.runs: list[RunRecord | None] = list(runs)
        self.now = now
        self.delay = delay
        self.error = error
        self.logs = dict(logs or {})
        self.no_log: dict[str, str] = {}
        self._places = places
        self.fleet: Sequence[PlaceDevices] = ()
        self.watchers: list[Callable[[FleetNews], None]] = []
        self.changes = 0
        self._listings: dict[View, Listing] = {}
        self.calls: list[tuple[str, object]] = []

    async def _pause(self, name: str, detail: object = None) -> None:
        self.calls.append((name, detail))
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error

    def change(self, key: int, run: RunRecord | None) -> None:
        """Another process has written."""
        self.runs[key] = run
        self._listings.clear()
        self.changes += 1

    def add(self, run: RunRecord) -> None:
        """Another process has launched a run."""
        self.runs.append(run)
        self._listings.clear()
        self.changes += 1

    def report(self, key: int, run: RunRecord) -> None:
        """A run has reported a value: it changes, but its place in the list does not."""
        self.runs[key] = run
        self.changes += 1

    # ---------------------------------------------------------------------------------- RunsSource

    async def version(self) -> int:
        await self._pause("version")
        return self.changes

    async def listing(self, view: View) -> Listing:
        await self._pause("listing", view)
        if view not in self._listings:
            self._listings[view] = await asyncio.to_thread(self._list, view)
        return self._listings[view]

    def _list(self, view: View) -> Listing:
        words = view.filter.split()
        for word in words:
            if word.endswith(":") or word.startswith("bad:"):
                raise UsageError(f"`{word}` in the filter says nothing.", "For example: tag:sft.")
        found: list[tuple[int, int, RunRecord]] = []
        for key, run in enumerate(self.runs):
            if run is not None and self._fits(run, words, view.window):
                found.append((group(run, self.now), key, run))
        beyond = [run for run in self.runs if run and self._fits(run, words, None)]
        archived = sum(run.archived for run in beyond)
        hidden = view.filter and not found and view.window is not None
        return Listing(
            window=view.window,
            keys=array("q", [key for _, key, _ in self._ordered(found, view)]),
            groups=self._groups(found, view),
            counts=self._counts(),
            beyond=(len(beyond) - archived, archived) if hidden else (0, 0),
        )

    def _fits(self, run: RunRecord, words: Sequence[str], window: float | None) -> bool:
        if window is not None and run.archived:
            return False
        over = window is not None and not run.active and group(run, self.now) == 3
        if over and (run.ended or run.created) < self.now - (window or 0.0):
            return False
        for word in words:
            name, _, value = word.partition(":")
            if name == "state" and value:
                if str(run.state) not in value.split(","):
                    return False
            elif name == "tag" and value:
                if value not in run.tags:
                    return False
            elif word.casefold() not in run.name.casefold():
                return False
        return True

    def _ordered(
        self, found: list[tuple[int, int, RunRecord]], view: View
    ) -> list[tuple[int, int, RunRecord]]:
        for name in reversed(view.order):
            field = name.removeprefix("-")

            def place(entry: tuple[int, int, RunRecord], field: str = field) -> tuple[bool, object]:
                run = entry[2]
                value: object = getattr(run, field, None)
                if field == "latest":
                    value = run.ended or run.created
                elif field == "runtime":
                    value = (run.ended or self.now) - (run.started or self.now)
                elif field in run.metrics:
                    value = run.metrics[field].last
                return value is None, value if value is not None else 0

            found.sort(key=place, reverse=name.startswith("-"))
        if view.group == "state":
            found.sort(key=lambda entry: entry[0])
        elif view.group:
            found.sort(key=lambda entry: str(getattr(entry[2], view.group)))
        return found

    def _groups(self, found: list[tuple[int, int, RunRecord]], view: View) -> tuple[Group, ...]:
        if not view.group:
            return ()
        counted: dict[str, int] = {}
        for number, _, run in found:
            name = GROUPS[number] if view.group == "state" else str(getattr(run, view.group))
            counted[name] = counted.get(name, 0) + 1
        return tuple(
            Group(key=name, title=TITLES.get(name, name or "–"), count=count)
            for name, count in counted.items()
        )

    def _counts(self) -> Counts:
        alive = [run for run in self.runs if run is not None]
        numbers = [group(run, self.now) for run in alive]
        return Counts(
            running=sum(
                run.active and number == 1 for run, number in zip(alive, numbers, strict=True)
            ),
            queued=numbers.count(2),
            needs_you=numbers.count(0),
            total=len(alive),
            archived=sum(run.archived for run in alive),
        )

    async def rows(self, keys: Sequence[int]) -> dict[int, RunRecord]:
        await self._pause("rows", len(keys))
        return {key: run for key in keys if (run := self.runs[key]) is not None}

    async def detail(self, key: int) -> RunRecord | None:
        await self._pause("detail", key)
        return self.runs[key]

    async def run(self, run_id: str) -> RunRecord | None:
        await self._pause("run", run_id)
        return next((run for run in self.runs if run and run.id == run_id), None)

    async def key_of(self, run_id: str) -> int | None:
        await self._pause("key_of", run_id)
        return next((k for k, run in enumerate(self.runs) if run and run.id == run_id), None)

    async def short_ids(self, run_ids: Collection[str]) -> dict[str, str]:
        await self._pause("short_ids")
        return {run_id: run_id[:5] for run_id in run_ids}

    async def names(self) -> Sequence[str]:
        await self._pause("names")
        alive = [run for run in self.runs if run is not None]
        found = [sorted({name for run in alive for name in run.tags})]
        found.append(sorted({name for run in alive for name in run.params}))
        return list(dict.fromkeys(name for names in found for name in names))

    async def places(self) -> Sequence[Place]:
        await self._pause("places")
        return self._places

    async def log_tail(self, run_id: str, size: int) -> bytes:
        await self._pause("log_tail", run_id)
        return self.logs.get(run_id, b"")[-size:]

    async def why_no_log(self, run_id: str) -> str:
        await self._pause("why_no_log", run_id)
        return self.no_log.get(run_id, "")

    async def curves(self, run_id: str, keys: Sequence[str]) -> Sequence[Curve]:
        await self._pause("curves", run_id)
        run = next((run for run in self.runs if run and run.id == run_id), None)
        if run is None:
            return ()
        steps = run.progress.step or 100
        return [
            fall(key, run.metrics[key], steps, seed=len(run.name) + number)
            for number, key in enumerate(keys)
            if key in run.metrics
        ]

    # ---------------------------------------------------------------------------------- RunActions

    def _key(self, run_id: str) -> int:
        return next(k for k, run in enumerate(self.runs) if run and run.id == run_id)

    async def spec(self, run_id: str) -> RunSpec | None:
        return None

    async def stop(self, run_ids: Sequence[str], grace: float | None) -> Sequence[Outcome]:
        await self._pause("stop", tuple(run_ids))
        for run_id in run_ids:
            key = self._key(run_id)
            run = self.runs[key]
            assert run is not None
            self.change(key, replace(run, state=State.STOPPING))
        return [Outcome(run_id=run_id) for run_id in run_ids]

    async def retry(self, run_ids: Sequence[str]) -> Sequence[Outcome]:
        await self._pause("retry", tuple(run_ids))
        for run_id in run_ids:
            key = self._key(run_id)
            run = self.runs[key]
            assert run is not None
            again = replace(run, state=State.STARTING, attempt=run.attempt + 1, ended=None,
                            started=None, reason="", exit_code=None, signal=None)  # fmt: skip
            self.change(key, again)
        return [Outcome(run_id=run_id) for run_id in run_ids]

    async def removal(self, run_ids: Sequence[str]) -> Removal:
        await self._pause("removal", tuple(run_ids))
        return Removal(size=1_234_000_000 * len(run_ids), artifacts=900_000_000 * len(run_ids))

    async def remove(self, run_ids: Sequence[str], *, keep_artifacts: bool) -> Sequence[Outcome]:
        await self._pause("remove", (tuple(run_ids), keep_artifacts))
        for run_id in run_ids:
            self.change(self._key(run_id), None)
        return [Outcome(run_id=run_id) for run_id in run_ids]

    async def tag(self, run_ids: Sequence[str], tags: Mapping[str, str | None]) -> None:
        await self._pause("tag", tuple(run_ids))
        for key in map(self._key, run_ids):
            run = self.runs[key]
            assert run is not None
            kept = {**run.tags, **tags}
            left = {name: value for name, value in kept.items() if value is not None}
            self.change(key, replace(run, tags=left))

    async def describe(
        self,
        run_id: str,
        *,
        name: str | None = None,
        tags: Mapping[str, str | None] | None = None,
        note: str | None = None,
    ) -> str:
        await self._pause("describe", run_id)
        if name == "":
            raise UsageError("A run needs a name.")
        key = self._key(run_id)
        run = self.runs[key]
        assert run is not None
        merged = {**run.tags, **(tags or {})}
        changed = replace(
            run,
            name=run.name if name is None else name,
            tags={key: value for key, value in merged.items() if value is not None},
            note=run.note if note is None else note,
        )
        taken = any(other is not None and other.name == name for other in self.runs)
        self.change(key, changed)
        return f"another run is called {name} too" if taken and name != run.name else ""

    async def looked(self, run_ids: Sequence[str]) -> None:
        await self._pause("looked", tuple(run_ids))
        for run_id in run_ids:
            key = self._key(run_id)
            run = self.runs[key]
            if run is not None:
                self.change(key, replace(run, looked_at=self.now))

    async def watch_fleet(self, every: float, tell: Callable[[FleetNews], None]) -> None:
        await self._pause("watch_fleet", every)
        runs = {run.id: run for run in self.runs if run is not None}
        self.watchers.append(tell)
        try:
            tell(FleetNews(places=self.fleet, runs=runs))
            await asyncio.Event().wait()
        finally:
            self.watchers.remove(tell)

    def say(self, *places: PlaceDevices, gone: Sequence[str] = ()) -> None:
        """Places have said something new of their devices."""
        for tell in self.watchers:
            tell(FleetNews(places=places, gone=gone))

    async def refresh(self) -> None:
        await self._pause("refresh")

    async def demo(self) -> None:
        await self._pause("demo")
        self.add(make_run(90, "demo-lr3e-4", State.STARTING, age=1))
        self.add(make_run(91, "demo-lr1e-4", State.QUEUED, age=1, reason="waits for demo-lr3e-4"))

    async def aclose(self) -> None:
        return


# ------------------------------------------------------------------------------------------ worlds


def fall(key: str, summary: MetricSummary, steps: int, seed: int = 0) -> Curve:
    """A loss that falls as losses do, ending at the summary's last value."""
    noise = random.Random(seed)
    end = summary.last if summary.last is not None and math.isfinite(summary.last) else 1.0
    count = 30 if key.startswith(("eval", "val")) else 220
    values = []
    for number in range(count):
        share = number / (count - 1)
        base = end + end * 0.9 * (math.exp(-5 * share) - math.exp(-5))
        values.append(base * (1 + noise.uniform(-0.02, 0.02) * (1 - share)))
    return Curve(key=key, steps=[steps * n / (count - 1) for n in range(count)], values=values)


SPARKS = ("665443433222111100001000", "654443222211111000110000", "655443343222121110001011")


def metric(key: str, last: float | None, step: int, now: float, spark: int = 0) -> MetricSummary:
    """A metric's summary, its newest value two seconds old."""
    finite = last is not None and math.isfinite(last)
    low = last * 0.996 if last is not None and finite else None
    return MetricSummary(
        key=key, count=step, first=2.5, last=last, last_step=step, last_time=now - 2, min=low,
        min_step=max(0, step - 20), max=2.5, max_step=0, spark=SPARKS[spark % len(SPARKS)],
        source="stdout", nonfinite=0 if finite else 7, broken_step=None if finite else step - 6,
    )  # fmt: skip


def make_run(
    number: int,
    name: str,
    state: State,
    *,
    now: float = NOW,
    age: float = 3600.0,
    step: int | None = None,
    total: int | None = None,
    loss: float | None = None,
    eta: float | None = None,
    **more: object,
) -> RunRecord:
    """A record as a list shows it: `age` is how long it runs, or ago that it ended."""
    over = state.terminal
    metrics = {}
    if loss is not None and step is not None:
        metrics["loss"] = metric("loss", loss, step, now, number)
        if step > 200:
            metrics["eval_loss"] = metric("eval_loss", loss * 1.051, step, now, number + 1)
            metrics["grad_norm"] = metric("grad_norm", 0.84, step, now)
            metrics["learning_rate"] = metric("learning_rate", 8.7e-5, step, now)
            metrics["tokens_per_second"] = metric("tokens_per_second", 41_234.0, step, now)
    fraction = step / total if step is not None and total else None
    record = RunRecord(
        id=f"0k{number:02d}v8c4m2qe",
        name=name,
        state=state,
        observed_at=now - 2,
        created=now - age - 60 - (7200 if over else 0),
        started=None if state in (State.NEW, State.QUEUED) else now - age - (7200 if over else 0),
        ended=now - age if over else None,
        host="box",
        pid=4700 + number if not over else None,
        argv=("python", "sft_lora.py", "--config", "run.yaml", "--seed", str(number)),
        cwd="/home/user1/project",
        project="project",
        progress=Progress(step=step, total=total, fraction=fraction, eta=eta, at=now - 2),
        main="loss" if metrics else None,
        broken_at=None if loss is None or math.isfinite(loss) else now - 60,
        metrics=metrics,
        log_bytes=1_240_000 + number if step else None,
    )
    return watched(replace(record, **more))  # type: ignore[arg-type]


def watched(run: RunRecord) -> RunRecord:
    """The run with what the index notes of it: when it fell into trouble, and when it is silent."""
    own = [m for key, m in run.metrics.items() if not key.startswith(("system/", "__"))]
    newest = max([m.last_time for m in own if m.last_time], default=None)
    silent_from = silent_after(run, newest, max([m.count for m in own], default=None))
    troubled_at = (run.troubled_at or run.observed_at) if run.trouble else None
    return replace(run, silent_from=silent_from, troubled_at=troubled_at)


def small_world(now: float = NOW) -> list[RunRecord]:
    """What the Runs screen is designed for: something of everything."""
    h, m = 3600.0, 60.0
    lora = {"sft": ""}
    return [
        make_run(1, "nanogpt-big", State.FAILED, age=3 * h + 4 * m, step=412, total=5000, loss=3.1,
                 exit_code=1, reason="CUDA out of memory at step 412 · 79.1 of 80.0 GB"),
        make_run(2, "qwen3b-sft-s2", State.RUNNING, age=86 * m, step=1204, total=8000,
                 loss=math.nan, eta=2 * h),
        make_run(3, "sweep-07", State.RUNNING, age=131 * m, step=2140, total=8000, loss=1.9,
                 reach=Reach.DOWN, observed_at=now - 6 * m, backend="gpu2"),
        make_run(4, "llama1b-lora-lr3e4", State.RUNNING, age=64 * m, step=3120, total=8000,
                 loss=1.284, eta=102 * m, tags={**lora, "lr": "3e-4"}),
        make_run(5, "llama1b-lora-lr1e4", State.RUNNING, age=58 * m, step=2990, total=8000,
                 loss=1.391, eta=112 * m, tags={**lora, "lr": "1e-4"}),
        make_run(6, "llama1b-lora-lr1e3", State.RUNNING, age=57 * m, step=2960, total=8000,
                 loss=1.342, eta=113 * m, tags={**lora, "lr": "1e-3"}),
        make_run(7, "qwen3b-dpo-beta01", State.RUNNING, age=22 * m, step=710, total=1000,
                 loss=0.5127, eta=9 * m, tags={"dpo": ""}),
        make_run(8, "vit-b16-aug-s0", State.RUNNING, age=400 * m, step=93000, total=100000,
                 loss=2.071, eta=31 * m, tags={"vision": "", "s": "0"}, reach=Reach.STALE,
                 observed_at=now - 40),
        make_run(9, "vit-b16-aug-s1", State.STARTING, age=20, reason="importing torch"),
        make_run(10, "llama1b-dpo", State.QUEUED, age=12 * m,
                 reason="waits for llama1b-lora-lr3e4 · which has 1h42 left"),
        make_run(11, "vit-b16-aug-s2", State.QUEUED, age=31 * m,
                 reason="waits for vit-b16-aug-s1"),
        make_run(12, "distil-eval", State.SUCCEEDED, age=2 * h, step=400, total=400, loss=0.9912,
                 tags={"eval": ""}),
        make_run(13, "base-pretrain", State.SUCCEEDED, age=5 * h, step=150, total=150, loss=1.277,
                 tags={"demo": ""}),
        make_run(14, "vit-b16-base-s0", State.SUCCEEDED, age=7 * h, step=9000, total=9000,
                 loss=2.13, tags={"vision": "", "s": "0"}),
        make_run(15, "vit-b16-base-s1", State.SUCCEEDED, age=7 * h + 60, step=9000, total=9000,
                 loss=2.127, tags={"vision": "", "s": "1"}),
        make_run(16, "vit-b16-base-s2", State.SUCCEEDED, age=7 * h + 120, step=9000, total=9000,
                 loss=2.134, tags={"vision": "", "s": "2"}),
        make_run(17, "llama1b-full-try", State.CANCELLED, age=8 * h, step=180, total=1500,
                 loss=1.902, tags=lora),
        make_run(18, "sweep-06", State.FAILED, age=9 * h, step=88, total=1000, loss=2.2,
                 exit_code=137, looked_at=now - h, reason="exit 137, SIGKILL · host out of memory"),
        make_run(19, "tokenize-corpus", State.SUCCEEDED, age=10 * h),
        make_run(20, "eval-harness", State.TIMEOUT, age=11 * h, looked_at=now - h,
                 reason="stopped by its time limit of 2 h"),
        make_run(21, "old-baseline", State.SUCCEEDED, age=40 * h, step=100, total=100, loss=1.5),
    ]  # fmt: skip


def troubled_world(now: float = NOW) -> list[RunRecord]:
    """Runs that go on although something is wrong with them, and one merely not heard of."""
    wrong = [
        "its supervisor was killed; it runs on, exit code will not be known",
        "its supervisor is stopped (signal STOP)",
        "its run directory was deleted; it runs on, log and exit code are lost",
        "input/output error",
    ]
    runs = [
        watched(replace(run, reason=reason))
        for run, reason in zip(small_world(now)[3:7], wrong, strict=True)
    ]
    broken = watched(replace(small_world(now)[1], reason=wrong[0]))
    silent = replace(small_world(now)[7], reason="no heartbeat from gpu2 for 40 s")
    return [broken, *runs, make_run(30, "bare", State.RUNNING, reason=wrong[1]), silent]


def waiting_world(now: float = NOW) -> list[RunRecord]:
    """Jobs of a cluster, of which most wait, each for another reason in the cluster's own words."""
    m = 60.0
    waits = [
        ("llama3b-dpo", 22 * m, "waits for priority: 14 jobs before it; Slurm expects it "
         "in 2.0 h"),
        ("llama3b-sft", 31 * m, "waits for resources: it is next, once 8 GPUs on 2 nodes are free"),
        ("vit-sweep-4", 3 * m, "waits for other tasks of its array: so many may run at once"),
        ("eval-after", 40 * m, "waits for run llama3b-base"),
        ("whisper-l", 90 * m, "requeued: waits: a node that it needs is not available (n07)"),
        ("mt5-big", 12 * m, "the limit of its QOS for GPUs a user is reached (QOSMaxGRESPerUser); "
         "Slurm expects it in 40 min"),
        ("held", 600 * m, "is held by its user: scontrol release lets it go"),
    ]  # fmt: skip
    base = make_run(40, "llama3b-base", State.RUNNING, age=58 * m, step=2990, total=8000,
                    loss=1.391, eta=112 * m, backend="lab")  # fmt: skip
    by_hand = make_run(50, "by hand", State.QUEUED, age=5 * m, backend="lab", foreign=True,
                       host="", pid=None, native_id="4300", argv=(), cwd="",
                       reason="waits for priority: 3 jobs before it")  # fmt: skip
    queued = [
        make_run(41 + number, name, State.QUEUED, age=age, reason=reason, backend="lab",
                 host="", pid=None, native_id=str(4217 + number))
        for number, (name, age, reason) in enumerate(waits)
    ]  # fmt: skip
    return [base, *queued, by_hand]


LOG = (
    b"".join(
        b"step %d loss %.3f grad_norm 0.84 lr 8.7e-05\n" % (2900 + 10 * n, 1.42 - 0.003 * n)
        for n in range(10)
    )
    + b"warning: 3 samples longer than 4096 tokens were cut\nstep 2990 loss 1.391 grad_norm 0.84\n"
)


def small_services(now: float = NOW) -> FakeServices:
    """`small_world` with logs and two places, one of which does not answer."""
    runs = small_world(now)
    return FakeServices(
        runs,
        now=now,
        logs={run.id: LOG for run in runs if run.state is not State.QUEUED},
        places=(
            Place(name="local", seen_at=now),
            Place(name="gpu2", reach=Reach.DOWN, seen_at=now - 360),
        ),
    )


def crowd(count: int, now: float = NOW, seed: int = 0) -> list[RunRecord]:
    """Many runs, like those of a lab of several years: most are over."""
    dice = random.Random(seed)
    runs = []
    names = ("llama1b-lora", "qwen3b-dpo", "vit-b16-aug", "nanogpt", "distil-eval")
    over = (State.SUCCEEDED, State.SUCCEEDED, State.SUCCEEDED, State.FAILED, State.CANCELLED)
    for number in range(count):
        busy = number % 2000 < 20
        state = (State.RUNNING if busy else over[number % 5]) if number % 977 else State.QUEUED
        total = 1000 + number % 7 * 1000
        step = dice.randrange(1, total) if state is not State.SUCCEEDED else total
        age = number * 300.0 + dice.random() * 300
        runs.append(
            RunRecord(
                id=f"{number:012d}",
                name=f"{names[number % 5]}-{number:06d}",
                argv=("python", "train.py"),
                state=state,
                created=now - age - 7300,
                started=now - age - 7200,
                ended=None if not state.terminal else now - age,
                looked_at=now,
                observed_at=now - 1,
                progress=Progress(step=step, total=total, fraction=step / total, eta=900.0),
                main="loss",
                metrics={
                    "loss": MetricSummary(
                        key="loss",
                        count=step,
                        last=dice.random() * 3,
                        last_step=step,
                        spark=SPARKS[number % 3],
                    )
                },
                tags={"sft": "", "lr": "3e-4"},
            )
        )
    return runs
