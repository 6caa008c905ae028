"""Which place takes a run that names none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.fake import FakeBackend, Place

from traindeck.backends.base import UsageError
from traindeck.console.runs import choosing
from traindeck.console.runs.choosing import Candidate, ranked, reason
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.runs.workspace import Workspace
from traindeck.console.store.places import Places

BUSY = Candidate(name="gpu1", refused="1 of 4 GPUs of box are free now")
LAB = Candidate(name="lab", starts_in=1800.0, found="partition gpu: none of 8 GPUs free")
BIG = Candidate(name="big", starts_in=7200.0)
DARK = Candidate(name="dark", starts_in=None)
FREE = Candidate(name="gpu2", found="2 of 4 GPUs free")


def names(*asked: Candidate) -> list[str]:
    return [one.name for one in ranked(asked)]


def test_the_first_that_can_start_now_goes_before_any_that_waits() -> None:
    assert names(LAB, BUSY, FREE, Candidate(name="last")) == ["gpu2", "last", "lab"]


def test_else_it_is_the_shortest_stated_wait_and_an_unknown_one_comes_last() -> None:
    assert names(DARK, BIG, BUSY, LAB) == ["lab", "big", "dark"]


def test_the_reason_says_what_it_has_and_what_those_before_it_lack() -> None:
    asked = [BUSY, LAB, DARK, FREE, BIG]
    refused = {BUSY.name: BUSY.refused}
    assert reason(FREE, asked, refused) == (
        "gpu2: 2 of 4 GPUs free; not gpu1: 1 of 4 GPUs of box are free now; "
        "not lab: starts there in about 30m; not dark: when it would start there is not known"
    )
    assert reason(LAB, [BUSY, LAB], refused).startswith("lab: starts there in about 30m; not")


@pytest.fixture
async def ws(tmp_path: Path, home: Path) -> AsyncIterator[Workspace]:
    places = Places(config=tmp_path, state=tmp_path, index=tmp_path / "index.db")
    names = ("slow", "gone", "local")
    places.settings.write_text(
        "backends:\n" + "".join(f"  {n}:\n    kind: process\n    root: /r/{n}\n" for n in names)
    )
    made = Workspace(places=places, environ={"PATH": "/bin"})
    place = Place()
    for name in names:
        made.use_backend(FakeBackend(name, place if name != "gone" else Place()))
    yield made
    await made.aclose()
    await place.close()


async def make(name: str) -> LaunchRequest:
    return LaunchRequest(argv=("true",), on=name, cwd="/")


async def test_nobody_waits_for_a_place_that_does_not_answer(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "WITHIN", 0.05)
    ws.backend("slow").delay = 1000.0  # type: ignore[attr-defined]
    ws.backend("gone").place.reachable = False  # type: ignore[attr-defined]
    made = await choosing.plan(ws, make)
    assert made.backend == "local"
    assert made.place.startswith("local: it can start now; not slow: no answer within 0 s; not go")


async def test_a_run_that_waits_for_another_goes_where_that_is(ws: Workspace) -> None:
    assert (await choosing.plan(ws, make, only={"gone"})).backend == "gone"


async def test_where_no_place_has_what_is_asked_for_each_says_why(ws: Workspace) -> None:
    async def odd(name: str) -> LaunchRequest:
        return LaunchRequest(argv=("true",), on=name, cwd="/", options={"partition": "moon"})

    with pytest.raises(UsageError, match=r"No place can take this run. slow: .*partition.* gone: "):
        await choosing.plan(ws, odd)
    with pytest.raises(UsageError, match="no conda"):
        await choosing.plan(ws, _no_environment)


async def _no_environment(name: str) -> LaunchRequest:
    return LaunchRequest(argv=("true",), on=name, cwd="/", environment="conda:a b")
