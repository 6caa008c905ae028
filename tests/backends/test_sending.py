"""Code on its way to a real agent: what travels, in how many round trips, and what a cut costs."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.content import MemoryContent

from traindeck.backends import sending
from traindeck.backends.base import (
    AgentChannel,
    AgentRefused,
    BackendError,
    Blob,
    JobRef,
    Plan,
    RunSpec,
    Unreachable,
    plan_digest,
)
from traindeck.backends.hosts.local import LocalHost
from traindeck.backends.process import ProcessBackend
from traindeck.console.store.ids import mint_id

FILES = {f"pkg{n % 10}/m{n}.py": b"x = %d\n" % n for n in range(600)}


class Watched(LocalHost):
    """A local host whose requests are written down: verb, bytes after it, and how many requests
    were waiting for an answer when it was sent. `refuse` may break one off; `held` are verbs whose
    answers do not arrive before something else was asked."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.asked: list[tuple[str, int, int]] = []
        self.waiting = 0
        self.refuse: Callable[[str], bool] = lambda verb: False
        self.held: tuple[str, ...] = ()
        self.next = asyncio.Event()

    async def agent(self) -> Any:
        return WatchedChannel(self, await super().agent())

    def verbs(self) -> list[str]:
        return [verb for verb, _, _ in self.asked]


class WatchedChannel:
    def __init__(self, host: Watched, inner: AgentChannel) -> None:
        self.host = host
        self.inner = inner

    async def call(
        self,
        verb: str,
        params: Mapping[str, Any] | None = None,
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        if self.host.refuse(verb):
            raise Unreachable("The link was cut.")
        self.host.asked.append((verb, len(body), self.host.waiting))
        self.host.waiting += 1
        self.host.next.set()
        self.host.next = asked_next = asyncio.Event()
        try:
            answer = await self.inner.call(verb, params, body, timeout=timeout)
            if verb in self.host.held:
                await asyncio.wait_for(asked_next.wait(), 20)
            return answer
        finally:
            self.host.waiting -= 1

    def stream(
        self, verb: str, params: Mapping[str, Any] | None = None
    ) -> AbstractAsyncContextManager[Any]:
        return self.inner.stream(verb, params)


@pytest.fixture
async def host(tmp_path: Path, home: Path) -> AsyncIterator[Watched]:
    made = Watched(tmp_path / "root")
    yield made
    await made.aclose()


async def planned(host: Watched, code: MemoryContent) -> tuple[ProcessBackend, Plan]:
    backend = ProcessBackend("box", host)
    spec = RunSpec(
        run_id=mint_id(), argv=("true",), cwd="/somewhere", code=code.code, env={"PATH": os.defpath}
    )
    # The folder that is copied need not be there.
    facts = await backend.survey(spec)
    plan = backend.plan(spec, replace(facts, cwd_ok=True))
    host.asked.clear()
    return backend, plan


async def submit(host: Watched, code: MemoryContent) -> JobRef:
    backend, plan = await planned(host, code)
    return await backend.submit(plan)


def folder(host: Watched, ref: JobRef) -> Path:
    return host.root / "runs" / ref.run_id / "code"


def changed(code: MemoryContent, path: str, data: bytes) -> MemoryContent:
    """The same code with another file, as a later snapshot finds it."""
    later = MemoryContent({**FILES, path: data})
    later.places = code.places
    return later


async def test_the_first_time_the_place_is_asked_what_it_has_not(host: Watched) -> None:
    code = MemoryContent(FILES)
    ref = await submit(host, code)
    assert host.verbs()[0] == "blobs_missing" and host.verbs()[-1] == "start"
    assert set(host.verbs()[1:-1]) == {"blobs_put"}
    assert (folder(host, ref) / "pkg7/m17.py").read_bytes() == b"x = 17\n"
    assert len(list(folder(host, ref).rglob("*.py"))) == 600


async def test_one_changed_file_is_one_round_trip_and_a_few_kilobytes(host: Watched) -> None:
    code = MemoryContent(FILES)
    await submit(host, code)
    host.held = ("blobs_put",)
    ref = await submit(host, changed(code, "pkg7/m17.py", b"x = 'new'\n"))
    assert host.verbs() == ["blobs_put", "start"]
    assert host.asked[1][2] == 1, "the request waits for no answer"
    assert host.asked[0][1] < 10_000
    assert (folder(host, ref) / "pkg7/m17.py").read_bytes() == b"x = 'new'\n"
    assert (folder(host, ref) / "pkg8/m18.py").read_bytes() == b"x = 18\n"


async def test_the_same_code_again_is_not_sent(host: Watched) -> None:
    code = MemoryContent(FILES)
    await submit(host, code)
    await submit(host, code)
    assert host.verbs() == ["start"]


async def test_another_console_sends_only_what_is_not_there(host: Watched) -> None:
    await submit(host, MemoryContent(FILES))
    await submit(host, MemoryContent({**FILES, "new.py": b"new"}))
    assert host.verbs() == ["blobs_missing", "blobs_put", "start"]
    assert host.asked[1][1] < 2_000


@pytest.mark.parametrize("lost", ["all", "one file", "one folder"])
async def test_a_place_that_lost_what_it_had_is_sent_it_again(host: Watched, lost: str) -> None:
    code = MemoryContent(FILES)
    await submit(host, code)
    if lost == "all":
        shutil.rmtree(host.root / "blobs")
    else:
        digest = hashlib.sha256(b"x = 17\n").hexdigest()
        if lost == "one folder":
            digest = next(d for d, data in code.data.items() if b'"m17.py"' in data)
        (host.root / "blobs" / digest[:2] / digest).unlink()
    ref = await submit(host, changed(code, "pkg1/m1.py", b"x = 'new'\n"))
    assert len(list(folder(host, ref).rglob("*.py"))) == 600
    assert (folder(host, ref) / "pkg7/m17.py").read_bytes() == b"x = 17\n"


async def test_a_cut_does_not_send_again_what_arrived(host: Watched) -> None:
    large = os.urandom(6 << 20)
    code = MemoryContent({"large.bin": large, **FILES})
    backend, plan = await planned(host, code)
    host.refuse = lambda verb: host.verbs().count("blobs_put") == 4
    with pytest.raises(Unreachable):
        await backend.submit(plan)
    host.refuse = lambda verb: False
    # What was under way is either there or not, as after a real cut.
    await (await host.agent()).call("hello")
    before = sum(size for verb, size, _ in host.asked if verb == "blobs_put")
    host.asked.clear()
    ref = await backend.submit(plan)
    after = sum(size for verb, size, _ in host.asked if verb == "blobs_put")
    assert (folder(host, ref) / "large.bin").read_bytes() == large
    assert before + after == sum(code.sizes.values())


async def test_no_request_is_larger_than_a_mebibyte_and_few_are_under_way(host: Watched) -> None:
    code = MemoryContent(
        {"large.bin": os.urandom((5 << 20) + 1), **{f"s{n}": b"%d" % n for n in range(3000)}}
    )
    await submit(host, code)
    puts = [(size, waiting) for verb, size, waiting in host.asked if verb == "blobs_put"]
    assert max(size for size, _ in puts) <= sending.PIECE
    assert max(waiting for _, waiting in puts) < sending.AHEAD


async def test_progress_is_told_up_to_all_of_it(host: Watched) -> None:
    code = MemoryContent({"large.bin": os.urandom(3 << 20), "small.py": b"x"})
    await submit(host, code)
    assert code.told[-1] == (sum(code.sizes.values()),) * 2
    assert code.told == sorted(code.told) and len(code.told) >= 3


async def test_a_file_that_changed_since_is_not_sent_and_nothing_starts(
    host: Watched, tmp_path: Path
) -> None:
    file = tmp_path / "a.py"
    file.write_bytes(b"one")
    code = MemoryContent({"a.py": b"one"})
    digest = hashlib.sha256(b"one").hexdigest()
    keep = code.blob
    code.blob = lambda d: Blob(digest=d, size=3, path=str(file)) if d == digest else keep(d)  # type: ignore[method-assign]
    backend, plan = await planned(host, code)
    file.write_bytes(b"two")
    with pytest.raises(BackendError, match=r"a\.py changed after the plan was made"):
        await backend.submit(plan)
    file.unlink()
    with pytest.raises(BackendError, match=r"a\.py cannot be read: No such file"):
        await backend.submit(plan)
    assert "start" not in host.verbs()
    assert await backend.find([(plan.spec.run_id, 0)]) == []


async def test_another_refusal_is_not_taken_for_missing_code(host: Watched) -> None:
    code = MemoryContent(FILES)
    backend, plan = await planned(host, code)
    await backend.submit(plan)
    other = replace(plan, warnings=("another",))
    with pytest.raises(AgentRefused, match="taken by another plan"):
        await backend.submit(replace(other, digest=plan_digest(other)))


async def test_two_launches_at_once_send_the_same_code_without_harm(host: Watched) -> None:
    first, second = MemoryContent(FILES), MemoryContent(FILES)
    plans = [await planned(host, code) for code in (first, second)]
    refs = await asyncio.gather(*(backend.submit(plan) for backend, plan in plans))
    for ref in refs:
        assert len(list(folder(host, ref).rglob("*.py"))) == 600
