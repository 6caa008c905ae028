"""The suite's fixtures: each test gets every backend under test in turn, through a `Suite`."""

from __future__ import annotations

import asyncio
import importlib
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance import bad_days, jobs
from tests.conformance.subject import Subject, called, subject_from

from traindeck.backends.base import (
    Backend,
    BackendError,
    JobRef,
    LogChunk,
    Plan,
    RunSpec,
    State,
    Status,
    UsageError,
)

OURS = tuple(
    f"tests.conformance.subject:{name}"
    for name in ("fake", "process", "ssh", "openssh", "slurm", "slurm_over_ssh")
    + (("slurm_by_rest",) if os.environ.get("SOAK") else ())
)
BAD_DAYS = tuple(
    pytest.param(f"tests.conformance.bad_days:{name}", marks=pytest.mark.fault)
    for name in (*(day.__name__ for day in bad_days.DAYS), "stalls", "stalls_openssh")
)
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        action="append",
        metavar="MODULE:FACTORY",
        help="run the conformance suite on this backend (tests/conformance/README.md)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        targets = metafunc.config.getoption("--backend", default=None) or OURS
        if targets is OURS and os.environ.get("SOAK"):
            targets = (*OURS, *BAD_DAYS)
        metafunc.parametrize("target", targets, ids=lambda target: target.rpartition(":")[2])


LIMIT = 300
"""Seconds after which a test counts as hung: one that never ends must not stop the rest."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    def hung(number: int, frame: object) -> None:
        raise TimeoutError(f"{item.name} hung for {LIMIT} s")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(LIMIT)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def load(target: str) -> Callable[[Path], Any]:
    """The factory that `MODULE:FACTORY` names."""
    module, _, name = target.partition(":")
    factory: Callable[[Path], Any] = getattr(importlib.import_module(module), name)
    return factory


class Suite:
    """A backend under test and what the tests do with it all the time."""

    def __init__(self, subject: Subject, target: str, folder: Path) -> None:
        self.subject = subject
        self.target = target
        self.folder = folder
        self.backend = subject.make()
        self._made: list[Backend] = [self.backend]
        self._started: list[JobRef] = []

    def another(self) -> Backend:
        """Another console's backend on the same place."""
        self._made.append(self.subject.make())
        return self._made[-1]

    def need(self, name: str) -> Any:
        """A hook of the subject; without it the test is skipped."""
        hook = getattr(self.subject, name)
        if not hook:
            pytest.skip(f"{self.target} gives no `{name}`: tests/conformance/README.md")
        return hook

    def spec(self, *words: str, **changes: Any) -> RunSpec:
        """A run of a job of tests/conformance/jobs.py."""
        usual: dict[str, Any] = {
            "run_id": "".join(secrets.choice(ALPHABET) for _ in range(12)),
            "name": "conformance",
            "argv": jobs.argv(self.subject.python, *words),
            "cwd": self.subject.cwd,
            "options": self.subject.options,
            "created": 1_760_000_000.0,
        }
        return RunSpec(**{**usual, **changes})

    async def plan(self, spec: RunSpec) -> Plan:
        return self.backend.plan(spec, await self.backend.survey(spec))

    async def plan_or_skip(self, spec: RunSpec, what: str) -> Plan:
        """A plan for something a backend may refuse in words, for ever."""
        try:
            return await self.plan(spec)
        except UsageError as error:
            pytest.skip(f"{what}: {error}")

    async def submit(self, plan: Plan, secrets: dict[str, str] | None = None) -> JobRef:
        ref = await self.backend.submit(plan, secrets)
        self._started.append(ref)
        return ref

    async def launch(self, *words: str, **changes: Any) -> JobRef:
        """Plan and submit a job."""
        return await self.submit(await self.plan(self.spec(*words, **changes)))

    async def status(self, ref: JobRef) -> Status:
        return (await self.backend.poll([ref]))[ref]

    async def until(self, ref: JobRef, *states: State, attempt: int = 0) -> Status:
        """Wait for a run to be in one of these states (or to be over, without any)."""
        status = await self.status(ref)

        def reached() -> bool:
            wanted = status.state in states if states else status.state.terminal
            return wanted and status.attempt >= attempt

        clock = asyncio.get_running_loop().time
        start = clock()
        while not reached():
            if status.state.terminal and states and status.attempt >= attempt:
                pytest.fail(f"waited for {'/'.join(states)}, it is over: {status}")
            if clock() > start + self.subject.patience:
                pytest.fail(f"waited for {'/'.join(states) or 'an end'}, it is: {status}")
            # A look at a cluster starts commands there: not too many beside what is waited for.
            await asyncio.sleep(min(0.02 + (clock() - start) / 10, 0.2))
            status = await self.status(ref)
        return status

    async def read(
        self, ref: JobRef, *, cursor: str = "", follow: bool = True, until: bytes | None = None
    ) -> list[LogChunk]:
        """The chunks of a log to its end, or to the one with which `until` has been seen."""
        got: list[LogChunk] = []
        seen = b""
        async with asyncio.timeout(self.subject.patience):
            async with self.backend.logs(ref, cursor=cursor, follow=follow) as stream:
                async for chunk in stream:
                    got.append(chunk)
                    seen += chunk.data
                    if chunk.eof or (until is not None and until in seen):
                        break
        return got

    async def log(self, ref: JobRef, **how: Any) -> bytes:
        """The bytes of a log, as `read`."""
        return b"".join(chunk.data for chunk in await self.read(ref, **how))

    async def said(self, ref: JobRef, text: str) -> None:
        """Wait until a job has written this."""
        await self.read(ref, until=text.encode())

    async def end(self) -> None:
        """Stop what was started and give everything back."""
        await called(self.subject.restore)
        last = self.another()
        for ref in self._started:
            try:
                await last.cancel(ref, grace=0.0)
            except BackendError:
                continue
        for ref in self._started:
            async with asyncio.timeout(self.subject.patience):
                while not (await last.poll([ref]))[ref].state.terminal:
                    await last.cancel(ref, grace=0.0)
                    await asyncio.sleep(0.02)
        for backend in self._made:
            await backend.aclose()
        await called(self.subject.close)


@pytest.fixture(scope="session", autouse=True)
def no_cluster_is_left() -> Iterator[None]:
    """End the cluster that the tests of a session share, if one was started."""
    yield
    from tests.services.slurm import end_shared

    end_shared()


@pytest.fixture
async def suite(target: str, tmp_path: Path, home: Path) -> AsyncIterator[Suite]:
    """The backend under test, on a place of its own."""
    made = Suite(subject_from(load(target), tmp_path), target, tmp_path)
    yield made
    await made.end()
