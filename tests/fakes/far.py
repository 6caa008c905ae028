"""A host elsewhere, for who has no other machine: this one, with a root of its own, whose files are
not looked at, behind a link that can be cut."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from traindeck.backends.base import Capability, JobRef, LinkState, Reach, Status, Unreachable
from traindeck.backends.hosts.channel import Channel
from traindeck.backends.hosts.local import LocalHost
from traindeck.backends.process import ProcessBackend

CUT = "gpu1 does not answer: the cable was cut."


class FarHost(LocalHost):
    """The host. `cut` breaks its link in the middle of what is under way; `mend` undoes it."""

    name = "gpu1"
    here = False

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.whole = True
        self.asked: list[str] = []
        self.sent = 0

    @property
    def link(self) -> LinkState:
        return LinkState() if self.whole else LinkState(state=Reach.DOWN, why=CUT)

    async def agent(self) -> Channel:
        if not self.whole:
            raise Unreachable(CUT)
        return _Counted(self, await super().agent())  # type: ignore[return-value]

    def cut(self) -> None:
        self.whole = False
        self.break_off()

    def break_off(self) -> None:
        """Lose the connection; the next one can be made at once."""
        served = self._served
        if served is not None and served.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(served.process.pid, signal.SIGKILL)

    def mend(self) -> None:
        self.whole = True


class _Counted:
    """A channel that notes what is asked through it."""

    def __init__(self, host: FarHost, inner: Channel) -> None:
        self._host = host
        self._inner = inner

    async def call(
        self, verb: str, params: Mapping[str, Any] | None = None, body: bytes = b"", **how: Any
    ) -> Any:
        self._host.asked.append(verb)
        answer = await self._inner.call(verb, params, body, **how)
        self._host.sent += len(answer[1])
        return answer

    def stream(self, verb: str, params: Mapping[str, Any] | None = None) -> Any:
        self._host.asked.append(verb)
        return self._inner.stream(verb, params)


class FarBackend(ProcessBackend):
    """Runs processes on it."""

    host: FarHost

    def __init__(self, root: Path, name: str = "gpu1") -> None:
        super().__init__(name, FarHost(root))
        assert not self.capabilities & Capability.HERE

    async def end(self) -> None:
        """End all runs there, and the connection."""
        self.host.mend()
        for _ in range(3):  # the first question may still find the old link
            with suppress(Unreachable):
                for ref in await self.find():
                    await self.cancel(ref, grace=0.0)
                    await self.until_over(ref)
                break
        await self.aclose()

    async def until_over(self, ref: JobRef) -> Status:
        """Wait for the end of a run."""
        while not (status := (await self.poll([ref]))[ref]).state.terminal:
            await asyncio.sleep(0.02)
        return status
