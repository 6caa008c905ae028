"""Who is asked while a machine is connected to: a person for what they have asked for themselves,
and nobody for what goes on in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hosts.test_ssh import TRANSPORTS, Person, host
from tests.services.sshd import Box, Sshd

from traindeck.backends.asking import Nobody, attended, set_asker, unattended
from traindeck.backends.base import Reach
from traindeck.backends.hosts.link import NeedsPerson
from traindeck.backends.hosts.ssh import SSHHost


@pytest.fixture
def person() -> Iterator[Person]:
    made = Person(trusts=True, secret="right")
    set_asker(made)
    yield made
    set_asker(Nobody())


async def in_background(made: SSHHost) -> None:
    with unattended(), pytest.raises(NeedsPerson):
        await made.agent()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_nobody_has_asked_for_asks_nobody(
    tmp_path: Path, person: Person, transport: str
) -> None:
    box = Box(known=False, password="right", lines=["PubkeyAuthentication no"])
    with Sshd(tmp_path, box) as sshd:
        async with host(sshd, transport=transport) as made:
            await in_background(made)
            assert (person.strangers, person.prompts) == ([], [])
            link = made.link
            assert (link.state, link.person, link.next_try) == (Reach.DOWN, True, None)
            with attended(), pytest.raises(NeedsPerson):
                await made.agent()  # waiting for it is not asking for it
            made.try_now()
            assert made.link.person  # until it is tried, what is wrong stays known
            with attended():
                await made.agent()
            assert (len(person.strangers), len(person.prompts)) == (1, 1)
            assert made.link.state is Reach.OK and not made.link.person
            made.try_now()  # changes nothing where it answers
            sshd[0].drop()
            while made.link.state is Reach.OK:
                await asyncio.sleep(0.01)
            with pytest.raises(NeedsPerson) as refused:
                await made.agent()
            # What is advised is done in this program: another's connection is of no use to it.
            assert refused.value.fix == Person.again
            await in_background(made)  # it has asked for a password: not by itself
            assert len(person.prompts) == 1


async def test_a_person_who_waits_for_what_the_background_began_is_asked(
    tmp_path: Path, person: Person
) -> None:
    with Sshd(tmp_path, Box(known=False)) as sshd:
        async with host(sshd, transport="paramiko") as made:
            began = asyncio.create_task(in_background(made))
            await asyncio.sleep(0)
            channels = await asyncio.gather(made.agent(), made.agent())
            await began
            assert channels[0] is channels[1]
            assert len(person.strangers) == 1


async def test_what_is_tried_at_once_does_not_wait_for_the_end_of_a_pause(tmp_path: Path) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        sshd[0].stop()
        async with host(sshd) as made:
            for _ in range(4):  # pauses grow
                made._next_try = 0.0
                with pytest.raises(Exception, match="refuses the connection"):
                    await made.agent()
            due = made.link.next_try
            assert due is not None and not made.link.person
            sshd[0].start()
            with pytest.raises(Exception, match="Next try in"):
                await made.agent()
            made.try_now()
            await made.agent()
            assert made.link.state is Reach.OK
