"""Inside the allocations of runs: a terminal there, and the ports of their nodes.

One more step of the job beside those it has (`srun --overlap`) is the way in: for each terminal one
of its own, and for all ports of a run together one that is an agent as on any host, and goes when
nobody has used it for a while.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from traindeck.backends.base import (
    BackendError,
    Connection,
    Done,
    JobRef,
    Listener,
    Outcome,
    State,
    Status,
    Terminal,
    TerminalSize,
    Unreachable,
)
from traindeck.backends.hosts.channel import Channel
from traindeck.backends.hosts.link import last_words
from traindeck.backends.hosts.relay import Pipes, linked
from traindeck.backends.process import ProcessBackend
from traindeck.backends.slurm import commands
from traindeck.backends.slurm.listing import Job
from traindeck.backends.slurm.scheduler import Scheduler

KEEP = (*commands.KEEP, "TERM", "COLORTERM")
"""What a program inside finds of the host's environment: as much as a job, and its terminal."""
GREETING = 60.0
"""Seconds from asking for a step to the first word of its agent: a node may have much to do."""
SILENCE = 90.0
LOOK = 15.0
"""Seconds without a word from us after which an agent there ends, and between two of ours."""
IDLE = 60.0
"""Seconds for which nobody needs an agent until it goes."""
HANGUP = 1
"""The number of SIGHUP."""
MARK = 40
"""Bytes that follow the name in a mark, at most."""
SAID = 4096
"""Bytes that are kept of what a launcher says before it starts anything."""
FRESH = 5.0
"""Seconds for which what a run listens on is taken to stay so."""

_Answer = TypeVar("_Answer")
Allocated = Callable[[JobRef], Awaitable[tuple[Status, "Job | None"]]]


class Inside:
    """See the module.

    Args:
        directory: The run directories, on the host that Slurm's commands are on.
        scheduler: How Slurm is asked.
        allocated: How a run is, and its job if it has an allocation now.
        paths: Folders to look for srun in, after PATH.
    """

    def __init__(
        self,
        directory: ProcessBackend,
        scheduler: Scheduler,
        allocated: Allocated,
        paths: Sequence[str],
    ) -> None:
        self._directory = directory
        self._host = directory.host
        self._scheduler = scheduler
        self._allocated = allocated
        self._paths = (*paths, *commands.PATHS)
        self._nodes: dict[str, _Node] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    async def shell(self, ref: JobRef, argv: Sequence[str], size: TerminalSize | None) -> Terminal:
        """See `Shell.shell`."""
        status, job = await self._allocated(ref)
        if job is None:
            if status.state in (State.QUEUED, State.STARTING):
                raise BackendError(_no_node(status), "It can be entered once it runs.")
            return await self._directory.shell(ref, argv, size=size)
        marker = secrets.token_hex(16)
        _check(job)
        through = self._through(job, pty=size is not None, piped=size is None, marker=marker)
        words = await self._directory.session(ref, argv, through)
        made = Stepped(await self._host.terminal(words, size=size), marker)
        try:
            async with asyncio.timeout(GREETING):
                before = await made.begun()
        except TimeoutError:
            await made.aclose()
            raise BackendError(
                f"{_not_in(job)}: it did not answer within {GREETING:.0f} s."
            ) from None
        except BaseException:
            await made.aclose()
            raise
        if before is not None:
            await made.aclose()
            raise BackendError(f"{_not_in(job)}: {_why(before)}.")
        return made

    async def listeners(self, ref: JobRef) -> list[Listener]:
        """See `Forward.listeners`."""

        async def ask(node: _Node | str) -> list[Listener]:
            return [] if isinstance(node, str) else [one for one, _ in await node.listening(ref)]

        return await self._on_node(ref, ask)

    async def connect(self, ref: JobRef, port: int) -> Connection:
        """See `Forward.connect`. What other machines can reach is connected to from the host, and
        what listens on the node alone by the agent there."""

        async def connect(node: _Node | str) -> Connection:
            if isinstance(node, str):
                raise BackendError(f"Nobody listens on port {port}: {node}")
            found = await node.listener(ref, port)
            address = "localhost" if found is None else found[0].address
            if found is not None and not found[1]:
                outside = node.address if address == "localhost" else address
                if outside and await self._reaches(node, outside, port):
                    with suppress(BackendError):
                        return await self._host.connect(port, address=outside)
            return await node.connect(port, address)

        return await self._on_node(ref, connect)

    async def _on_node(
        self, ref: JobRef, act: Callable[[_Node | str], Awaitable[_Answer]]
    ) -> _Answer:
        """Do something with the agent on a run's first node; again with another if that agent was
        about to end (its job was, or nobody had needed it)."""
        node = await self._node(ref)
        try:
            return await act(node)
        except Unreachable:
            if isinstance(node, str) or not node.channel.failed:
                raise
        return await act(await self._node(ref))

    async def _reaches(self, node: _Node, address: str, port: int) -> bool:
        """Whether the host can connect to an address of a node. Asked once: where a firewall
        swallows what is sent, each try would take its time."""
        if port not in node.reached:
            agent = await self._host.agent()
            try:
                await agent.call("reach", {"address": address, "port": port})
                node.reached[port] = True
            except Unreachable:
                raise
            except BackendError:
                node.reached[port] = False
        return node.reached[port]

    async def aclose(self) -> None:
        """End the agents there. Runs are not touched."""
        nodes = list(self._nodes.values())
        self._nodes.clear()
        await asyncio.gather(*(node.aclose() for node in nodes))

    # ------------------------------------------------------------------------------- inside

    def _through(self, job: Job, *, pty: bool, **more: Any) -> dict[str, Any]:
        return {
            "argv": list(commands.step(job.number, job.hosts[0], pty=pty)),
            "keep": list(KEEP),
            "paths": list(self._paths),
            **more,
        }

    async def _node(self, ref: JobRef) -> _Node | str:
        """The agent on a run's first node, or why there is none, in the end of a sentence.

        Raises:
            BackendError: The allocation lets us not in.
            Unreachable: The host, or Slurm, does not answer.
        """
        async with self._opening.setdefault(ref.run_id, asyncio.Lock()):
            node = self._nodes.get(ref.run_id)
            if node is not None and not node.channel.failed:
                return node
            status, job = await self._allocated(ref)
            if job is None:
                if status.state in (State.QUEUED, State.STARTING):
                    return _no_node(status, "the")
                return "the run is over."
            made = self._nodes[ref.run_id] = await self._open(ref, job)
            return made

    async def _open(self, ref: JobRef, job: Job) -> _Node:
        _check(job)
        marker = secrets.token_hex(16)
        program = ["serve", marker, f"{SILENCE:g}"]
        words = await self._directory.session(
            ref, (), self._through(job, pty=False, program=program)
        )
        pipes = Pipes(await self._host.terminal(words))
        channel = Channel(*await pipes.open(), marker)
        try:
            await channel.call("ping", timeout=GREETING)
        except BaseException as error:
            await channel.aclose()
            await pipes.aclose()
            if not isinstance(error, BackendError):
                raise
            raise BackendError(f"{_not_in(job)}: {_why(pipes.said)}.") from None
        address = ""
        with suppress(BackendError):
            address = await self._scheduler.address(await self._host.agent(), job.hosts[0])
        return _Node(channel, pipes, address)


class _Node:
    """An agent inside an allocation.

    Attributes:
        address: Where the host reaches this node, "" if that is not known.
        reached: Which of its ports the host can connect to, of those that were tried.
    """

    def __init__(self, channel: Channel, pipes: Pipes, address: str) -> None:
        self.channel = channel
        self.address = address
        self.reached: dict[int, bool] = {}
        self._pipes = pipes
        self._connections = 0
        self._used = time.monotonic()
        self._heard = -FRESH
        self._listening: list[tuple[Listener, bool]] = []
        self._watching = asyncio.create_task(self._watch())

    async def listening(self, ref: JobRef) -> list[tuple[Listener, bool]]:
        """What the run listens on, each with whether it is for its node alone."""
        self._used = time.monotonic()
        key = {"run_id": ref.run_id, "attempt": ref.attempt}
        answer, _ = await self.channel.call("ports", key)
        self._listening = [
            (
                Listener(
                    port=int(found["port"]),
                    address=str(found["address"]),
                    program=str(found.get("program") or ""),
                ),
                bool(found.get("loopback", True)),
            )
            for found in answer["listeners"]
        ]
        self._heard = time.monotonic()
        return self._listening

    async def listener(self, ref: JobRef, port: int) -> tuple[Listener, bool] | None:
        """What of the run listens on a port; None if nothing of it does."""
        if time.monotonic() - self._heard < FRESH:
            for one in self._listening:
                if one[0].port == port:
                    return one
        return next((one for one in await self.listening(ref) if one[0].port == port), None)

    async def connect(self, port: int, address: str) -> Connection:
        """A connection from the node."""
        self._connections += 1
        return await linked(self.channel, port, address=address, closed=self._closed)

    def _closed(self) -> None:
        self._connections -= 1
        self._used = time.monotonic()

    async def _watch(self) -> None:
        """Have signs of life exchanged, and end what nobody needs."""
        while not self.channel.failed:
            await asyncio.sleep(LOOK)
            if not self._connections and time.monotonic() - self._used > IDLE:
                break
            with suppress(BackendError):
                await self.channel.call("ping")
        await self.channel.aclose()

    async def aclose(self) -> None:
        """End it."""
        self._watching.cancel()
        await self.channel.aclose()
        await self._pipes.aclose()


class Stepped:
    """The terminal of a step, in whose output its agent marks where the program's begins and how it
    has ended. Taken out again; what srun says besides is passed on."""

    def __init__(self, terminal: Terminal, marker: str) -> None:
        self._terminal = terminal
        self._mark = b"\x1b_" + marker.encode()
        self._said = re.compile(re.escape(self._mark) + rb" ([a-z]{1,20}) (\d{1,5})\x1b\\")
        self._held = b""
        self._early = b""
        self._end: Done | None = None
        self._hung_up = False

    async def begun(self) -> bytes | None:
        """Pass over what is said before the program's turn. Returns None, or what was said if that
        never came."""
        said = out = b""
        while True:
            number, data = await self._terminal.read()
            if not data:
                return said
            said = (said + data)[-SAID:]
            if number == 1:
                out = (out + data)[-2 * SAID :]
                if found := self._said.search(out):
                    self._early = out[found.end() :]
                    return None

    async def read(self) -> tuple[int, bytes]:
        """See `Terminal.read`."""
        while True:
            number, data = (1, self._early) if self._early else await self._terminal.read()
            self._early = b""
            if number == 2:
                return number, data
            shown = self._without_marks(data)
            if shown or not data:
                return (1 if shown else 0), shown

    def _without_marks(self, data: bytes) -> bytes:
        """What of the output is the program's. b"" is its end."""
        whole, self._held = self._held + data, b""
        if found := self._said.search(whole):
            outcome = Outcome.SIGNALLED if found[1] == b"signalled" else Outcome.EXITED
            self._end = Done(outcome=outcome, code=int(found[2]))
            return whole[: found.start()] + whole[found.end() :]
        if not data:
            return whole
        # The beginning of a mark may end a piece; the rest of it is on its way then.
        at = whole.find(self._mark)
        if at < 0:
            last = max(whole.rfind(b"\x1b"), 0)
            at = last if self._mark.startswith(whole[last:]) else len(whole)
        elif len(whole) - at > len(self._mark) + MARK:
            at = len(whole)
        self._held = whole[at:]
        return whole[:at]

    async def write(self, data: bytes) -> None:
        """See `Terminal.write`."""
        await self._terminal.write(data)

    async def write_eof(self) -> None:
        """See `Terminal.write_eof`."""
        await self._terminal.write_eof()

    async def resize(self, size: TerminalSize) -> None:
        """See `Terminal.resize`."""
        await self._terminal.resize(size)

    async def wait(self) -> Done:
        """See `Terminal.wait`. A step that was ended, as its job was, leaves what srun makes of
        that."""
        done = await self._terminal.wait()
        if self._end is not None:
            return self._end
        if done.outcome is Outcome.EXITED and self._hung_up:
            return Done(outcome=Outcome.SIGNALLED, code=HANGUP)
        if done.outcome is Outcome.EXITED and done.code > 128:
            return replace(done, outcome=Outcome.SIGNALLED, code=done.code - 128)
        return done

    async def aclose(self) -> None:
        """See `Terminal.aclose`."""
        self._hung_up = True
        await self._terminal.aclose()


def _check(job: Job) -> None:
    """Refuse what Slurm would have us wait for."""
    if job.word == "SUSPENDED":
        raise BackendError(
            f"Job {job.number} is suspended: nothing can be started in it.",
            f"It can be entered once it goes on (scontrol resume {job.number}).",
        )


def _not_in(job: Job) -> str:
    return f"Slurm does not let us into job {job.number} on {job.hosts[0]}"


def _why(said: bytes) -> str:
    """The last that srun said, as part of a sentence."""
    words = last_words(said.decode("utf-8", "replace"))
    return words.removeprefix("srun: error: ").removeprefix("traindeck: ") or "srun did not say why"


def _no_node(status: Status, article: str = "The") -> str:
    why = f": it {status.reason}" if status.reason else ""
    return f"{article} run has no node yet{why}."
