"""Jobs as plain processes on a host, supervised by the agent there.

Everything is asked of the agent through the host; whether the host is this machine or another one
is not known here and must never matter. The truth about a job is its run directory; this module
holds no state that could be lost.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from traindeck.backends import environments
from traindeck.backends.base import (
    PROTOCOL,
    BackendError,
    Capability,
    Connection,
    Facts,
    FileEntry,
    FilePiece,
    Grown,
    Health,
    Host,
    HostDevices,
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
    Status,
    Tail,
    Terminal,
    TerminalSize,
    Unreachable,
    UsageError,
    Wanted,
    plan_digest,
)
from traindeck.backends.logs import ask_tails, parse_cursor
from traindeck.backends.placed import placed, sent_program
from traindeck.backends.status import decode_evidence, status_of
from traindeck.backends.submission import run_file, to_send
from traindeck.backends.watched import Watched

if TYPE_CHECKING:
    from traindeck.backends.devices.readings import DeviceReport

SUBMIT_TIMEOUT = 120.0
"""Seconds for a submission's bytes to arrive and its supervisor to claim the attempt."""

CAPABILITIES = (
    Capability.SEEKABLE_LOGS
    | Capability.FILES
    | Capability.SHELL
    | Capability.FORWARD
    | Capability.ADOPT
    | Capability.DEVICES
    | Capability.DURABLE_RECORD
)
"""Of a process backend on any host."""

ENVIRONMENT = ("environment", "prelude")
"""What a settings entry says of the environment of its runs, whatever the host."""

READ_LIMIT = 4 << 20
"""Bytes the agent hands out per read (FORMAT.md §7)."""


class ProcessBackend:
    """Runs a job as a process tree of the user's on one host.

    Args:
        name: What the user calls this place.
        host: Where argv can be run; closed together with this backend.
        kind: What the settings call it: `process` here, `ssh` elsewhere.
        environment: What runs execute in that ask for nothing else (backends/environments.py).
        prelude: Lines of sh that are run before any of them.
        clock: Returns now, for `observed_at`.
    """

    protocol = PROTOCOL
    settle = 10.0  # a supervisor that was just started claims within that, on the slowest machine
    options_schema: Mapping[str, Option] = {}

    def __init__(
        self,
        name: str,
        host: Host,
        *,
        kind: str = "process",
        environment: str = "",
        prelude: str | None = None,
        clock: Any = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.host = host
        self.environment = environment
        self.prelude = prelude
        self.capabilities = CAPABILITIES
        if host.here:
            self.capabilities |= Capability.HERE | Capability.INHERITS
        self._clock = clock or time.time
        self._watched = Watched(self._clock)

    @property
    def link(self) -> LinkState:
        """See `Linked.link`."""
        return self.host.link

    def try_now(self) -> None:
        """See `Linked.try_now`."""
        self.host.try_now()

    async def probe(self) -> Health:
        """See `Backend.probe`."""
        try:
            return await self._examined()
        except BackendError as error:
            return Health(
                reach=Reach.DOWN,
                observed_at=self._clock(),
                checks=((False, str(error)),),
                note=error.what,
            )

    async def _examined(self) -> Health:
        agent = await self.host.agent()
        before = self._clock()  # what it took to get there says the host, if it is worth a word
        answer, _ = await agent.call("hello")
        after = self._clock()
        free = answer.get("free_bytes")
        checks = [
            (True, f"the agent answers, in {(after - before) * 1000:.0f} ms"),
            (True, f"Python {answer['python_version']} at {answer['python']}"),
            (True, f"runs lie in {answer['root']}/runs"),
        ]
        if isinstance(free, int):
            enough = free > 1 << 30
            checks.append((enough, f"{free / 1e9:.1f} GB free for runs"))
        checks[:0] = self.host.remarks
        checks += [(False, str(w)) for w in answer.get("warnings", [])]
        return Health(
            reach=Reach.OK,
            observed_at=after,
            version=f"agent {answer['agent']}",
            root=f"{answer['root']}/runs",
            clock_skew=answer["now"] - (before + after) / 2,
            checks=tuple(checks),
        )

    async def survey(self, spec: RunSpec) -> Facts:
        """See `Backend.survey`."""
        agent = await self.host.agent()
        counts_itself = isinstance(self.host, HostDevices)
        inside = not posixpath.isabs(spec.cwd) and not spec.cwd.startswith("~")
        sent = sent_program(spec) if inside else None
        question = environments.question(
            spec, self.environment, self.prelude, always=not self.host.here
        )
        request = {
            "cwd": "/" if inside else spec.cwd,
            "program": spec.argv[0] if spec.argv and sent is None else None,
            "path": spec.env.get("PATH"),
            "python": spec.python,
            "environment": question,
            "reads": list(spec.reads),
            # nvidia-smi takes its time: only where it is the one way to count what is asked for.
            "devices": bool(spec.resources.gpus) and not counts_itself,
            "leases": bool(spec.resources.gpus),
        }
        within = None if question is None else environments.WITHIN + 30.0
        answer, _ = await agent.call("survey", request, timeout=within)
        free: tuple[str, ...] = ()
        busy: tuple[str, ...] = ()
        total: int | None = None
        note = str(answer.get("devices_note") or "")
        driver = answer.get("driver")
        if spec.resources.gpus:
            if isinstance(self.host, HostDevices):
                counted = await self.host.devices()
                free, busy = counted.uuids, counted.busy
                total, note = counted.total, counted.note
                driver = counted.driver or driver
            elif answer.get("devices") is not None:
                free = tuple(str(d["uuid"]) for d in answer["devices"])
                busy = tuple(str(uuid) for uuid in answer.get("devices_busy") or ())
                total = len(free)
        held = answer.get("leased")
        held = held if isinstance(held, dict) else {}
        leased = {uuid: _holder(held[uuid]) for uuid in free if uuid in held}
        busy = tuple(uuid for uuid in busy if uuid not in leased)
        free = tuple(uuid for uuid in free if uuid not in busy and uuid not in leased)
        found = environments.answered(
            answer.get("environment"), spec.environment or self.environment
        )
        said = [environments.words(found, str(answer.get("user_home") or ""))] if found else []
        if total and spec.resources.gpus:
            said.append(f"{len(free)} of {total} GPUs free")
        return Facts(
            observed_at=self._clock(),
            home=str(answer["root"]),
            host=str(answer["host"]),
            boot_id=str(answer["boot_id"]),
            python=str(answer["python"]),
            python_version=str(answer["python_version"]),
            run_python_version=answer.get("python_found_version"),
            agent=str(answer["agent"]),
            devices=free,
            devices_busy=busy,
            devices_leased=leased,
            devices_total=total,
            devices_note=note,
            driver=driver,
            cwd_ok=bool(answer["cwd_ok"]),
            program=answer.get("program") if sent is None else sent or None,
            program_note="is not in the copy of the code that is sent"
            if sent == ""
            else str(answer.get("program_note") or ""),
            free_bytes=answer.get("free_bytes"),
            environment=found,
            path=str(answer.get("path") or ""),
            cwd="" if inside else str(answer.get("cwd") or spec.cwd),
            missing=tuple(str(path) for path in answer.get("missing") or ()),
            place=", ".join(said),
            starts_in=0.0 if len(free) >= spec.resources.gpus else None,
            notes=tuple(str(w) for w in answer.get("warnings", [])),
        )

    def plan(self, spec: RunSpec, facts: Facts) -> Plan:
        """See `Backend.plan`."""
        if spec.resources.nodes > 1:
            raise UsageError(
                f"--nodes {spec.resources.nodes}: `{self.name}` runs processes on one host.",
                "Use a cluster backend for several nodes.",
            )
        if spec.options:
            raise UsageError(
                f"`{self.name}` is a process backend and has no options, but was given "
                f"{', '.join(sorted(spec.options))}."
            )
        asked = spec.argv
        lacking = facts.program is None and not environments.stands_in(spec, facts)
        spec, files, warnings = placed(self.name, spec, facts, self.prelude)
        late: dict[str, str] = {}
        lease: dict[str, Any] | None = None
        env = dict(spec.env)
        if spec.resources.gpus:
            lease = _lease(spec, facts)
            late["devices"] = _devices_late(spec.resources.gpus, facts)
            warnings.append(
                "no other run takes its GPUs, but nothing keeps other programs from them"
            )
        if lacking:
            why = facts.program_note or f"was not found on {facts.host}"
            warnings.append(f"{asked[0]} {why}; the run will fail")
        if spec.pty:
            warnings.append("with --pty the job does not survive the death of its supervisor")
        if spec.secrets:
            late["secrets"] = "values of " + ", ".join(spec.secrets) + ", passed by pipe"
        if spec.env_names:
            late["environment"] = f"{len(spec.env_names)} variables of the caller, not recorded"
        if spec.after:
            runs = " and ".join(f"run {run}" for run in spec.after)
            late["start"] = f"when {runs} {'has' if len(spec.after) == 1 else 'have'} ended"
        env.setdefault("PYTHONUNBUFFERED", "1")
        spec = replace(
            spec,
            env=env,
            python_version=spec.python_version or facts.run_python_version,
            host=facts.host,
            driver=facts.driver,
        )
        plan = Plan(
            backend=self.name,
            spec=spec,
            files=dict(sorted({**spec.files, **files}.items())),
            argv=spec.argv,
            body={
                "agent": facts.agent,
                "python": facts.python,
                "root": facts.home,
                **({} if lease is None else {"lease": lease}),
            },
            env=env,
            bound_late=late,
            place=f"{self.name}: {facts.place}" if facts.place else "",
            warnings=tuple(warnings),
        )
        return replace(plan, digest=plan_digest(plan))

    async def submit(self, plan: Plan, secrets: Mapping[str, str] | None = None) -> JobRef:
        """See `Backend.submit`."""
        header, body = to_send(plan, secrets)
        with self._watched.changing():
            return await self._sent(plan, header, body)

    async def _sent(self, plan: Plan, header: dict[str, Any], body: bytes) -> JobRef:
        spec = plan.spec
        agent = await self.host.agent()
        asked = self._clock()
        if (tree := spec.code.tree) is not None and spec.attempt == 0:
            from traindeck.backends.sending import call_with_tree

            place = f"{spec.host}:{(plan.body or {}).get('root')}"
            answer, _ = await call_with_tree(
                agent, "start", header, body, tree, place, timeout=SUBMIT_TIMEOUT
            )
        else:
            answer, _ = await agent.call("start", header, body, timeout=SUBMIT_TIMEOUT)
        return self._taken(spec, answer, asked)

    async def find(self, keys: Collection[tuple[str, int]] | None = None) -> list[JobRef]:
        """See `Backend.find`."""
        agent = await self.host.agent()
        wanted = None if keys is None else [list(key) for key in keys]
        answer, _ = await agent.call("find", {"runs": wanted})
        return [
            self._ref(str(run["id"]), int(run["attempt"]))
            for run in answer["runs"]
            if run["attempt"] is not None
        ]

    async def poll(self, refs: Collection[JobRef]) -> dict[JobRef, Status]:
        """See `Backend.poll`."""
        if not refs:
            return {}
        agent = await self.host.agent()
        ids = sorted({ref.run_id for ref in refs})
        if not self.host.here and (told := await self._watched.told(agent, ids, refs)) is not None:
            return told
        began, asked = time.monotonic(), self._clock()
        answer, _ = await agent.call("poll", {"runs": ids})
        answered = self._clock()
        self._watched.asked(began, ids)
        runs = answer.get("runs")
        seen = runs if isinstance(runs, dict) else {}
        evidence = {ref.run_id: decode_evidence(seen.get(ref.run_id)) for ref in refs}
        return {
            ref: status_of(evidence[ref.run_id], ref.attempt, asked, answered=answered)
            for ref in refs
        }

    @asynccontextmanager
    async def logs(
        self, ref: JobRef, *, rank: int = 0, cursor: str = "", follow: bool = True
    ) -> AsyncIterator[AsyncIterator[LogChunk]]:
        """See `Backend.logs`. The cursor is a byte offset."""
        offset, identity = parse_cursor(cursor)
        agent = await self.host.agent()
        params = {**_key(ref), "rank": rank, "offset": offset, "follow": follow}
        if identity:
            params["identity"] = identity
        async with agent.stream("follow", params) as answers:

            async def chunks() -> AsyncIterator[LogChunk]:
                async for header, body in answers:
                    if header.get("eof"):  # whoever asks now how it is knows that it is over
                        self._watched.asked(time.monotonic(), [ref.run_id])
                    yield LogChunk(
                        data=body,
                        cursor=str(header["offset"]),
                        eof=bool(header.get("eof")),
                        cut=bool(header.get("cut")),
                        identity=str(header.get("identity") or ""),
                    )

            yield chunks()

    async def cancel(self, ref: JobRef, *, grace: float | None = None) -> None:
        """See `Backend.cancel`."""
        agent = await self.host.agent()
        with self._watched.changing():
            answer, _ = await agent.call("cancel", {**_key(ref), "grace": grace, "by": "traindeck"})
        if answer["state"] == "unknown":
            raise BackendError(f"{self.name} knows no attempt {ref.attempt} of run {ref.run_id}.")

    async def aclose(self) -> None:
        """See `Backend.aclose`."""
        self._watched.close()
        await self.host.aclose()

    # ------------------------------------------------------------------------ SeekableLogs

    async def log_stat(self, ref: JobRef, rank: int = 0) -> LogStat:
        """See `SeekableLogs.log_stat`."""
        agent = await self.host.agent()
        answer, _ = await agent.call("log_stat", {**_key(ref), "rank": rank})
        return LogStat(
            size=int(answer["size"]),
            identity=str(answer["identity"]),
            ended=bool(answer["ended"]),
        )

    async def read_at(self, ref: JobRef, rank: int, offset: int, size: int) -> bytes:
        """See `SeekableLogs.read_at`."""
        agent = await self.host.agent()
        size = min(size, READ_LIMIT)
        params = {**_key(ref), "rank": rank, "offset": offset, "size": size}
        _, body = await agent.call("read_at", params)
        return body

    async def find_in_log(
        self, ref: JobRef, rank: int, needle: bytes, *, offset: int, backward: bool = False
    ) -> int | None:
        """See `SeekableLogs.find_in_log`."""
        import base64

        agent = await self.host.agent()
        answer, _ = await agent.call(
            "log_find",
            {
                **_key(ref),
                "rank": rank,
                "needle": base64.b64encode(needle).decode(),
                "offset": offset,
                "backward": backward,
            },
        )
        found = answer["offset"]
        return None if found is None else int(found)

    async def tails(
        self, wanted: Sequence[Tail], *, budget: int, looks: Sequence[Look] = ()
    ) -> Grown:
        """See `Tails.tails`."""
        return await ask_tails(await self.host.agent(), wanted, budget, looks)

    # ------------------------------------------------------------------------------- Files

    async def list_files(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        """See `Files.list_files`."""
        agent = await self.host.agent()
        answer, _ = await agent.call("ls", {"run_id": ref.run_id, "path": path})
        return [_entry(found) for found in answer["entries"]]

    async def read_file(self, ref: JobRef, path: str, offset: int, size: int) -> bytes:
        """See `Files.read_file`."""
        agent = await self.host.agent()
        size = min(size, READ_LIMIT)
        params = {"run_id": ref.run_id, "path": path, "offset": offset, "size": size}
        _, body = await agent.call("read", params)
        return body

    async def list_below(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        """See `Files.list_below`."""
        agent = await self.host.agent()
        answer, _ = await agent.call("tree", {"run_id": ref.run_id, "path": path})
        return [_entry(found) for found in answer["entries"]]

    @asynccontextmanager
    async def fetch(
        self, ref: JobRef, wanted: Sequence[Wanted]
    ) -> AsyncIterator[AsyncIterator[FilePiece]]:
        """See `Files.fetch`."""
        agent = await self.host.agent()
        asked = [[file.path, file.offset, file.modified] for file in wanted]
        async with agent.stream("fetch", {"run_id": ref.run_id, "files": asked}) as answers:

            async def pieces() -> AsyncIterator[FilePiece]:
                async for header, body in answers:
                    number = header.get("n")
                    if isinstance(number, int) and 0 <= number < len(wanted):
                        yield FilePiece(
                            path=wanted[number].path,
                            offset=int(header.get("offset", 0)),
                            data=body,
                            size=int(header.get("size", 0)),
                            modified=float(header.get("modified", 0.0)),
                            end=bool(header.get("end")),
                            error=str(header.get("problem") or ""),
                        )

            yield pieces()

    async def remove(self, ref: JobRef, *, keep: Sequence[str] = ()) -> int:
        """See `Files.remove`."""
        agent = await self.host.agent()
        with self._watched.changing():
            answer, _ = await agent.call("rm", {"run_id": ref.run_id, "keep": list(keep)})
        return int(answer["freed"])

    # ----------------------------------------------------------------------------- Devices

    @asynccontextmanager
    async def devices(
        self, every: float | None = None
    ) -> AsyncIterator[AsyncIterator[DeviceReport]]:
        """See `Devices.devices`."""
        from traindeck.backends.devices.feed import reports

        async with reports(await self.host.agent(), every, self._clock) as told:
            yield told

    # ------------------------------------------------------------------------------- Shell

    async def shell(
        self, ref: JobRef, argv: Sequence[str] = (), *, size: TerminalSize | None = None
    ) -> Terminal:
        """See `Shell.shell`."""
        return await self.host.terminal(await self.session(ref, argv), size=size)

    async def session(
        self, ref: JobRef, argv: Sequence[str] = (), through: Mapping[str, Any] | None = None
    ) -> list[str]:
        """What the host runs to start a program in the run's directory, with what it is to find
        there. The user's shell is the login shell that `ssh` gives, on another machine than this.

        Args:
            through: What starts it elsewhere, from the host (FORMAT.md §7).
        """
        agent = await self.host.agent()
        asked: dict[str, Any] = {**_key(ref), "argv": list(argv)}
        if through is None:
            asked["login"] = not self.host.here
        else:
            asked["through"] = dict(through)
        answer, _ = await agent.call("session", asked)
        return [str(word) for word in answer["argv"]]

    # ----------------------------------------------------------------------------- Forward

    async def listeners(self, ref: JobRef) -> list[Listener]:
        """See `Forward.listeners`."""
        agent = await self.host.agent()
        answer, _ = await agent.call("ports", _key(ref))
        return [
            Listener(
                port=int(found["port"]),
                address=str(found["address"]),
                program=str(found.get("program") or ""),
            )
            for found in answer["listeners"]
        ]

    async def connect(self, ref: JobRef, port: int) -> Connection:
        """See `Forward.connect`. What listens on one address only is reached there."""
        try:
            return await self.host.connect(port)
        except Unreachable:
            raise
        except BackendError:
            for found in await self.listeners(ref):
                if found.port == port and found.address != "localhost":
                    return await self.host.connect(port, address=found.address)
            raise

    # ------------------------------------------------------------------------------- Adopt

    async def adopt(self, spec: RunSpec, pid: int) -> JobRef:
        """See `Adopt.adopt`."""
        agent = await self.host.agent()
        asked = self._clock()
        params = {"run_id": spec.run_id, "run": run_file(spec, "", ""), "pid": pid}
        try:
            with self._watched.changing():
                answer, _ = await agent.call("adopt", params)
        except Unreachable:
            raise
        except BackendError as error:
            raise UsageError(error.what) from None
        return self._taken(spec, answer, asked)

    async def unwatch(self, ref: JobRef) -> None:
        """See `Adopt.unwatch`."""
        agent = await self.host.agent()
        with self._watched.changing():
            await agent.call("unwatch", {"run_id": ref.run_id})

    def _ref(self, run_id: str, attempt: int) -> JobRef:
        return JobRef(backend=self.name, run_id=run_id, attempt=attempt)

    def _taken(self, spec: RunSpec, answer: Mapping[str, Any], asked: float) -> JobRef:
        """The reference of a job that the agent has just taken, with what it saw of it."""
        evidence = decode_evidence(answer.get("evidence"))
        seen = status_of(evidence, spec.attempt, asked, answered=self._clock())
        return replace(self._ref(spec.run_id, spec.attempt), seen=seen)


def _entry(found: Mapping[str, Any]) -> FileEntry:
    """One line of a listing of the agent's."""
    return FileEntry(
        path=str(found["path"]),
        size=int(found["size"]),
        modified=float(found["modified"]),
        is_dir=bool(found["is_dir"]),
        special=bool(found.get("special")),
        mode=int(found.get("mode", 0o600)),
    )


def _key(ref: JobRef) -> dict[str, Any]:
    return {"run_id": ref.run_id, "attempt": ref.attempt}


def _lease(spec: RunSpec, facts: Facts) -> dict[str, Any]:
    """The devices that will do, best first, and how many of them: those that are free, then those
    that runs have, for which it waits."""
    wanted = spec.resources.gpus
    if not facts.devices_total:
        why = f" ({facts.devices_note})" if facts.devices_note else ""
        raise UsageError(
            f"--gpus {wanted}: {facts.host} has no GPU that can be used{why}.",
            "Leave --gpus out to run on the CPU.",
        )
    if wanted > facts.devices_total:
        raise UsageError(f"--gpus {wanted}: {facts.host} has {facts.devices_total}.")
    usable = [*facts.devices, *facts.devices_leased]
    if wanted > len(usable) and spec.after:
        usable += facts.devices_busy  # what it waits for may be what is on them
    if wanted > len(usable):
        others = f" (programs that are no runs are on {len(facts.devices_busy)})"
        raise UsageError(
            f"--gpus {wanted}: {len(usable)} of {facts.devices_total} GPUs of {facts.host} are "
            f"free now{others if facts.devices_busy else ''}.",
            "Take fewer, wait, or name those to share: --env CUDA_VISIBLE_DEVICES=…",
        )
    return {"devices": usable, "count": wanted}


def _devices_late(wanted: int, facts: Facts) -> str:
    """Which GPUs it gets, as far as that is known before it starts."""
    which = f"{wanted} of the {facts.devices_total} GPUs of {facts.host}, by UUID"
    if wanted <= len(facts.devices):
        return f"{which}: {len(facts.devices)} are free now"
    free = "none is now" if not facts.devices else f"{len(facts.devices)} now"
    runs = ", ".join(sorted(set(facts.devices_leased.values())))
    return f"{which}, as soon as they are free: {free}; held by {runs or 'programs'}"


def _holder(said: Any) -> str:
    """Who has a device, in a few words."""
    words = said if isinstance(said, dict) else {}
    name = words.get("name") or words.get("run") or "another run"
    return f"{name} of {words['user']}" if words.get("user") else str(name)


def make(name: str, options: Mapping[str, Any]) -> ProcessBackend:
    """A process backend from a settings entry (`backends: NAME: {kind: process, root: …}`).

    Raises:
        UsageError: An option that does not exist, or a value that cannot be.
    """
    unknown = sorted(set(options) - {"root", "python", *ENVIRONMENT})
    if unknown:
        raise UsageError(
            f"backends.{name}: a process backend has no option {unknown[0]!r}.",
            "It takes root, python, environment and prelude.",
        )
    return ProcessBackend(name, local_host(name, options), **environment_of(name, options))


def local_host(name: str, options: Mapping[str, Any]) -> Host:
    """This machine, with the `root` and `python` of a settings entry.

    Raises:
        UsageError: A value that cannot be.
    """
    from traindeck.backends.files import folder_named
    from traindeck.backends.hosts.local import LocalHost

    root, python = options.get("root"), options.get("python")
    if root and folder_named(root) is None:
        raise UsageError(
            f"backends.{name}.root is {str(root)[:60]!r}: expected a folder from / or ~ on."
        )
    if python and not isinstance(python, str):
        raise UsageError(f"backends.{name}.python is {str(python)[:60]!r}: expected a program.")
    return LocalHost(root, python=python)


def environment_of(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """`environment` and `prelude` of a settings entry, checked, as arguments of a backend.

    Raises:
        UsageError: One is none.
    """
    text, prelude = options.get("environment") or "", options.get("prelude")
    if not isinstance(text, str):
        raise UsageError(f"backends.{name}.environment is {str(text)[:60]!r}: expected a text.")
    try:
        environments.read(text)
    except UsageError as error:
        raise UsageError(f"backends.{name}.environment: {error.what}", error.fix) from None
    if prelude is not None and (not isinstance(prelude, str) or len(prelude) > 65_536):
        raise UsageError(f"backends.{name}.prelude: expected lines of sh, at most 64 KiB.")
    return {"environment": text, "prelude": prelude}
