"""Places that a person asks something of: tried at once, and allowed to ask back for that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fakes.far import FarHost

from traindeck.backends.asking import is_attended, unattended
from traindeck.backends.base import LinkState, Reach, Unreachable
from traindeck.backends.hosts.channel import Channel
from traindeck.backends.process import ProcessBackend
from traindeck.console.runs import placing
from traindeck.console.runs.placing import Found
from traindeck.console.runs.workspace import Workspace, open_workspace
from traindeck.console.settings import load


class Shy(FarHost):
    """A host that only a person can connect to, or (`due`) one that makes a pause."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.whole = False
        self.due: float | None = None
        self.tries: list[bool] = []
        self.now = False

    @property
    def link(self) -> LinkState:
        if self.whole:
            return LinkState()
        person = self.due is None
        return LinkState(state=Reach.DOWN, why="It is shy.", next_try=self.due, person=person)

    def try_now(self) -> None:
        self.now = True

    async def agent(self) -> Channel:
        if not self.whole:
            self.tries.append(is_attended())
            if not (self.now and is_attended()):
                raise Unreachable("It is shy.", "Ask it yourself.")
            self.whole = True
        return await super().agent()


@pytest.fixture
async def ws(home: Path) -> AsyncIterator[Workspace]:
    async with open_workspace() as made:
        yield made


@pytest.fixture
def shy(ws: Workspace, tmp_path: Path) -> Shy:
    host = Shy(tmp_path / "far")
    ws.use_backend(ProcessBackend("gpu1", host))
    return host


async def test_a_check_nobody_asked_for_asks_nobody_and_one_of_a_persons_may(
    ws: Workspace, shy: Shy
) -> None:
    with unattended():
        health = await placing.check_backend(ws, "gpu1", asked=False)
        assert health.checks == ((False, "It is shy. Ask it yourself."),)
        assert not shy.now and shy.tries == [False]
        health = await placing.check_backend(ws, "gpu1")
        assert not is_attended()
    assert health.reach is Reach.OK and shy.tries == [False, True]


async def test_a_place_that_makes_a_pause_is_left_alone_until_a_person_asks(
    ws: Workspace, shy: Shy
) -> None:
    shy.due = ws.clock() + 60
    health = await placing.check_backend(ws, "gpu1", asked=False)
    assert health.checks == ((False, "It is shy."),) and shy.tries == []
    assert (await placing.check_backend(ws, "gpu1")).reach is Reach.OK


async def test_what_a_person_begins_connects_first_and_asks_nobody_later(
    ws: Workspace, shy: Shy
) -> None:
    with unattended():
        await placing.connect(ws, "gpu1")
        assert shy.whole and shy.tries == [True] and not is_attended()
        await placing.connect(ws, "gpu1")
        assert shy.tries == [True]
        await placing.connect(ws, "nowhere")  # what is begun says so


def test_a_machine_that_was_found_gets_a_name_that_can_be_and_is_free(
    ws: Workspace, home: Path
) -> None:
    (home / ".ssh").mkdir()
    hosts = ("gpu1", "me@gpu1.example.org", "x" * 60)
    (home / ".ssh/config").write_text("".join(f"Host {host}\n" for host in hosts))
    found = placing.found_places(ws)
    assert found == [Found(kind="ssh", host=host) for host in hosts]
    names = [placing.add_found(ws, each).name for each in found]
    assert names == ["gpu1", "gpu1-2", "x" * 28]
    settings = load(ws.places.settings)
    assert settings.backends["gpu1"].options == {}
    assert settings.backends["gpu1-2"].options == {"host": "me@gpu1.example.org"}
    assert placing.found_places(ws) == []
