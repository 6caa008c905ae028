"""Another machine as a host, over SSH: one connection, one long channel to the agent there.

The connection is made when it is first needed, by one task that whoever needs it waits for: a
caller that gives up does not stop it. One that broke is made anew at the next question, at once
after the machine we run on slept, else after a pause that grows; never by itself where a person had
to give a password, or has to mend something first.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import secrets
import shutil
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from traindeck.backends.asking import how_to_connect, is_attended
from traindeck.backends.base import (
    AgentChannel,
    BackendError,
    Connection,
    LinkState,
    Reach,
    Terminal,
    TerminalSize,
    Unreachable,
    UsageError,
)
from traindeck.backends.errors import NotAgainYet
from traindeck.backends.hosts import greeting
from traindeck.backends.hosts.channel import Channel
from traindeck.backends.hosts.link import NeedsPerson, NotLetIn, Pipe, last_words
from traindeck.backends.hosts.openssh_link import OpenSSHLink
from traindeck.backends.hosts.paramiko_dial import dial
from traindeck.backends.hosts.paramiko_link import ParamikoLink
from traindeck.backends.hosts.sshconfig import Target, resolve
from traindeck.backends.hosts.sshneeds import why_openssh
from traindeck.backends.hosts.worker import Worker

TRANSPORTS = ("auto", "paramiko", "openssh")

GREETING = 60.0
"""Seconds from a login to the agent's first word: a home on a slow file server, a long .bashrc."""

SILENCE = 90.0
"""Seconds without a word from us after which the agent there ends."""

PING = 15.0
ANSWER = 45.0
"""Seconds between two signs of life, and for which an answer to one is waited for: a link that
stands still for half a minute has broken nothing."""

LOOK = 5.0
AWAKE = 5.0
"""How often the connection is looked at, and a jump between the clocks that means: we slept."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0

_ERRNO = re.compile(r"^\w+Error: \[Errno \d+\] ")
"""What Python puts before the words of the system."""


class SSHHost:
    """A machine that is reached over SSH.

    Args:
        name: What the user calls this place.
        alias: The machine, as `ssh` would be given it.
        config_file: The ssh configuration to read instead of the user's.
        transport: `auto`, `paramiko` or `openssh`.
        root: Folder there for agents and runs, from `/` or `~/` on.
        python: Interpreter for the agent there; looked for by default.
    """

    here = False

    def __init__(
        self,
        name: str,
        alias: str,
        *,
        config_file: str | None = None,
        transport: str = "auto",
        root: str = "~/.traindeck",
        python: str | None = None,
    ) -> None:
        self.name = name
        self.alias = alias
        self.root = root
        self.python = python
        self.banner = ""
        """What was printed there before the agent answered."""
        self.transport = ""
        """How the connection was made, and why so: `paramiko`, `openssh: security keys`."""
        self._config_file = config_file
        self._wanted = transport
        self._link: ParamikoLink | OpenSSHLink | None = None
        self._channel: Channel | None = None
        self._pipe: Pipe | None = None
        self._connecting: asyncio.Task[Channel] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._took = 0.0
        self._pause = 0.0
        self._next_try = 0.0
        self._why: Unreachable | BackendError | None = None
        self._by_person = False
        self._now = False
        self._could_ask = False
        self._since = 0.0
        self._heard: float | None = None
        self._offset = time.time() - time.monotonic()

    # ----------------------------------------------------------------------------------- Host

    async def agent(self) -> AgentChannel:
        """See `Host.agent`.

        Raises:
            Unreachable: It does not answer, or did not a moment ago and is not asked again yet.
            NeedsPerson: Only a person can make the connection.
            BackendError: It answers, and cannot run our agent.
        """
        if self._channel is not None and not self._channel.failed:
            return self._channel
        if self._channel is not None and self._by_person and not self._now:
            await self._drop()
            self._why = NeedsPerson(
                f"The connection to {self.name} broke, and it asked for a password "
                "or for a key to be touched.",
                how_to_connect(),
            )
        if self._connecting is None:
            if self._slept():
                self._next_try = 0.0
            if self._why is not None and not self._now:
                self._refuse_again(self._why)
            self._now = self._by_person = False
            self._could_ask = is_attended()
            self._connecting = asyncio.create_task(self._connect(), name=f"connect-{self.name}")
        task, could_ask = self._connecting, self._could_ask
        try:
            return await asyncio.shield(task)
        except NeedsPerson:
            if could_ask or not is_attended():
                raise
        finally:
            if task.done() and self._connecting is task:
                self._connecting = None
        # Begun by who could not ask, and here is a person who waits for it.
        if self._connecting is None:
            self.try_now()
        return await self.agent()

    @property
    def link(self) -> LinkState:
        """See `Host.link`: `stale` from the loss of a connection to the first try that failed."""
        if self._channel is not None and not self._channel.failed:
            return LinkState()
        if self._why is not None:
            due = None if self._by_person else self._next_try + self._offset
            state = Reach.DOWN
            return LinkState(
                state=state,
                since=self._since,
                next_try=due,
                why=self._why.what,
                person=self._by_person,
            )
        heard = self._heard if self._channel is None else self._channel.heard
        if heard is None:
            return LinkState()  # nobody has asked yet
        why = f"The connection to {self.name} broke."
        return LinkState(state=Reach.STALE, since=heard + self._offset, why=why)

    @property
    def remarks(self) -> tuple[tuple[bool, str], ...]:
        """See `Host.remarks`."""
        found = []
        if self._channel is not None:
            found.append((True, f"reached by {self.transport}, in {self._took:.1f} s"))
        if self.banner:
            first = " ".join(self.banner.splitlines()[0].split())[:100]
            found.append((True, f"it says before the agent answers: {first}"))
        return tuple(found)

    async def terminal(self, argv: Sequence[str], *, size: TerminalSize | None = None) -> Terminal:
        """See `Host.terminal`."""
        from traindeck.backends.hosts import sshreach

        link = await self._reached()
        if isinstance(link, OpenSSHLink):
            return await sshreach.openssh_terminal(link, argv, size)
        return await sshreach.paramiko_terminal(link, argv, size)

    async def connect(self, port: int | str, *, address: str = "localhost") -> Connection:
        """See `Host.connect`."""
        from traindeck.backends.hosts import sshreach

        link = await self._reached()
        if isinstance(port, str):
            raise BackendError(f"{self.name}: a socket that has a path is not forwarded.")
        if isinstance(link, OpenSSHLink):
            # `ssh -W` says that nobody listens only when it is too late.
            await (await self.agent()).call("reach", {"address": address, "port": port})
            return await sshreach.openssh_connect(link, address, port)
        return await link.streams(address, port)

    async def _reached(self) -> ParamikoLink | OpenSSHLink:
        """The connection, made if need be."""
        await self.agent()
        if self._link is None:
            raise Unreachable(f"The connection to {self.name} broke.")
        return self._link

    async def aclose(self) -> None:
        """Close the connection. Runs are not touched."""
        for task in (self._connecting, self._watching):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
        self._connecting = self._watching = None
        await self._drop()

    def try_now(self) -> None:
        """See `Linked.try_now`."""
        if self._channel is None or self._channel.failed:
            self._now = True
            self._next_try = self._pause = 0.0

    # ------------------------------------------------------------------------------ connecting

    async def _connect(self) -> Channel:
        if self._channel is not None:
            self._heard = self._channel.heard
        await self._drop()
        began = time.monotonic()
        try:
            link, asked = await self._login()
            try:
                channel = await self._start_agent(link)
            except BaseException:
                await link.aclose()
                raise
        except (Unreachable, BackendError) as error:
            self._failed(error)
            raise
        self._link, self._channel, self._heard = link, channel, None
        self._by_person = asked or getattr(link, "asked", False)
        self._why = None
        self._pause = 0.0
        self._took = time.monotonic() - began
        self._watching = asyncio.create_task(self._watch(channel), name=f"watch-{self.name}")
        return channel

    async def _login(self) -> tuple[ParamikoLink | OpenSSHLink, bool]:
        """A link, and whether a secret was asked for."""
        try:
            target = await asyncio.to_thread(resolve, self.alias, config_file=self._config_file)
        except UsageError as error:
            raise NeedsPerson(error.what, error.fix) from None
        reason = await asyncio.to_thread(why_openssh, target) if self._wanted == "auto" else ""
        if self._wanted == "openssh" or reason:
            self.transport = f"openssh: {reason}" if reason else "openssh"
            return await asyncio.to_thread(OpenSSHLink, target), False
        self.transport = "paramiko"
        alone = self._wanted != "auto" or shutil.which(target.ssh[0]) is None
        try:
            return await self._dial(target, alone)
        except NotLetIn as error:
            if alone:
                raise
            # It may have keys, tickets or algorithms that we have not.
            self.transport = f"openssh: {error.what.rstrip('.')}"
            return await asyncio.to_thread(OpenSSHLink, target), False

    async def _dial(self, target: Target, alone: bool) -> tuple[ParamikoLink, bool]:
        worker = Worker(f"ssh-{self.name}")
        try:
            made = await worker.do(lambda: dial(target, self._config_file, alone=alone))
        except BaseException:
            worker.end()
            raise
        return ParamikoLink(self.name, made.transport, made.beneath, worker), made.asked

    async def _start_agent(self, link: ParamikoLink | OpenSSHLink) -> Channel:
        marker = secrets.token_hex(16)
        pipe = await link.open(greeting.command_line(marker, self.root, self.python, SILENCE))
        assert pipe.writer is not None
        try:
            greet = greeting.greet(pipe.reader, pipe.writer, marker)
            self.banner = await self._in_time(greet, link)
        except BaseException as error:
            await asyncio.sleep(0)  # what was written to stderr last
            said = pipe.said()
            pipe.close()
            if isinstance(error, TimeoutError) and self.transport.endswith("(FIDO)"):
                raise NeedsPerson(
                    f"{self.name}: its security key was not touched within {GREETING:.0f} s.",
                    how_to_connect(),
                ) from None
            if isinstance(error, TimeoutError):
                raise Unreachable(
                    f"{self.name} let us in, and no agent answered within {GREETING:.0f} s.",
                    "Does something in its shell's start-up wait, or is its home on a slow disk?",
                ) from None
            if isinstance(error, greeting.NoRoom):
                why = _ERRNO.sub("", last_words(said))
                raise BackendError(
                    f"{self.name}: {self.root} cannot be written ({why}).",
                    "Choose another folder there with `root` in the backend's settings.",
                ) from None
            if (
                isinstance(error, Unreachable)
                and isinstance(link, OpenSSHLink)
                and (said or link.said())
            ):
                raise link.failure(said) from None
            if isinstance(error, (Unreachable, BackendError)):
                raise type(error)(f"{self.name}: {error.what}", error.fix) from None
            raise
        self._pipe = pipe
        return Channel(pipe.reader, pipe.writer, None)

    @staticmethod
    async def _in_time(greet: Coroutine[Any, Any, str], link: ParamikoLink | OpenSSHLink) -> str:
        """What a greeting brings. That somebody is asked for a code meanwhile does not count.

        Raises:
            TimeoutError: It takes too long.
        """
        task = asyncio.create_task(greet, name="greeting")
        try:
            while not (await asyncio.wait({task}, timeout=GREETING))[0]:
                asked = link.last_asked if isinstance(link, OpenSSHLink) else -math.inf
                if time.monotonic() - asked > GREETING:
                    raise TimeoutError
            return await task
        finally:
            task.cancel()

    def _failed(self, error: Unreachable | BackendError) -> None:
        """Note that a connection could not be made, and when to try again."""
        if self._why is None:
            self._since = time.time()
        self._why = error
        self._by_person |= isinstance(error, NeedsPerson) or not isinstance(error, Unreachable)
        self._pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, self._pause * 2))
        self._next_try = time.monotonic() + self._pause * random.uniform(0.7, 1.3)  # noqa: S311

    def _refuse_again(self, why: Unreachable | BackendError) -> None:
        """Raises what went wrong last, if it is not to be tried again yet."""
        if self._by_person:
            raise why
        left = self._next_try - time.monotonic()
        if left > 0:
            raise NotAgainYet(why.what, f"Next try in {max(1, round(left))} s.")

    # ---------------------------------------------------------------------------- watching it

    async def _watch(self, channel: Channel) -> None:
        """Have signs of life exchanged, and give up a connection that is dead."""
        pinged = time.monotonic()
        while not channel.failed:
            await asyncio.sleep(LOOK)
            slept = self._slept()
            now = time.monotonic()
            if not slept and now - pinged < PING:
                continue
            pinged = now
            try:
                await channel.call("ping", timeout=3.0 if slept else ANSWER)
            except Unreachable:
                if time.monotonic() - channel.heard < ANSWER and not slept:
                    continue  # it is busy with something else
                break
            except BackendError:
                continue
        if not channel.failed:
            channel.fail(Unreachable(f"{self.name} does not answer any more."))

    def _slept(self) -> bool:
        """Whether the clocks have parted since the last look: this machine was asleep."""
        offset = time.time() - time.monotonic()
        before, self._offset = self._offset, offset
        return abs(offset - before) > AWAKE

    async def _drop(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None and watching is not asyncio.current_task():
            watching.cancel()
        channel, self._channel = self._channel, None
        pipe, self._pipe = self._pipe, None
        link, self._link = self._link, None
        if channel is not None:
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(2):
                    await channel.aclose()
        if pipe is not None:
            pipe.close()
        if link is not None:
            await link.aclose()


def make(name: str, options: Mapping[str, Any]) -> Any:
    """A process backend on another machine, from a settings entry (`kind: ssh`).

    Raises:
        UsageError: An option that does not exist, or a value that cannot be.
    """
    from traindeck.backends.process import ENVIRONMENT, ProcessBackend, environment_of

    executes = environment_of(name, options)
    host = host_from(name, {k: v for k, v in options.items() if k not in ENVIRONMENT})
    return ProcessBackend(name, host, kind="ssh", **executes)


def discover(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The machines that the user's ssh configuration names.

    Raises:
        UsageError: The `ssh_config` that was given cannot be read.
    """
    from traindeck.backends.hosts.sshhosts import hosts_in_config

    return hosts_in_config(config_file=options.get("ssh_config"))


def host_from(name: str, options: Mapping[str, Any]) -> SSHHost:
    """The host that a settings entry describes.

    Raises:
        UsageError: As for `make`.
    """
    from traindeck.backends.files import folder_named

    known = ("host", "ssh_config", "transport", "root", "python")
    unknown = sorted(set(options) - set(known))
    where = f"backends.{name}"
    if unknown:
        raise UsageError(
            f"{where}: an ssh backend has no option {unknown[0]!r}.",
            f"It takes {', '.join(known)}, environment and prelude.",
        )
    transport = options.get("transport") or "auto"
    if transport not in TRANSPORTS:
        raise UsageError(
            f"{where}.transport is {str(transport)[:60]!r}.",
            f"Expected one of {', '.join(TRANSPORTS)}.",
        )
    for option in ("host", "python", "ssh_config"):
        value = options.get(option)
        if value is not None and not (isinstance(value, str) and greeting.can_be_sent(value)):
            raise UsageError(f"{where}.{option} is {str(value)[:60]!r}: expected a plain name.")
    root = options.get("root") or "~/.traindeck"
    if folder_named(root) is None or not greeting.can_be_sent(root):
        raise UsageError(f"{where}.root is {str(root)[:60]!r}: expected a folder from / or ~ on.")
    return SSHHost(
        name,
        options.get("host") or name,
        config_file=options.get("ssh_config"),
        transport=transport,
        root=root,
        python=options.get("python"),
    )
