"""A backend in memory: the whole protocol, no process, no file.

Screens and services are tested on it, and it passes the conformance suite itself, so that what is
true of it is true of a real one. `Place` is where the jobs are; any number of `FakeBackend`s may
look at one, as several consoles look at one machine. A job is what `jobs.argv` describes; any other
program is missing, unless it was put there with `Place.put`.

    place = Place()
    backend = FakeBackend("gpu1", place)
    place.reachable = False     # every method raises Unreachable, open streams break
    backend.delay = 5.0         # every method takes five seconds
    place.put("0123456789ab", Status(state=State.RUNNING), log=b"step 1\\n")
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from tests.conformance import jobs

from traindeck.backends.base import (
    PROTOCOL,
    BackendError,
    Capability,
    Facts,
    FileEntry,
    FilePiece,
    Health,
    JobRef,
    LogChunk,
    LogStat,
    Option,
    Plan,
    Reach,
    RunSpec,
    State,
    Status,
    Tree,
    Unreachable,
    UsageError,
    Wanted,
    encode,
    plan_digest,
)
from traindeck.backends.status import Evidence, Exit, status_of
from traindeck.backends.trees import entries

PYTHON = "/fake/bin/python3"
CHUNK = 65_536
ID = re.compile(r"[0-9a-hjkmnp-tv-z]{12}")


@dataclass(eq=False)
class Attempt:
    """One try of a run: what a run directory holds of it."""

    number: int
    claimed_at: float
    phase: str = "claimed"
    reason: str = ""
    logs: dict[int, bytearray] = field(default_factory=lambda: {0: bytearray()})
    started: float | None = None
    exit: Exit | None = None
    fixed: Status | None = None
    cancel: float | None = None
    grace: float = 0.0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def over(self) -> bool:
        if self.fixed is not None:
            return self.fixed.state.terminal
        return self.exit is not None and self.exit.next is None

    def tell(self) -> None:
        """Wake whoever waits for anything to change."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def write(self, data: bytes, rank: int = 0) -> None:
        self.logs.setdefault(rank, bytearray()).extend(data)
        self.tell()


@dataclass(eq=False)
class Run:
    """A run directory."""

    plan: Plan
    made_at: float
    attempts: dict[int, Attempt] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def last(self) -> Attempt | None:
        return self.attempts[max(self.attempts)] if self.attempts else None


class Place:
    """Where jobs are. Belongs to one event loop; `close` ends its jobs.

    Attributes:
        reachable: False makes every backend on it raise `Unreachable`.
        trips: How often the place was asked anything.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.runs: dict[str, Run] = {}
        self.kept: dict[str, dict[str, bytes]] = {}
        self.trips = 0
        self._reachable = True
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def reachable(self) -> bool:
        return self._reachable

    @reachable.setter
    def reachable(self, value: bool) -> None:
        self._reachable = value
        for run in self.runs.values():
            for attempt in run.attempts.values():
                attempt.tell()

    def put(
        self,
        run_id: str,
        status: Status | None = None,
        *,
        log: bytes = b"",
        files: Mapping[str, bytes] | None = None,
        spec: RunSpec | None = None,
    ) -> Attempt:
        """Put a run there as if it had been started long ago, in a state that stays until it is
        put again. Writing to the returned attempt extends its log."""
        status = status or Status(state=State.RUNNING)
        plan = Plan(spec=replace(spec or RunSpec(name=run_id), run_id=run_id))
        run = self.runs.setdefault(run_id, Run(plan, self.clock()))
        attempt = run.attempts.setdefault(status.attempt, Attempt(status.attempt, self.clock()))
        attempt.fixed = status
        run.files.update(files or {})
        attempt.write(log)
        return attempt

    async def close(self) -> None:
        """End what runs here. Idempotent."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------------------------ its agent

    def start(self, run: Run, number: int) -> Attempt:
        """Claim an attempt and supervise it."""
        attempt = run.attempts[number] = Attempt(number, self.clock())
        attempt.logs = {rank: bytearray() for rank in range(run.plan.spec.resources.nodes)}
        task = asyncio.get_running_loop().create_task(self._supervise(run, attempt))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return attempt

    async def _supervise(self, run: Run, attempt: Attempt) -> None:
        spec = run.plan.spec
        if spec.after and not await self._depend(run, attempt):
            return
        if attempt.cancel is not None:
            self._record(attempt, Exit(cause="cancel", ended=self.clock()))
            return
        attempt.phase, attempt.started = "running", self.clock()
        leader = _Leader(self, run, attempt)
        cause = "self"
        try:
            cause = await self._watch(spec, attempt, leader)
            attempt.phase = "stopping"
            attempt.tell()
            if leader.daemon is not None and not spec.keep_background:
                # It ignores TERM, so it lives through the whole grace.
                await self._wait(leader.daemon, _grace(spec, attempt))
                leader.daemon.cancel()
        finally:
            leader.kill()
        ended = Exit(
            cause="launch" if leader.missing else cause,
            exit_code=leader.code,
            signal=leader.signal,
            started=attempt.started,
            ended=self.clock(),
            reason=leader.missing,
            host="fake",
        )
        failed = ended.cause == "self" and ended.exit_code != 0
        following = attempt.number + 1
        repeats = failed and attempt.number < spec.limits.retries and attempt.cancel is None
        if repeats and following not in run.attempts:
            self._record(attempt, replace(ended, next=following))
            self.start(run, following)
        self._record(attempt, ended)

    async def _watch(self, spec: RunSpec, attempt: Attempt, leader: _Leader) -> str:
        """Wait for the leader's end, bring it about if asked to. Returns the cause."""
        asked = asyncio.get_running_loop().create_task(attempt.asked.wait())
        try:
            await asyncio.wait(
                {leader.task, asked}, timeout=spec.limits.time, return_when="FIRST_COMPLETED"
            )
            if leader.task.done():
                return "self"
            cause = "cancel" if asked.done() else "timeout"
            leader.term()
            attempt.phase = "stopping"
            since = time.monotonic()
            while not leader.task.done():
                left = since + _grace(spec, attempt) - time.monotonic()
                if left <= 0:
                    leader.kill()
                await self._wait(leader.task, min(max(left, 0), 0.02))
            return cause
        finally:
            asked.cancel()

    async def _depend(self, run: Run, attempt: Attempt) -> bool:
        spec = run.plan.spec
        attempt.phase = "waiting"
        left = list(spec.after)
        while left and attempt.cancel is None:
            attempt.reason = f"waits for {', '.join(f'run {run}' for run in left)}"
            attempt.tell()
            for other in list(left):
                before = self.runs.get(other)
                last = before.last if before else None
                if last is not None and not last.over:
                    continue
                ended = last.exit if last else None
                good = ended is not None and ended.cause == "self" and ended.exit_code == 0
                if not good and not (spec.after_any and last is not None):
                    why = f"run {other} " + ("did not succeed" if last else "is not there")
                    self._record(attempt, Exit(cause="dependency", ended=self.clock(), reason=why))
                    return False
                left.remove(other)
            if left:
                await asyncio.sleep(0.01)
        attempt.reason = ""
        return True

    def _record(self, attempt: Attempt, record: Exit) -> None:
        attempt.exit, attempt.phase = record, "ended"
        attempt.tell()

    @staticmethod
    async def _wait(what: Any, timeout: float) -> None:
        task = asyncio.ensure_future(what)
        await asyncio.wait({task}, timeout=timeout)
        if not isinstance(what, asyncio.Task):
            task.cancel()


def _grace(spec: RunSpec, attempt: Attempt) -> float:
    return attempt.grace if attempt.cancel is not None else spec.limits.grace


class _Leader:
    """The process a job would be: does its words, takes signals."""

    def __init__(self, place: Place, run: Run, attempt: Attempt) -> None:
        self.run, self.attempt = run, attempt
        self.code: int | None = None
        self.signal: int | None = None
        self.missing = ""
        self.daemon: asyncio.Task[None] | None = None
        self._on_term: str | None = None
        self._ignores = False
        loop = asyncio.get_running_loop()
        self._place = place
        self.task = loop.create_task(self._main())

    def term(self) -> None:
        if self._ignores or self.task.done():
            return
        if self._on_term is not None:
            self._line(self._on_term)
            self.code = 0
        else:
            self.signal = int(signal.SIGTERM)
        self.task.cancel()

    def kill(self) -> None:
        if not self.task.done():
            self.signal = int(signal.SIGKILL)
            self.task.cancel()
        if self.daemon is not None and not self.run.plan.spec.keep_background:
            self.daemon.cancel()

    async def _main(self) -> None:
        # Cancelled means killed: term() and kill() have noted how.
        with suppress(asyncio.CancelledError):
            await self._perform()

    async def _perform(self) -> None:
        spec = self.run.plan.spec
        todo = jobs.words(spec.argv)
        if todo is None or spec.argv[0] != PYTHON:
            self.code, self.missing = 127, f"{spec.argv[0]}: no such program"
            return
        env = {
            **self.run.plan.env,
            **{name: self.run.secrets[name] for name in spec.secrets},
            "TRAINDECK_RUN": f"{spec.run_id}/{self.attempt.number}",
        }
        for word in todo:
            name, _, value = word.partition(":")
            await asyncio.sleep(0)
            match name:
                case "out" | "err":
                    self._line(value)
                case "noise":
                    seed, size = value.split(":")
                    for piece in jobs.pieces(int(seed), int(size)):
                        self.attempt.write(piece)
                        await asyncio.sleep(0)
                case "env":
                    self._line(f"{value}={env.get(value, '(not set)')}")
                case "sha":
                    self._line(hashlib.sha256(env.get(value, "").encode()).hexdigest())
                case "cwd":
                    self._line(spec.cwd)
                case "stdin":
                    self._line("stdin holds 0 bytes")
                case "pause":
                    await asyncio.sleep(float(value))
                case "hold":
                    await asyncio.Event().wait()
                case "ignore-term":
                    self._ignores = True
                case "on-term":
                    self._on_term = value
                case "daemon":
                    self.daemon = asyncio.get_running_loop().create_task(self._tick())
                case "exit":
                    self.code = int(value)
                    return
                case "signal":
                    self.signal = int(value)
                    return
        self.code = 0

    async def _tick(self) -> None:
        while True:
            self._line("tick")
            await asyncio.sleep(0.02)

    def _line(self, text: str) -> None:
        self.attempt.write(os.fsencode(text) + b"\n")


def laid_out(tree: Tree) -> dict[str, bytes]:
    """The files of a tree and its folders (with a `/` behind), below `code/`."""
    if tree.content is None:
        raise BackendError("The code of this plan is not here any more; it was not sent.")
    files: dict[str, bytes] = {}
    todo = [(tree.digest, "code/")]
    while todo:
        digest, path = todo.pop()
        data = tree.content.blob(digest).read()
        if hashlib.sha256(data).hexdigest() != digest:
            raise BackendError(f"{path} changed after the plan was made; it was not sent.")
        if not path.endswith("/"):
            files[path] = data
            continue
        inside = entries(data)
        if not inside:
            files[path] = b""
        todo += [(inner, path + name + "/" * (kind == "tree")) for name, kind, inner, _ in inside]
    return files


class FakeBackend:
    """A backend on a `Place`.

    Args:
        name: What the user calls it.
        place: Where its jobs are; one of its own if not given.
        delay: Seconds that every method takes.
    """

    protocol = PROTOCOL
    kind = "fake"
    capabilities = (
        Capability.SEEKABLE_LOGS
        | Capability.FILES
        | Capability.DURABLE_RECORD
        | Capability.HERE
        | Capability.INHERITS
    )
    settle = 0.0
    options_schema: Mapping[str, Option] = {
        "partition": Option(help="Where to run.", choices=("cpu", "gpu"))
    }

    def __init__(self, name: str = "fake", place: Place | None = None, delay: float = 0.0) -> None:
        self.name = name
        self.place = place or Place()
        self.delay = delay

    async def _visit(self) -> None:
        """One round trip to the place."""
        self.place.trips += 1
        await asyncio.sleep(self.delay)
        self._check()

    def _check(self) -> None:
        if not self.place.reachable:
            raise Unreachable(f"{self.name} does not answer.", "Check the connection.")

    async def probe(self) -> Health:
        try:
            await self._visit()
        except Unreachable as error:
            checks = ((False, error.what),)
            return Health(
                reach=Reach.DOWN, observed_at=self.place.clock(), checks=checks, note=error.what
            )
        return Health(
            observed_at=self.place.clock(),
            version="fake 1",
            clock_skew=0.0,
            checks=((True, "it answers"),),
        )

    async def survey(self, spec: RunSpec) -> Facts:
        await self._visit()
        program = spec.argv[0] if spec.argv and spec.argv[0] == PYTHON else None
        return Facts(
            observed_at=self.place.clock(),
            home="/fake/home/.traindeck",
            host="fake",
            boot_id="fake",
            python=PYTHON,
            python_version="3.11.0",
            agent="0" * 16,
            devices_total=0,
            program=program,
        )

    def plan(self, spec: RunSpec, facts: Facts) -> Plan:
        unknown = sorted(set(spec.options) - set(self.options_schema))
        if unknown:
            raise UsageError(f"`{self.name}` has no option {unknown[0]!r}.")
        if not spec.argv:
            raise UsageError("There is no command to run.", "Give one after `--`.")
        if spec.resources.gpus:
            raise UsageError(f"--gpus {spec.resources.gpus}: {facts.host} has no GPU.")
        warnings = facts.notes
        if facts.program is None:
            warnings = (*warnings, f"{spec.argv[0]} was not found on {facts.host}")
        plan = Plan(
            backend=self.name,
            spec=spec,
            files=dict(sorted(spec.files.items())),
            argv=spec.argv,
            env=dict(spec.env),
            warnings=warnings,
        )
        return replace(plan, digest=plan_digest(plan))

    async def submit(self, plan: Plan, secrets: Mapping[str, str] | None = None) -> JobRef:
        if plan.digest != plan_digest(plan):
            raise BackendError("This plan was changed after it was made; it was not sent.")
        spec = plan.spec
        if not ID.fullmatch(spec.run_id):
            raise BackendError(f"{spec.run_id!r} is not a run id.")
        given = dict(secrets or {})
        for name in spec.secrets:
            if name not in given:
                raise UsageError(f"The secret {name} has no value here.", f"Set {name}.")
        for other in spec.after:
            if other == spec.run_id or other not in self.place.runs:
                raise BackendError(f"There is no run {other} on {self.name} to wait for.")
        files = {path: blob.read() for path, blob in plan.files.items()}
        for path, data in files.items():
            if hashlib.sha256(data).hexdigest() != plan.files[path].digest:
                raise BackendError(f"{path} changed after the plan was made; it was not sent.")
        if spec.code.tree is not None and spec.attempt == 0:
            files.update(laid_out(spec.code.tree))
        await self._visit()
        run = self.place.runs.get(spec.run_id)
        if run is None and spec.attempt > 0:
            raise BackendError(f"There is no run {spec.run_id} to try again on {self.name}.")
        if run is None:
            run = self.place.runs[spec.run_id] = Run(plan, self.place.clock())
            run.files.update(files)
        elif spec.attempt == 0 and run.plan.digest != plan.digest:
            raise BackendError(f"There is a run {spec.run_id} with another plan on {self.name}.")
        await asyncio.sleep(0)
        if spec.attempt not in run.attempts:
            last = run.last
            if spec.attempt != (0 if last is None else last.number + 1):
                raise BackendError(f"Run {spec.run_id} has no attempt {spec.attempt - 1}.")
            if last is not None and not last.over:
                raise BackendError(f"Attempt {last.number} of run {spec.run_id} is not over.")
            run.secrets = given
            self.place.start(run, spec.attempt)
        await asyncio.sleep(0)
        return self._ref(spec.run_id, spec.attempt)

    async def find(self, keys: Collection[tuple[str, int]] | None = None) -> list[JobRef]:
        await self._visit()
        if keys is None:
            found = [(i, r.last.number) for i, r in self.place.runs.items() if r.last is not None]
        else:
            runs = self.place.runs
            found = [(i, n) for i, n in dict.fromkeys(keys) if i in runs and n in runs[i].attempts]
        return [self._ref(run_id, number) for run_id, number in found]

    async def poll(self, refs: Collection[JobRef]) -> dict[JobRef, Status]:
        if not refs:
            return {}
        await self._visit()
        return {ref: self._status(ref) for ref in refs}

    def _status(self, ref: JobRef) -> Status:
        now = self.place.clock()
        run = self.place.runs.get(ref.run_id)
        last = run.last if run else None
        if last is not None and last.fixed is not None:
            return replace(last.fixed, observed_at=now, log_bytes=len(last.logs[0]))
        evidence = Evidence(found=run is not None, same_host=True)
        if run is not None:
            evidence = replace(evidence, age=now - run.made_at, host="fake", alive=False)
        if last is not None:
            evidence = replace(
                evidence,
                attempt=last.number,
                phase=last.phase,
                reason=last.reason,
                alive=not last.over,
                supervised=not last.over,
                exit=last.exit,
                started=last.started,
                log_bytes=len(last.logs[0]),
                cancel_requested=last.cancel,
            )
        return status_of(evidence, ref.attempt, now)

    @asynccontextmanager
    async def logs(
        self, ref: JobRef, *, rank: int = 0, cursor: str = "", follow: bool = True
    ) -> AsyncIterator[AsyncIterator[LogChunk]]:
        offset, at, identity = cursor.partition("@")
        if cursor and (not (offset.isascii() and offset.isdecimal()) or (at and not identity)):
            raise UsageError(f"{cursor!r} is no log cursor of this backend.")
        await self._visit()
        attempt = self._attempt(ref)
        if at and identity != self._identity(ref, rank):
            offset = str(1 << 62)  # beyond any end: it is cut
        stream = self._follow(attempt, rank, int(offset or 0), follow, self._identity(ref, rank))
        try:
            yield stream
        finally:
            await stream.aclose()

    async def _follow(
        self, attempt: Attempt, rank: int, position: int, follow: bool, identity: str
    ) -> AsyncIterator[LogChunk]:
        while True:
            changed, over = attempt.changed, attempt.over
            log = attempt.logs.get(rank, bytearray())
            cut = position > len(log)
            if cut:
                position = 0
            data = bytes(log[position : position + CHUNK])
            position += len(data)
            end = position >= len(log)
            eof = end and (over or not follow)
            if data or eof or cut:
                yield LogChunk(data=data, cursor=str(position), eof=eof, cut=cut, identity=identity)
            if eof:
                return
            if end:
                await changed.wait()
            self._check()

    async def cancel(self, ref: JobRef, *, grace: float | None = None) -> None:
        await self._visit()
        run = self.place.runs.get(ref.run_id)
        if run is None or ref.attempt not in run.attempts:
            raise self._unknown(ref)
        last = run.last
        assert last is not None
        if last.over:
            return
        if last.fixed is not None:
            last.fixed = replace(last.fixed, state=State.CANCELLED)
        wanted = run.plan.spec.limits.grace if grace is None else grace
        last.grace = wanted if last.cancel is None else min(wanted, last.grace)
        last.cancel = last.cancel or self.place.clock()
        last.asked.set()
        last.tell()

    async def aclose(self) -> None:
        """Nothing is held. The place and its jobs go on."""

    # ------------------------------------------------------------------------ SeekableLogs

    async def log_stat(self, ref: JobRef, rank: int = 0) -> LogStat:
        await self._visit()
        attempt = self._attempt(ref)
        size = len(attempt.logs.get(rank, b""))
        return LogStat(size=size, identity=self._identity(ref, rank), ended=attempt.over)

    @staticmethod
    def _identity(ref: JobRef, rank: int) -> str:
        return f"{ref.run_id}/{ref.attempt}/{rank}"

    async def read_at(self, ref: JobRef, rank: int, offset: int, size: int) -> bytes:
        await self._visit()
        return bytes(self._attempt(ref).logs.get(rank, bytearray())[offset : offset + size])

    async def find_in_log(
        self, ref: JobRef, rank: int, needle: bytes, *, offset: int, backward: bool = False
    ) -> int | None:
        await self._visit()
        log = self._attempt(ref).logs.get(rank, bytearray())
        end = offset + len(needle) - 1
        at = log.rfind(needle, 0, end) if backward else log.find(needle, offset)
        return None if at < 0 else at

    # ------------------------------------------------------------------------------- Files

    async def list_files(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        await self._visit()
        files = self._files(ref)
        inside = f"{path}/" if path else ""
        if path and not any(name.startswith(inside) for name in files):
            raise BackendError(f"Run {ref.run_id} has no directory {path}.")
        entries: dict[str, FileEntry] = {}
        for name, data in files.items():
            if name.startswith(inside):
                first, below, _ = name[len(inside) :].partition("/")
                if first:
                    entries[first] = FileEntry(
                        path=inside + first, size=0 if below else len(data), is_dir=bool(below)
                    )
        return sorted(entries.values(), key=lambda entry: entry.path)

    async def read_file(self, ref: JobRef, path: str, offset: int, size: int) -> bytes:
        await self._visit()
        files = self._files(ref)
        if path not in files:
            raise BackendError(f"Run {ref.run_id} has no file {path}.")
        return files[path][offset : offset + size]

    async def list_below(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        await self._visit()
        files = self._files(ref)
        if path in files:
            return [FileEntry(path=path, size=len(files[path]))]
        inside = f"{path}/" if path else ""
        found: dict[str, FileEntry] = {}
        for name, data in sorted(files.items()):
            if name.startswith(inside):
                parts = name[len(inside) :].split("/")
                for depth in range(1, len(parts)):
                    folder = inside + "/".join(parts[:depth])
                    found.setdefault(folder, FileEntry(path=folder, is_dir=True))
                if parts[-1]:
                    found[name] = FileEntry(path=name, size=len(data))
        if path and not found:
            raise BackendError(f"Run {ref.run_id} has no directory {path}.")
        return list(found.values())

    @asynccontextmanager
    async def fetch(
        self, ref: JobRef, wanted: Sequence[Wanted]
    ) -> AsyncIterator[AsyncIterator[FilePiece]]:
        await self._visit()
        files = self._files(ref)

        async def pieces() -> AsyncIterator[FilePiece]:
            for file in wanted:
                data = files.get(file.path)
                if data is None:
                    yield FilePiece(path=file.path, end=True, error="It is not there.")
                    continue
                same = file.modified in (None, 0.0) and file.offset <= len(data)
                at = file.offset if same else 0
                while True:
                    self._check()
                    piece = data[at : at + CHUNK]
                    end = at + len(piece) == len(data)
                    yield FilePiece(path=file.path, offset=at, data=piece, size=len(data), end=end)
                    if end:
                        break
                    at += len(piece)

        yield pieces()

    async def remove(self, ref: JobRef, *, keep: Sequence[str] = ()) -> int:
        await self._visit()
        run = self.place.runs.get(ref.run_id)
        if run is None:
            return 0
        if run.last is not None and not run.last.over:
            raise BackendError(f"Run {ref.run_id} is not over.", "Stop it first.")
        files = self._files(ref)
        kept = {n: d for n, d in files.items() if n.split("/")[0] in keep}
        del self.place.runs[ref.run_id]
        if kept:
            self.place.kept[ref.run_id] = kept
        return sum(map(len, files.values())) - sum(map(len, kept.values()))

    # ------------------------------------------------------------------------------ inside

    def _ref(self, run_id: str, attempt: int) -> JobRef:
        return JobRef(backend=self.name, run_id=run_id, attempt=attempt)

    def _unknown(self, ref: JobRef) -> BackendError:
        return BackendError(f"{self.name} knows no attempt {ref.attempt} of run {ref.run_id}.")

    def _attempt(self, ref: JobRef) -> Attempt:
        run = self.place.runs.get(ref.run_id)
        if run is None or ref.attempt not in run.attempts:
            raise self._unknown(ref)
        return run.attempts[ref.attempt]

    def _files(self, ref: JobRef) -> dict[str, bytes]:
        run = self.place.runs.get(ref.run_id)
        if run is None:
            if ref.run_id in self.place.kept:
                return self.place.kept[ref.run_id]
            raise self._unknown(ref)
        files = {
            "run.json": json.dumps({"spec": encode(run.plan.spec)}).encode(),
            "plan/plan.json": json.dumps(encode(run.plan)).encode(),
            **run.files,
        }
        for number, attempt in run.attempts.items():
            for rank, log in attempt.logs.items():
                files[f"attempts/{number}/logs/{rank}.log"] = bytes(log)
        return files
