"""Runs elsewhere that are asked about again and again: they are told of instead, and what is known
of them is never older than it says."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.services.proxy import Proxy
from tests.services.sshd import Box, Sshd

from traindeck.backends import watched
from traindeck.backends.base import JobRef, RunSpec, State, Status
from traindeck.backends.hosts.channel import Channel
from traindeck.backends.hosts.ssh import SSHHost
from traindeck.backends.process import ProcessBackend

ASKED = watched.TIMES - 1
"""Questions before a watch."""


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """However soon one poll follows another, it may be answered by what was told."""
    monkeypatch.setattr(watched, "APART", 0.0)


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What agents were asked."""
    counts: Counter[str] = Counter()
    call, stream = Channel.call, Channel.stream

    async def counted(self: Channel, verb: str, *more: Any, **named: Any) -> Any:
        counts[verb] += 1
        return await call(self, verb, *more, **named)

    def streamed(self: Channel, verb: str, *more: Any, **named: Any) -> Any:
        counts[verb] += 1
        return stream(self, verb, *more, **named)

    monkeypatch.setattr(Channel, "call", counted)
    monkeypatch.setattr(Channel, "stream", streamed)
    return counts


@asynccontextmanager
async def place(sshd: Sshd) -> AsyncIterator[ProcessBackend]:
    backend = ProcessBackend("box0", SSHHost("box0", "box0", config_file=str(sshd.config)))
    try:
        yield backend
    finally:
        await backend.aclose()


async def start(backend: ProcessBackend, *argv: str) -> JobRef:
    run_id = "".join(secrets.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(12))
    spec = RunSpec(run_id=run_id, argv=argv, cwd="/")
    return await backend.submit(backend.plan(spec, await backend.survey(spec)))


async def look(backend: ProcessBackend, ref: JobRef) -> Status:
    return (await backend.poll([ref]))[ref]


async def watch(backend: ProcessBackend, ref: JobRef, verbs: Counter[str]) -> None:
    """Ask until one is told instead."""
    verbs.clear()
    for _ in range(watched.TIMES):
        assert (await look(backend, ref)).state in (State.STARTING, State.RUNNING)
    assert (verbs["poll"], verbs["watch"]) == (ASKED, 1)


@pytest.mark.usefixtures("often")
async def test_the_end_of_a_watched_run_is_told_and_not_asked_for(
    tmp_path: Path, verbs: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "EVERY", 600.0)
    go = tmp_path / "go"
    with Sshd(tmp_path / "s", Box()) as sshd:
        async with place(sshd) as backend:
            script = f"while [ ! -e {go} ]; do sleep 0.05; done; exit 3"
            ref = await start(backend, "sh", "-c", script)
            await watch(backend, ref, verbs)
            before = await look(backend, ref)
            assert before == await look(backend, ref)  # with the date of what was heard last
            go.touch()
            while not (seen := await look(backend, ref)).state.terminal:
                await asyncio.sleep(0.01)
            assert (seen.state, seen.exit_code) == (State.FAILED, 3)
            assert before.observed_at < seen.observed_at <= time.time()
            assert (verbs["poll"], verbs["watch"]) == (ASKED, 1)


@pytest.mark.usefixtures("often")
async def test_after_what_was_done_to_a_run_it_is_asked_about(
    tmp_path: Path, verbs: Counter[str]
) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        async with place(sshd) as backend:
            ref = await start(backend, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
            await watch(backend, ref, verbs)
            await backend.cancel(ref, grace=600)
            assert (await look(backend, ref)).state is State.STOPPING
            assert verbs["poll"] == ASKED + 1
            await watch_again(backend, ref, verbs)
            await backend.cancel(ref, grace=0)
            while not (await look(backend, ref)).state.terminal:
                await asyncio.sleep(0.01)
            assert await backend.remove(ref) > 0
            assert (await look(backend, ref)).state is State.LOST


async def watch_again(backend: ProcessBackend, ref: JobRef, verbs: Counter[str]) -> None:
    before = verbs["watch"]
    while verbs["watch"] == before:
        assert (await look(backend, ref)).state is State.STOPPING


@pytest.mark.usefixtures("often")
async def test_no_answer_is_older_than_one_before_it(tmp_path: Path, verbs: Counter[str]) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        async with place(sshd) as backend:
            ref, other = await start(backend, "sleep", "600"), await start(backend, "sleep", "600")
            both = [ref, other]
            for _ in range(watched.TIMES):
                await backend.poll(both)
            assert (verbs["poll"], verbs["watch"]) == (ASKED, 1)
            alone = await look(backend, ref)
            together = (await backend.poll(both))[ref]
            assert together.observed_at >= alone.observed_at
            assert (verbs["poll"], verbs["watch"]) == (ASKED + 2, 1)
            for run in both:
                await backend.cancel(run, grace=0)


@pytest.mark.usefixtures("often")
async def test_a_machine_that_falls_silent_is_asked_and_its_runs_are_as_old_as_they_are(
    tmp_path: Path, verbs: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "EVERY", 0.2)
    with Sshd(tmp_path, Box()) as sshd, Proxy(sshd[0].port) as proxy:
        sshd.write_configuration(ports={"box0": proxy.port})
        async with place(sshd) as backend:
            ref = await start(backend, "sleep", "600")
            await watch(backend, ref, verbs)
            proxy.stall()
            stalled = time.time()
            while verbs["poll"] == ASKED:
                try:
                    async with asyncio.timeout(0.5):
                        assert (await look(backend, ref)).observed_at <= stalled
                except TimeoutError:
                    assert verbs["poll"] == ASKED + 1
                await asyncio.sleep(0.01)
            proxy.heal()
            assert (await look(backend, ref)).observed_at > stalled
            await backend.cancel(ref, grace=0)


@pytest.mark.usefixtures("often")
async def test_a_connection_that_broke_takes_the_watch_with_it(
    tmp_path: Path, verbs: Counter[str]
) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        async with place(sshd) as backend:
            ref = await start(backend, "sleep", "600")
            await watch(backend, ref, verbs)
            channel = await backend.host.agent()
            assert isinstance(channel, Channel)
            sshd[0].drop()
            while not channel.failed:
                await asyncio.sleep(0.01)
            await watch(backend, ref, verbs)
            await backend.cancel(ref, grace=0)


@pytest.mark.usefixtures("often")
async def test_an_agent_that_cannot_watch_is_asked(
    tmp_path: Path, verbs: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "VERB", "no-such")  # which is what `watch` is to an older one
    with Sshd(tmp_path, Box()) as sshd:
        async with place(sshd) as backend:
            ref = await start(backend, "sleep", "600")
            for _ in range(8):
                assert (await look(backend, ref)).state in (State.STARTING, State.RUNNING)
            assert (verbs["poll"], verbs["no-such"]) == (8, 1)
            await backend.cancel(ref, grace=0)


@pytest.mark.usefixtures("often")
async def test_a_watch_that_nobody_asks_any_more_is_closed(
    tmp_path: Path, verbs: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "EVERY", 0.2)
    with Sshd(tmp_path, Box()) as sshd:
        async with place(sshd) as backend:
            ref = await start(backend, "sleep", "600")
            await watch(backend, ref, verbs)
            bells = sshd[0].home / ".traindeck/bells"
            assert list(bells.iterdir())
            monkeypatch.setattr(watched, "IDLE", 0.3)
            while list(bells.iterdir()):
                await asyncio.sleep(0.01)
            await look(backend, ref)
            assert verbs["poll"] == ASKED + 1
            await backend.cancel(ref, grace=0)


async def test_who_asks_often_is_answered_by_asking(tmp_path: Path, verbs: Counter[str]) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        async with place(sshd) as backend:
            ref = await start(backend, "sleep", "600")
            for _ in range(8):
                await look(backend, ref)
            assert (verbs["poll"], verbs["watch"]) == (8, 0)
            await backend.cancel(ref, grace=0)
