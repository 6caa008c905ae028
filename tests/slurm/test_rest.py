"""slurmrestd, a real one: what it starts, how that is, how it is ended, and what a token that is no
good costs. The run directories are the agent's, as with Slurm's commands."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conformance import jobs
from tests.services.slurm import Cluster, cluster

from traindeck.backends.base import (
    BackendError,
    JobRef,
    Limits,
    Plan,
    Reach,
    Resources,
    RunSpec,
    State,
    Status,
    Unreachable,
    UsageError,
)
from traindeck.backends.hosts.local import LocalHost
from traindeck.backends.slurm.backend import SlurmBackend
from traindeck.backends.slurm.by_rest import LESS, ByRest
from traindeck.backends.slurm.rest import Slurmrestd, place_of
from traindeck.backends.slurm.rest_only import RestOnlyBackend
from traindeck.backends.slurm.rest_token import Tokens

PATIENCE = 60.0
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """A cluster of two nodes with slurmrestd."""
    with cluster(rest=True) as made:
        yield made


class Lab:
    """A backend by slurmrestd, with a root of its own; nothing of Slurm's is on its PATH."""

    def __init__(self, slurm: Cluster, root: Path) -> None:
        self.slurm = slurm
        self.root = root
        self.backend = self.another()

    def server(self, token: str | None = None, url: str | None = None) -> Slurmrestd:
        environ = {"SLURM_JWT": self.slurm.token() if token is None else token}
        place = place_of("lab", url or self.slurm.rest_url)
        return Slurmrestd("lab", place, Tokens("lab", environ=environ))

    def another(self, **how: Any) -> SlurmBackend:
        host = LocalHost(str(self.root), environ={"PATH": "/nonexistent", "HOME": "/root"})
        return SlurmBackend("lab", host, scheduler=ByRest(self.server(**how)))

    def spec(self, *words: str, **changes: Any) -> RunSpec:
        usual: dict[str, Any] = {
            "run_id": "".join(secrets.choice(ALPHABET) for _ in range(12)),
            "argv": jobs.argv(sys.executable, *words),
            "cwd": "/",
            "created": 1_760_000_000.0,
        }
        return RunSpec(**{**usual, **changes})

    async def plan(self, spec: RunSpec) -> Plan:
        return self.backend.plan(spec, await self.backend.survey(spec))

    async def launch(self, *words: str, **changes: Any) -> JobRef:
        return await self.backend.submit(await self.plan(self.spec(*words, **changes)))

    async def until(self, ref: JobRef, *states: State, backend: Any = None) -> Status:
        async with asyncio.timeout(PATIENCE):
            while True:
                status: Status = (await (backend or self.backend).poll([ref]))[ref]
                if status.state in states if states else status.state.terminal:
                    return status
                await asyncio.sleep(0.05)

    async def log(self, ref: JobRef) -> bytes:
        data = b""
        async with asyncio.timeout(PATIENCE), self.backend.logs(ref, follow=False) as chunks:
            async for chunk in chunks:
                data += chunk.data
        return data

    def numbers(self) -> list[str]:
        return self.slurm.run("squeue", "-h", "-t", "all", "-o", "%A").stdout.split()


@pytest.fixture
async def lab(slurm: Cluster, tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(slurm, tmp_path / "root")
    yield made
    slurm.run("scancel", "--user=root", check=False)
    await made.backend.aclose()


# ------------------------------------------------------------------------------------ a whole run


async def test_a_run_goes_all_its_way_without_one_of_slurms_commands(lab: Lab) -> None:
    spec = lab.spec(
        "env:CUDA_VISIBLE_DEVICES",
        resources=Resources(gpus=2, nodes=1),
        limits=Limits(time=600),
        options={"cpus": 1, "memory": "100M", "partition": "gpu"},
    )
    plan = await lab.plan(spec)
    assert plan.body is not None
    sent = plan.body["slurmrestd"]
    assert sent["version"] == 38
    assert sent["request"]["job"]["name"] == f"td-{spec.run_id}-0"
    ref = await lab.backend.submit(plan)
    status = await lab.until(ref)
    assert (status.state, status.exit_code) == (State.SUCCEEDED, 0)
    assert await lab.log(ref) == b"CUDA_VISIBLE_DEVICES=0,1\n"
    shown = lab.slurm.show(ref.native_id)
    assert (shown["TimeLimit"], shown["Requeue"]) == ("00:11:00", "1")
    assert (shown["CPUs/Task"], shown["MinMemoryNode"]) == ("1", "100M")
    assert await lab.backend.find([(spec.run_id, 0)]) == [ref]


async def test_as_many_nodes_are_given_as_are_asked_for(lab: Lab) -> None:
    ref = await lab.launch("hold", resources=Resources(gpus=1, nodes=2))
    status = await lab.until(ref, State.RUNNING)
    assert status.nodes == ("n0", "n1")


async def test_a_run_that_waits_says_why_and_is_stopped_before_it_starts(lab: Lab) -> None:
    first = await lab.launch("hold", resources=Resources(gpus=4, nodes=2))
    await lab.until(first, State.RUNNING)
    ref = await lab.launch("hold", resources=Resources(gpus=4))
    status = await lab.until(ref, State.QUEUED)
    assert status.state is State.QUEUED
    await lab.backend.cancel(ref)
    assert (await lab.until(ref)).state is State.CANCELLED
    await lab.backend.cancel(first)
    assert (await lab.until(first)).state is State.CANCELLED


async def test_a_run_that_slurm_has_requeued_is_stopped_while_it_waits(lab: Lab) -> None:
    ref = await lab.launch("hold")
    await lab.until(ref, State.RUNNING)
    lab.slurm.run("scontrol", "requeue", ref.native_id)
    assert (await lab.until(ref, State.QUEUED)).reason.startswith("requeued: ")
    await lab.backend.cancel(ref)
    status = await lab.until(ref)
    why = "cancelled in Slurm while it waited to start again"
    assert (status.state, status.reason) == (State.CANCELLED, why)


async def test_a_run_that_slurm_starts_again_while_it_is_asked_to_end_is_stopped(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await lab.launch("hold")
    await lab.until(ref, State.RUNNING)
    lab.slurm.run("scontrol", "requeue", ref.native_id)
    await lab.until(ref, State.QUEUED)
    states = lab.backend._states
    look = states.look

    async def later(*given: Any) -> Any:
        monkeypatch.undo()
        await asyncio.to_thread(lab.slurm.hurry, ref.native_id)
        async with asyncio.timeout(PATIENCE):
            while (await lab.until(ref, State.RUNNING)).attempt == 0:
                await asyncio.sleep(0.05)
        return await look(*given)

    monkeypatch.setattr(states, "look", later)
    await lab.backend.cancel(ref)
    status = await lab.until(ref)
    assert (status.state, status.attempt) == (State.CANCELLED, 1)


async def test_a_job_that_fails_brings_its_exit_code(lab: Lab) -> None:
    ref = await lab.launch("exit:7")
    status = await lab.until(ref)
    assert (status.state, status.exit_code) == (State.FAILED, 7)


async def test_a_run_that_waits_for_one_that_failed_is_never_started(lab: Lab) -> None:
    first = await lab.launch("pause:3", "exit:3")
    second = await lab.launch("out:x", after=(first.run_id,))
    assert (await lab.until(second)).state is State.CANCELLED
    assert (await lab.until(first)).exit_code == 3


async def test_another_attempt_is_submitted_only_when_the_one_before_is_over(lab: Lab) -> None:
    spec = lab.spec("hold")
    ref = await lab.backend.submit(await lab.plan(spec))
    await lab.until(ref, State.RUNNING)
    again = await lab.plan(replace(spec, attempt=1))
    with pytest.raises(BackendError, match="is not over"):
        await lab.backend.submit(again)
    await lab.backend.cancel(ref)
    await lab.until(ref)
    second = await lab.backend.submit(again)
    assert second.attempt == 1 and second.native_id != ref.native_id
    await lab.until(second, State.RUNNING)


# --------------------------------------------------------------------------- once, whatever happens


async def test_several_consoles_submit_one_job(lab: Lab) -> None:
    plan = await lab.plan(lab.spec("out:once", "pause:0.5"))
    others = [lab.another() for _ in range(3)]
    refs = await asyncio.gather(*(one.submit(plan) for one in [lab.backend, *others] * 2))
    for other in others:
        await other.aclose()
    assert len(set(refs)) == 1
    name = f"--name=td-{plan.spec.run_id}-0"
    listed = lab.slurm.run("squeue", "-h", "-t", "all", name, "-o", "%A").stdout
    assert listed.split() == [refs[0].native_id]


async def test_a_job_whose_number_was_never_heard_is_found_by_its_name_and_not_doubled(
    lab: Lab,
) -> None:
    """The console was killed between slurmrestd's answer and writing it down."""
    busy = await lab.launch("hold", resources=Resources(gpus=4, nodes=2))
    await lab.until(busy, State.RUNNING)
    plan = await lab.plan(lab.spec("hold", resources=Resources(gpus=4)))
    ref = await lab.backend.submit(plan)
    path = lab.root / "runs" / ref.run_id / "attempts/0/queued.json"
    words = json.loads(path.read_text())
    path.write_text(json.dumps({**words, "id": None, "pid": 999_999_999}))
    before = lab.numbers()
    assert await lab.backend.find([(ref.run_id, 0)]) == [ref]
    assert await lab.backend.submit(plan) == ref
    assert lab.numbers() == before


async def test_what_slurm_refuses_is_said_in_its_words_and_leaves_nothing(lab: Lab) -> None:
    spec = lab.spec("out:x", options={"constraint": "no-such-feature"})
    plan = await lab.plan(spec)
    with pytest.raises(
        BackendError, match=r"^slurmrestd refused: Invalid feature specification\.$"
    ):
        await lab.backend.submit(plan)
    assert list((lab.root / "runs").glob("[0-9a-z]*")) == []


async def test_what_the_cluster_can_never_do_is_refused_before_anything_is_sent(lab: Lab) -> None:
    for changes, words in (
        ({"options": {"partition": "gpux"}}, "There are: gpu, short"),
        ({"resources": Resources(gpus=5)}, "4 h100|4 GPU"),
        ({"options": {"exclusive": True}}, "cannot be told that"),
        ({"options": {"partition": "short"}, "limits": Limits(time=3600)}, "10 min at most"),
    ):
        with pytest.raises(UsageError, match=words):
            await lab.plan(lab.spec("out:x", **changes))


# ------------------------------------------------------------------------------------- foreign jobs


async def test_jobs_submitted_by_hand_are_listed_read_and_stopped(lab: Lab) -> None:
    number = lab.slurm.sbatch("echo by hand; sleep 100", "--job-name=mine")
    array = lab.slurm.sbatch("sleep 100", "--job-name=many", "--array=1-3%1")
    lab.slurm.reaches(number, "RUNNING")
    lab.slurm.reaches(f"{array}_1", "RUNNING")
    found = {ref.native_id: ref for ref in await lab.backend.list_foreign()}
    assert {number, f"{array}_1", f"{array}_[*]"} <= set(found)
    ref = found[number]
    assert ref.title == "mine" and ref.seen is not None and ref.seen.state is State.RUNNING
    async with asyncio.timeout(PATIENCE):
        while b"by hand" not in await lab.log(ref):
            await asyncio.sleep(0.05)
    await lab.backend.cancel(ref)
    assert (await lab.until(ref)).state is State.CANCELLED
    await lab.backend.cancel(found[f"{array}_[*]"])
    assert (await lab.until(found[f"{array}_1"], State.RUNNING)).state is State.RUNNING
    listed = lab.slurm.run("squeue", "-h", "-t", "PENDING", f"--jobs={array}", "-o", "%i").stdout
    assert listed == ""


# ------------------------------------------------------------------------------------------ tokens


async def test_an_expired_token_is_called_expired_and_nothing_is_sent(lab: Lab) -> None:
    plan = await lab.plan(lab.spec("out:x"))
    token = lab.slurm.token(seconds=1)
    late = lab.another(token=token)
    late._scheduler._server.tokens._clock = lambda: 1e10  # type: ignore[attr-defined]
    with pytest.raises(BackendError, match=r"SLURM_JWT for `lab` expired .* ago"):
        await late.submit(plan)
    assert list((lab.root / "runs").glob("[0-9a-z]*")) == []
    health = await late.probe()
    assert any(not ok and "expired" in line for ok, line in health.checks)
    assert not any(token in line for _, line in health.checks)
    await late.aclose()


async def test_a_token_that_slurm_does_not_take_is_said_to_be_one(lab: Lab) -> None:
    ref = await lab.launch("hold")
    await lab.until(ref, State.RUNNING)
    for token in ("no-token-at-all", "eyJhbGciOiJIUzI1NiJ9.eyJzdW4iOiJyb290In0.AAAA"):
        wrong = lab.another(token=token)
        health = await wrong.probe()
        lines = [line for ok, line in health.checks if not ok]
        assert any("a token that it does not take" in line for line in lines), lines
        assert not any(token in line for line in lines)
        # What the record tells is still told.
        assert (await wrong.poll([ref]))[ref].state is State.RUNNING
        await wrong.aclose()


async def test_a_command_of_the_settings_mints_the_token(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "mint"
    script.write_text(
        f"#!/bin/sh\necho banner\nSLURM_CONF={lab.slurm.conf} exec "
        f"{shutil.which('scontrol')} token lifespan=3600\n"
    )
    script.chmod(0o700)
    tokens = Tokens("lab", [str(script)], environ={})
    server = Slurmrestd("lab", place_of("lab", lab.slurm.rest_url), tokens)
    lines = await ByRest(server).checks()
    await server.aclose()
    assert lines[0] == (True, f"slurmrestd of Slurm 22.05.8 at {lab.slurm.rest_url}, v0.0.38")
    assert lines[1][1] in (
        "the token printed by the command holds for 60 min more, for root",
        "the token printed by the command holds for 1.0 h more, for root",
    )


async def test_the_checks_of_a_place_say_version_token_and_what_is_missing(lab: Lab) -> None:
    lines = [line for ok, line in (await lab.backend.probe()).checks if ok]
    assert any("v0.0.38" in line for line in lines)
    assert any(line.startswith("the token in SLURM_JWT holds for 10 min") for line in lines)
    assert any("partition gpu, the default" in line for line in lines)
    for what in ("does not tell your accounts", "Slurm judges at the sub", "no job arrays", LESS):
        assert any(what in line for line in lines), what
    assert any("on a disk of one machine" in line for line in lines)


# -------------------------------------------------------------------- with nothing but slurmrestd


async def test_without_a_host_jobs_are_listed_and_stopped_and_nothing_else(lab: Lab) -> None:
    only = RestOnlyBackend("lab", lab.server())
    ours = await lab.launch("hold")
    await lab.until(ours, State.RUNNING)
    number = lab.slurm.sbatch("sleep 100", "--job-name=mine")
    lab.slurm.reaches(number, "RUNNING")
    health = await only.probe()
    assert health.reach is Reach.OK
    assert (True, LESS) in health.checks and health.checks[-1][0] is False
    assert "no run can be started and no log read" in health.checks[-1][1]
    found = {ref.native_id: ref for ref in await only.list_foreign()}
    assert {number, ours.native_id} <= set(found)
    assert found[ours.native_id].title == f"td-{ours.run_id}-0"
    assert (await only.poll([ours]))[ours].state is State.RUNNING
    assert await only.find([(ours.run_id, 0), ("zzzzzzzzzzzz", 0)]) == [ours]
    with pytest.raises(UsageError, match=r"backends\.lab\.via"):
        await only.survey(lab.spec("out:x"))
    with pytest.raises(BackendError, match="has no logs"):
        async with only.logs(found[number]):
            pass
    await only.cancel(found[number])
    await only.cancel(ours)
    assert (await lab.until(found[number], backend=only)).state is State.CANCELLED
    assert (await lab.until(ours, backend=only)).state is State.CANCELLED
    assert (await lab.until(ours)).state is State.CANCELLED
    await only.aclose()


async def test_when_slurmrestd_is_gone_runs_are_not_lost(lab: Lab) -> None:
    ref = await lab.launch("hold")
    await lab.until(ref, State.RUNNING)
    away = lab.another(url="http://127.0.0.1:9")
    status = (await away.poll([ref]))[ref]
    assert not status.state.terminal
    with pytest.raises(Unreachable):
        await away.list_foreign()
    plan = await lab.plan(lab.spec("out:x"))
    with pytest.raises(Unreachable, match="cannot be reached"):
        await away.submit(plan)
    assert not (lab.root / "runs" / plan.spec.run_id).exists()
    await away.aclose()
