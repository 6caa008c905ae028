"""The backend: jobs on a Slurm cluster, through the host that Slurm's commands are on.

A run is its run directory, as everywhere: our agent is the batch step, so that log, metrics and the
exit record are where they always are, and Slurm's word comes second (status.py). Nothing here is
kept that could be lost: what a poll remembers only saves the next one a question.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

from traindeck.backends.base import (
    PROTOCOL,
    AgentChannel,
    BackendError,
    Capability,
    Connection,
    Facts,
    FileEntry,
    FilePiece,
    Grown,
    Health,
    Host,
    JobRef,
    LinkState,
    Listener,
    LogChunk,
    LogStat,
    Look,
    Option,
    Plan,
    Reach,
    RunSpec,
    State,
    Status,
    Tail,
    Terminal,
    TerminalSize,
    Unreachable,
    UsageError,
    Wanted,
    decode,
    encode,
)
from traindeck.backends.process import SUBMIT_TIMEOUT, ProcessBackend
from traindeck.backends.slurm import (
    arrays,
    depends,
    listing,
    planning,
    script,
    text,
)
from traindeck.backends.slurm import options as given
from traindeck.backends.slurm.by_commands import ByCommands
from traindeck.backends.slurm.cluster import Cluster, unproven
from traindeck.backends.slurm.foreign import ForeignJobs
from traindeck.backends.slurm.inside import Inside
from traindeck.backends.slurm.listing import Job
from traindeck.backends.slurm.reading import Heard
from traindeck.backends.slurm.scheduler import Scheduler
from traindeck.backends.slurm.states import States
from traindeck.backends.slurm.words import Around
from traindeck.backends.status import Native, decode_evidence, status_of
from traindeck.backends.submission import to_send

CLUSTER_FOR = 10.0
"""Seconds for which a cluster is taken for as it was when it was last surveyed."""
CAPABILITIES = (
    Capability.SEEKABLE_LOGS
    | Capability.FILES
    | Capability.FOREIGN
    | Capability.ARRAYS
    | Capability.SHELL
    | Capability.FORWARD
    | Capability.DURABLE_RECORD
)
EACH = 0.2
"""Seconds more that a submission may take for each task of an array: a folder on a file server."""


class SlurmBackend:
    """Runs jobs on a Slurm cluster.

    Args:
        name: What the user calls this place.
        host: Where Slurm's commands can be run and the run directories are seen; closed together
            with this backend.
        options: Values for the options of `options_schema` where a launch gives none.
        paths: Folders to look for Slurm's commands in, after PATH.
        scheduler: How Slurm is asked; by those commands, without it. Closed together with this.
        environment, prelude: As for `ProcessBackend`.
        clock: Returns now, for `observed_at`.
    """

    protocol = PROTOCOL
    kind = "slurm"
    settle = 120.0

    def __init__(
        self,
        name: str,
        host: Host,
        *,
        options: Mapping[str, Any] | None = None,
        paths: Sequence[str] = (),
        scheduler: Scheduler | None = None,
        environment: str = "",
        prelude: str | None = None,
        clock: Any = None,
    ) -> None:
        self.name = name
        self.host = host
        self.capabilities = CAPABILITIES
        if host.here:
            self.capabilities |= Capability.HERE
        self.defaults = dict(options or {})
        self.options_schema: Mapping[str, Option] = {
            key: replace(option, default=self.defaults.get(key, option.default))
            for key, option in given.SCHEMA.items()
        }
        self._scheduler = scheduler or ByCommands(name, paths)
        self._clock = clock or time.time
        self._directory = ProcessBackend(
            name, host, environment=environment, prelude=prelude, clock=clock
        )
        self._foreign = ForeignJobs(name, self._scheduler)
        self._inside = Inside(self._directory, self._scheduler, self._allocation, paths)
        self._states = States(name, self._scheduler, self._foreign, self._clock)
        self._cluster: tuple[float, Cluster] | None = None

    # ----------------------------------------------------------------------------- before a run

    @property
    def link(self) -> LinkState:
        """See `Linked.link`: that to the host with Slurm's commands."""
        return self.host.link

    def try_now(self) -> None:
        """See `Linked.try_now`."""
        self.host.try_now()

    async def probe(self) -> Health:
        """See `Backend.probe`."""
        health = await self._directory.probe()
        if health.reach is not Reach.OK:
            return health
        health = replace(health, checks=(*health.checks, *await self._scheduler.checks()))
        try:
            cluster = await self._surveyed(await self.host.agent(), fresh=True)
        except BackendError as error:
            return replace(
                health,
                reach=Reach.DOWN,
                note=error.what,
                checks=(*health.checks, (False, str(error))),
            )
        return planning.health(health, cluster)

    async def survey(self, spec: RunSpec) -> Facts:
        """See `Backend.survey`."""
        channel = await self.host.agent()
        runs = [run for run in spec.after if ":" not in run]
        facts, cluster, awaited = await asyncio.gather(
            self._directory.survey(planning.without_devices(spec)),
            self._surveyed(channel),
            self._states.look(channel, runs) if runs else _nothing(),
        )
        detail: dict[str, Any] = {"cluster": encode(cluster)}
        if awaited is not None:
            detail["after"] = depends.of_runs(spec, *awaited)
        note = unproven(cluster.config.version)
        try:
            placed = depends.placed(self.name, spec)
            options = given.checked(self.name, placed.options, self.defaults)
        except UsageError:
            options = {}  # `plan` says it
        if jobs := depends.named(options):
            detail["jobs"] = encode(await self._scheduler.details(channel, jobs))
        place = ", ".join(part for part in (facts.place, planning.offer(cluster, options)) if part)
        return replace(
            facts,
            devices=(),
            devices_total=None,
            place=place,
            starts_in=planning.starts_in(spec, cluster, options),
            notes=(*facts.notes, *((note,) if note else ()), *cluster.notes),
            offers=planning.choices(cluster),
            detail=detail,
        )

    def plan(self, spec: RunSpec, facts: Facts) -> Plan:
        """See `Backend.plan`."""
        options = given.checked(self.name, spec.options, self.defaults)
        return planning.plan(self.name, spec, facts, options, self._directory.prelude)

    async def _surveyed(self, channel: AgentChannel, *, fresh: bool = False) -> Cluster:
        now = time.monotonic()
        if not fresh and self._cluster is not None and now - self._cluster[0] < CLUSTER_FOR:
            return self._cluster[1]
        hello, _ = await channel.call("hello")
        cluster = await self._scheduler.cluster(channel, str(hello.get("user") or ""))
        self._cluster = (now, cluster)
        return cluster

    # ---------------------------------------------------------------------------------- a run

    async def submit(self, plan: Plan, secrets: Mapping[str, str] | None = None) -> JobRef:
        """See `Backend.submit`."""
        if script.in_array(plan.spec):
            raise BackendError("This plan is one of an array's; it was not sent alone.")
        spec = plan.spec
        header, body = to_send(plan, secrets)
        asked = self._clock()
        answer = await self._hand_over(plan, header, body)
        number = answer.get("job")
        seen = decode_evidence(answer.get("evidence"))
        native = Native(state=State.QUEUED) if seen.attempt is None else None
        status = status_of(seen, spec.attempt, asked, answered=self._clock(), native=native)
        ref = self._ref(spec.run_id, spec.attempt, number)
        return replace(ref, seen=None if seen.attempt is not None and native is None else status)

    async def submit_array(
        self, plans: Sequence[Plan], secrets: Mapping[str, str] | None = None
    ) -> list[JobRef]:
        """See `Arrays.submit_array`."""
        header, body = arrays.to_send_all(plans, secrets)
        first = min(plans, key=arrays.index)
        answer = await self._hand_over(first, header, body, patience=len(plans) * EACH)
        number = str(answer.get("job") or "").partition("_")[0]
        if not number:
            # It began before that was written down: its name tells.
            keys = [(plan.spec.run_id, 0) for plan in plans]
            there = {ref.run_id: ref for ref in await self.find(keys)}
            return [there.get(run, self._ref(run, 0, "")) for run, _ in keys]
        return [self._ref(plan.spec.run_id, 0, f"{number}_{arrays.index(plan)}") for plan in plans]

    async def _hand_over(
        self, plan: Plan, header: Mapping[str, Any], body: bytes, patience: float = 0.0
    ) -> dict[str, Any]:
        """Have it submitted, once."""
        spec = plan.spec
        channel = await self.host.agent()
        timeout = SUBMIT_TIMEOUT + patience

        async def send(verb: str, words: Mapping[str, Any]) -> dict[str, Any]:
            if (tree := spec.code.tree) is not None and spec.attempt == 0:
                from traindeck.backends.sending import call_with_tree

                place = f"{self.name}:{(plan.body or {}).get('root')}"
                answer, _ = await call_with_tree(
                    channel, verb, words, body, tree, place, timeout=timeout
                )
            else:
                answer, _ = await channel.call(verb, words, body, timeout=timeout)
            return answer

        sent = (plan.body or {}).get(self._scheduler.what)
        if sent is None and spec.attempt:
            sent = await self._again(spec)
        answer = await self._scheduler.hand_over(channel, send, header, sent)
        if "evidence" not in answer:
            self._refused(answer)
        return answer

    async def _again(self, spec: RunSpec) -> Any:
        """What Slurm is sent for another attempt, which the spec of the first one is known of."""
        facts = await self.survey(replace(spec, environment="", needs=(), reads=()))
        options = given.checked(self.name, spec.options, self.defaults)
        cluster = decode(Cluster, facts.detail["cluster"])
        return planning.sent(spec, facts, options, cluster)[0].get(self._scheduler.what)

    def _refused(self, answer: Mapping[str, Any]) -> None:
        done = {
            "outcome": answer.get("outcome"),
            "code": answer.get("code"),
        }
        why = text.one_line(str(answer.get("said") or answer.get("said_out") or ""))
        if not answer.get("known", True):
            raise Unreachable(
                f"Slurm does not answer on `{self.name}`: {why or done['outcome']}.",
                "The run is kept: whether it was submitted shows when Slurm answers again.",
            )
        what = self._scheduler.what
        if done["code"] == 127 and "no such program" in why:
            raise BackendError(
                f"sbatch was not found on `{self.name}`.",
                f"Name the folder it is in as backends.{self.name}.bin.",
            )
        raise BackendError(f"{what} refused: {why or 'it said nothing'}.")

    async def find(self, keys: Collection[tuple[str, int]] | None = None) -> list[JobRef]:
        """See `Backend.find`."""
        channel = await self.host.agent()
        wanted = None if keys is None else [list(key) for key in keys]
        if wanted == []:
            return []
        asked = self._clock()
        answer, told = await self._scheduler.ask(channel, "find", {"runs": wanted})
        jobs = told.jobs or listing.Listing()
        there = {str(run["id"]): run for run in answer["runs"]}
        found: dict[tuple[str, int], JobRef] = {}
        for run in answer["runs"]:
            if run["attempt"] is not None:
                key = (str(run["id"]), int(run["attempt"]))
                found[key] = self._ref(*key, run.get("job"))
        highest = dict(sorted(found))
        for run_id in there.keys() & jobs.runs():
            # Submitted, and whoever did it was killed before that could be written down.
            ours = jobs.of_run(run_id)
            for job in ours:
                key = job.key or ("", 0)
                if key[1] > highest.get(run_id, -1) and (keys is None or key in keys):
                    mine = (j.number for j in ours if j.key == key)
                    number = min(mine, key=listing.order)
                    found[key] = self._ref(*key, number)
        refs = list(found.values())
        if keys is None:
            heard = Heard(jobs=told.jobs, why=told.why, now=asked)
            refs += await self._foreign.refs(heard, Around(now=asked), asked)
        return refs

    async def list_foreign(self) -> list[JobRef]:
        """See `Foreign.list_foreign`."""
        channel = await self.host.agent()
        asked = self._clock()
        jobs = self._states.listed_lately()
        if jobs is None:
            told = await self._scheduler.jobs(channel)
            if (jobs := told.jobs) is None:
                raise Unreachable(f"Slurm does not answer on `{self.name}`: {told.why}.")
        heard = Heard(jobs=jobs, now=asked)
        return await self._foreign.refs(heard, Around(now=asked), asked, over=False)

    async def poll(self, refs: Collection[JobRef]) -> dict[JobRef, Status]:
        """See `Backend.poll`."""
        if not refs:
            return {}
        return await self._states.poll(await self.host.agent(), refs)

    async def cancel(self, ref: JobRef, *, grace: float | None = None) -> None:
        """See `Backend.cancel`."""
        channel = await self.host.agent()
        if not ref.run_id:
            await self._foreign.cancel(channel, ref)
            return
        params = {
            "run_id": ref.run_id,
            "attempt": ref.attempt,
            "grace": grace,
            "by": "traindeck",
        }
        answer, _ = await channel.call("cancel", params)
        if answer["state"] == "unknown":
            raise BackendError(f"{self.name} knows no attempt {ref.attempt} of run {ref.run_id}.")
        requested = answer["state"] == "requested"
        heard, evidence = await self._states.look(channel, [ref.run_id])
        if heard.jobs is None:
            return  # the request stands; the supervisor sees it
        seen = evidence[ref.run_id]
        jobs = [job for job in heard.jobs.of_run(ref.run_id) if not job.over]
        if not requested and jobs and seen.exit is None and seen.attempt is not None:
            # Slurm has started it again since it was asked to end.
            answer, _ = await channel.call("cancel", {**params, "attempt": seen.attempt})
            requested = answer["state"] == "requested"
        # Of a job that Slurm has requeued every attempt is over, but the run is not: nobody looks
        # for a request of ours until it starts, so Slurm has to take it out.
        again = not requested and seen.exit is not None and seen.exit.cause == "outside"
        ended: list[str] = []
        nudged: list[str] = []
        for job in jobs:
            begins = seen.attempt is None or again
            if job.waits or (begins and job.state is not State.STOPPING):
                ended.append(job.number)
            elif requested:
                # The supervisor looks by itself; where the request lies on a file server, it may
                # take a while to be seen.
                nudged.append(job.number)
        await self._scheduler.end(channel, ended)
        await self._scheduler.nudge(channel, nudged)

    async def aclose(self) -> None:
        """See `Backend.aclose`."""
        await self._inside.aclose()
        await self._states.aclose()
        await self._scheduler.aclose()
        await self.host.aclose()

    # ------------------------------------------------------- the run directory, and foreign logs

    @asynccontextmanager
    async def logs(
        self, ref: JobRef, *, rank: int = 0, cursor: str = "", follow: bool = True
    ) -> AsyncIterator[AsyncIterator[LogChunk]]:
        """See `Backend.logs`. The cursor is a byte offset."""
        if ref.run_id:
            own = self._directory.logs(ref, rank=rank, cursor=cursor, follow=follow)
        else:
            own = self._foreign.logs(await self.host.agent(), ref, cursor, follow)
        async with own as chunks:
            yield chunks

    async def log_stat(self, ref: JobRef, rank: int = 0) -> LogStat:
        """See `SeekableLogs.log_stat`."""
        if not ref.run_id:
            return await self._foreign.log_stat(await self.host.agent(), ref)
        return await self._directory.log_stat(ref, rank)

    async def read_at(self, ref: JobRef, rank: int, offset: int, size: int) -> bytes:
        """See `SeekableLogs.read_at`."""
        if not ref.run_id:
            return await self._foreign.read_at(await self.host.agent(), ref, offset, size)
        return await self._directory.read_at(ref, rank, offset, size)

    async def find_in_log(
        self, ref: JobRef, rank: int, needle: bytes, *, offset: int, backward: bool = False
    ) -> int | None:
        """See `SeekableLogs.find_in_log`."""
        if not ref.run_id:
            channel = await self.host.agent()
            return await self._foreign.find_in_log(channel, ref, needle, offset, backward)
        return await self._directory.find_in_log(
            ref, rank, needle, offset=offset, backward=backward
        )

    async def tails(
        self, wanted: Sequence[Tail], *, budget: int, looks: Sequence[Look] = ()
    ) -> Grown:
        """See `Tails.tails`."""
        return await self._directory.tails(wanted, budget=budget, looks=looks)

    async def list_files(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        """See `Files.list_files`."""
        self._foreign.has_no_files(ref)
        return await self._directory.list_files(ref, path)

    async def list_below(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        """See `Fetch.list_below`."""
        self._foreign.has_no_files(ref)
        return await self._directory.list_below(ref, path)

    def fetch(
        self, ref: JobRef, wanted: Sequence[Wanted]
    ) -> AbstractAsyncContextManager[AsyncIterator[FilePiece]]:
        """See `Fetch.fetch`."""
        self._foreign.has_no_files(ref)
        return self._directory.fetch(ref, wanted)

    async def read_file(self, ref: JobRef, path: str, offset: int, size: int) -> bytes:
        """See `Files.read_file`."""
        self._foreign.has_no_files(ref)
        return await self._directory.read_file(ref, path, offset, size)

    async def remove(self, ref: JobRef, *, keep: Sequence[str] = ()) -> int:
        """See `Files.remove`."""
        self._foreign.has_no_files(ref)
        return await self._directory.remove(ref, keep=keep)

    # -------------------------------------------------------------------------- Shell, Forward

    async def shell(
        self, ref: JobRef, argv: Sequence[str] = (), *, size: TerminalSize | None = None
    ) -> Terminal:
        """See `Shell.shell`. In the allocation, on its first node; of a run that is over, where
        its directory is."""
        self._foreign.has_no_files(ref)
        return await self._inside.shell(ref, argv, size)

    async def listeners(self, ref: JobRef) -> list[Listener]:
        """See `Forward.listeners`. On the first node."""
        self._foreign.has_no_files(ref)
        return await self._inside.listeners(ref)

    async def connect(self, ref: JobRef, port: int) -> Connection:
        """See `Forward.connect`. The first node's port."""
        self._foreign.has_no_files(ref)
        return await self._inside.connect(ref, port)

    async def _allocation(self, ref: JobRef) -> tuple[Status, Job | None]:
        return await self._states.allocation(await self.host.agent(), ref)

    def _ref(self, run_id: str, attempt: int, number: object) -> JobRef:
        native = number if isinstance(number, str) else ""
        return JobRef(backend=self.name, run_id=run_id, attempt=attempt, native_id=native)


async def _nothing() -> None:
    return None
