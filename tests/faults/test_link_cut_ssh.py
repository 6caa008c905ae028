"""Real SSH through a network that cuts it at any byte: what is copied and printed of logs that grow
is byte for byte what they are, and what cannot be known is said.

SOAK: 20 logs of 50 MB and 100 cuts each way of connecting; else a few of each.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.test_link_cut import CUTS as BOTH_CUTS
from tests.faults.test_link_cut import LOG, LOGS, SIZE, SOAK, WRITE, piece
from tests.services.proxy import Proxy
from tests.services.sshd import Box, Server, Sshd

from traindeck.backends.base import JobRef, Reach, RunSpec, Unreachable
from traindeck.backends.hosts.link import NeedsPerson
from traindeck.backends.hosts.ssh import SSHHost
from traindeck.backends.process import ProcessBackend
from traindeck.console.runs.following import Filler
from traindeck.console.store.mirror import Mirror

PATIENCE = 60.0
CUTS = BOTH_CUTS // 2 if SOAK else BOTH_CUTS
DIALS = 100 if SOAK else 3


@pytest.fixture
def sshd(tmp_path: Path, home: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path / "sshd", Box()) as sshd:
        yield sshd


@pytest.fixture
def proxy(sshd: Sshd) -> Iterator[Proxy]:
    with Proxy(sshd[0].port) as proxy:
        sshd.write_configuration(ports={"box0": proxy.port})
        yield proxy


@pytest.fixture(params=["paramiko", "openssh"])
async def place(request: pytest.FixtureRequest, sshd: Sshd) -> AsyncIterator[ProcessBackend]:
    host = SSHHost("gpu1", "box0", config_file=str(sshd.config), transport=request.param)
    made = ProcessBackend("gpu1", host)
    yield made
    await made.aclose()


async def launch(place: ProcessBackend, *argv: str) -> JobRef:
    run_id = "".join(random.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(12))
    spec = RunSpec(run_id=run_id, name="cut", argv=argv, cwd="/", created=1.0)
    return await place.submit(place.plan(spec, await place.survey(spec)))


def log_of(box: Server, run_id: str) -> bytes:
    return (box.home / ".traindeck/runs" / run_id / LOG).read_bytes()


async def test_every_mirror_is_its_log_though_the_link_is_cut_at_any_byte(
    place: ProcessBackend, proxy: Proxy, sshd: Sshd, tmp_path: Path
) -> None:
    rng = random.Random(11)
    mirror = Mirror(tmp_path / "mirror")
    refs = [
        await launch(place, sys.executable, "-c", WRITE, str(seed), str(SIZE))
        for seed in range(LOGS)
    ]
    fillers = [Filler(place, ref, 0, mirror.copy(ref.run_id, LOG)) for ref in refs]
    for filler in fillers:
        filler.start()
    asked, cuts = -1, 0
    while not all(filler.ended for filler in fillers):
        await asyncio.sleep(0.02)
        counts = await asyncio.to_thread(proxy.counts)
        cuts = counts.cuts
        if cuts > asked and cuts < CUTS:
            asked = cuts
            way = "down" if rng.random() < 0.8 else "up"
            most = LOGS * SIZE // (CUTS + 1) if way == "down" else 2000
            await asyncio.to_thread(proxy.cut_after, rng.randrange(1, most), way)
        for filler, ref in zip(fillers, refs, strict=True):
            held = filler.copy.held()
            if held.size and rng.random() < 0.05:
                at = rng.randrange(held.size)
                data = filler.copy.read(at, 1 << 16, held.content)
                path = sshd[0].home / ".traindeck/runs" / ref.run_id / LOG
                assert data and data == piece(path, at, len(data))
    assert cuts >= CUTS // 2
    for filler, ref in zip(fillers, refs, strict=True):
        held = filler.copy.held()
        assert (held.begin, held.size) == (0, SIZE)
        assert filler.copy.read(0, SIZE, held.content) == log_of(sshd[0], ref.run_id)
        await filler.aclose()


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_link_that_is_cut_while_it_is_made_is_made_again_by_itself(
    place: ProcessBackend, proxy: Proxy, way: str
) -> None:
    """Wherever it is cut, also while we log in: nobody has been turned away by that."""
    rng = random.Random(5)
    host = place.host
    assert isinstance(host, SSHHost)
    await host.agent()
    await host._drop()
    before = proxy.counts()
    await host.agent()
    after = proxy.counts()
    whole = after.up - before.up if way == "up" else after.down - before.down
    for _ in range(DIALS):
        await host._drop()
        proxy.cut_after(rng.randrange(1, whole), way)
        host.try_now()
        try:
            await host.agent()
        except Unreachable as error:
            assert not isinstance(error, NeedsPerson), error
            assert not host.link.person and host.link.next_try is not None
        proxy.heal()
    host.try_now()
    await host.agent()
    assert proxy.counts().cuts >= DIALS // 2  # not every one has come before it was made


async def test_a_link_says_what_is_wrong_with_it_and_when_it_is_tried_again(
    place: ProcessBackend, proxy: Proxy
) -> None:
    assert place.link.state is Reach.OK
    await place.find([])
    proxy.refuse()
    proxy.drop()
    while place.link.state is Reach.OK:
        await asyncio.sleep(0.01)
    assert place.link.state is Reach.STALE
    with pytest.raises(Unreachable):
        await place.find([])
    link = place.link
    assert link.state is Reach.DOWN and "box0" in link.why
    assert link.next_try is not None and 0 < link.next_try - time.time() < 5
    assert abs(time.time() - link.since) < 60
    health = await place.probe()
    assert any("box0" in text for passed, text in health.checks if not passed)
    proxy.heal()
    deadline = time.monotonic() + PATIENCE
    while place.link.state is not Reach.OK and time.monotonic() < deadline:
        try:
            await place.find([])
        except Unreachable:
            await asyncio.sleep(0.1)
    assert place.link.state is Reach.OK


# ------------------------------------------------------------------------------------ the command


class Command:
    """`traindeck` as a user's shell would run it, with `gpu1` in its settings."""

    def __init__(self, home: Path, sshd: Sshd) -> None:
        config = home / ".config/traindeck"
        config.mkdir(parents=True)
        (config / "settings.yaml").write_text(
            "backends:\n  gpu1:\n    kind: ssh\n    host: box0\n"
            f"    ssh_config: {json.dumps(str(sshd.config))}\n"
        )
        self.home = home

    def start(self, *words: str, **how: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "traindeck.console.cli.main", *words],
            cwd=self.home, env=dict(os.environ), stdin=subprocess.DEVNULL, **how,
        )  # fmt: skip

    def __call__(self, *words: str) -> tuple[int, str, str]:
        done = self.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = done.communicate(timeout=PATIENCE)
        return done.returncode, out.decode(errors="replace"), err.decode()


@pytest.fixture
def traindeck(home: Path, sshd: Sshd, proxy: Proxy) -> Command:
    return Command(home, sshd)


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_logs_f_prints_the_very_bytes_and_a_line_for_each_loss(
    traindeck: Command, proxy: Proxy, sshd: Sshd, tmp_path: Path
) -> None:
    # It cannot end before the link is lost.
    go = tmp_path / "go"
    script = '"$1" -c "$2" 5 "$3"; until [ -e "$4" ]; do sleep 0.05; done; "$1" -c "$2" 6 "$3"'
    command = ("sh", "-c", script, "sh", sys.executable, WRITE, str(SIZE // 2), str(go))
    code, out, err = traindeck("run", "-q", "--on", "gpu1", "--cwd", "/", "--", *command)
    assert code == 0, err
    run = out.strip()
    printed, said = tmp_path / "printed", tmp_path / "said"
    with printed.open("wb") as to, said.open("wb") as err_to:
        following = traindeck.start("logs", "-f", run, stdout=to, stderr=err_to)
        until(lambda: printed.stat().st_size > SIZE // 4)
        proxy.refuse()
        proxy.drop()
        until(lambda: b"is waited for" in said.read_bytes())
        go.touch()
        proxy.heal()
        assert following.wait(timeout=PATIENCE) == 0
    assert printed.read_bytes() == log_of(sshd[0], run)
    lines = said.read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("traindeck: gpu1 is waited for: ")
    assert lines[1] == "traindeck: gpu1 answers again."
    # All of it is here now: without the place it can be read, and it is said that it may be old.
    proxy.refuse()
    code, out, err = traindeck("logs", run)
    assert code == 1 and "gpu1" in err and "Traceback" not in err
    printed.write_bytes(b"")
    with printed.open("wb") as to:
        traindeck.start("logs", run, stdout=to, stderr=subprocess.DEVNULL).wait(PATIENCE)
    assert printed.read_bytes() == log_of(sshd[0], run)


def test_a_run_out_of_reach_is_shown_listed_and_waited_for_with_its_last_known_state(
    traindeck: Command, proxy: Proxy, sshd: Sshd, tmp_path: Path
) -> None:
    script = "echo up; while :; do sleep 0.2; done"
    code, out, err = traindeck("run", "-q", "--on", "gpu1", "--cwd", "/", "--", "sh", "-c", script)
    assert code == 0, err
    run = out.strip()

    def shown() -> dict[str, Any]:
        code, out, err = traindeck("show", "--json", run)
        assert code == 0, err
        record: dict[str, Any] = json.loads(out)
        return record

    until(lambda: shown()["state"] == "running" and shown()["log_bytes"])
    before = shown()
    proxy.refuse()
    proxy.drop()
    until(lambda: shown()["reach"] == "down")
    after = shown()
    for key in ("state", "started", "observed_at", "exit_code", "attempt"):
        assert after[key] == before[key] or key == "observed_at", key
    assert after["observed_at"] >= before["observed_at"]
    code, out, err = traindeck("show", run)
    assert code == 0 and "unknown" in out and "up" in out and "Traceback" not in err
    code, out, err = traindeck("ls")
    assert code == 0 and "unknown" in out and "gpu1 does not answer" in out
    assert err.startswith("traindeck: gpu1 cannot be asked, each command tries anew: "), err
    assert len(err.splitlines()) == 1, err
    assert traindeck("ls", "--cached")[2] == ""
    said = tmp_path / "said"
    with said.open("wb") as err_to:
        waiting = traindeck.start("wait", "-q", run, stdout=subprocess.DEVNULL, stderr=err_to)
    until(lambda: b"the waiting goes on" in said.read_bytes())
    for words in (("stop", run), ("rm", "--yes", run)):
        code, out, err = traindeck(*words)
        assert code in (1, 2) and out == ""
        assert len(err.strip().splitlines()) == 1, err
    code, out, err = traindeck("backends", "check", "gpu1")
    assert code == 1 and "!!  gpu1: " in out
    proxy.heal()
    assert traindeck("stop", "-q", "--grace", "1s", run)[0] == 0
    assert waiting.wait(timeout=PATIENCE) == 130
    silent, again = said.read_text().splitlines()
    assert silent.startswith("traindeck: gpu1 cannot be asked, the waiting goes on: "), silent
    assert again == "traindeck: gpu1 answers again."
