"""The Slurm backend on a real cluster: what only a scheduler does to a run, and what it says."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conformance import jobs
from tests.faults.conftest import disk
from tests.faults.disks import fill_disk
from tests.services import free_port
from tests.services.slurm import Cluster, cluster

from traindeck.backends.base import (
    BackendError,
    JobRef,
    Limits,
    Plan,
    Rank,
    Reach,
    Resources,
    RunSpec,
    State,
    Status,
    UsageError,
)
from traindeck.backends.hosts.local import LocalHost
from traindeck.backends.slurm import commands
from traindeck.backends.slurm.backend import SlurmBackend

__all__ = ["disk"]

PATIENCE = 60.0


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """A cluster of two nodes that a test may drain, and stop parts of."""
    with cluster() as made:
        yield made


class Lab:
    """A backend on the cluster, with a root of its own."""

    def __init__(self, slurm: Cluster, root: Path) -> None:
        self.slurm = slurm
        self.root = root
        self.backend = self.another()

    def another(self, **more: Any) -> SlurmBackend:
        host = LocalHost(str(self.root), environ=self.slurm.env)
        return SlurmBackend("lab", host, **more)

    def spec(self, *words: str, **changes: Any) -> RunSpec:
        usual: dict[str, Any] = {
            "run_id": "".join(
                secrets.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(12)
            ),
            "argv": jobs.argv(sys.executable, *words),
            "cwd": "/",
            "created": 1_760_000_000.0,
        }
        return RunSpec(**{**usual, **changes})

    async def plan(self, spec: RunSpec) -> Plan:
        return self.backend.plan(spec, await self.backend.survey(spec))

    async def launch(self, *words: str, **changes: Any) -> JobRef:
        return await self.backend.submit(await self.plan(self.spec(*words, **changes)))

    async def status(self, ref: JobRef) -> Status:
        return (await self.backend.poll([ref]))[ref]

    async def until(self, ref: JobRef, *states: State, attempt: int = 0) -> Status:
        async with asyncio.timeout(PATIENCE):
            while True:
                status = await self.status(ref)
                wanted = status.state in states if states else status.state.terminal
                if wanted and status.attempt >= attempt:
                    return status
                await asyncio.sleep(0.05)

    async def log(self, ref: JobRef, follow: bool = False) -> bytes:
        data = b""
        async with asyncio.timeout(PATIENCE):
            async with self.backend.logs(ref, follow=follow) as chunks:
                async for chunk in chunks:
                    data += chunk.data
        return data

    async def said(self, ref: JobRef, text: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while text.encode() not in await self.log(ref):
                await asyncio.sleep(0.05)

    def directory(self, ref: JobRef) -> Path:
        return self.root / "runs" / ref.run_id


@pytest.fixture
async def lab(slurm: Cluster, tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(slurm, tmp_path / "root")
    yield made
    slurm.run("scancel", "--user=root", check=False)
    for node in slurm.nodes:
        slurm.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
    await made.backend.aclose()


# ---------------------------------------------------------------------------------- the plan


async def test_the_plan_shows_sbatch_word_for_word_and_the_script_byte_for_byte(lab: Lab) -> None:
    spec = lab.spec(
        "env:CUDA_VISIBLE_DEVICES",
        resources=Resources(gpus=2),
        limits=Limits(time=3600),
        name="#SBATCH --nodes=9\n; rm -rf ~",
    )
    plan = await lab.plan(spec)
    assert plan.body is not None
    sbatch = plan.body["sbatch"]
    assert sbatch[:3] == ["sbatch", "--parsable", f"--job-name=td-{spec.run_id}-0"]
    assert "--gres=gpu:2" in sbatch and "--time=01:01:00" in sbatch
    assert {"--open-mode=append", "--signal=B:USR2@150", "--requeue"} <= set(sbatch)
    assert not any("rm -rf" in word for word in sbatch)
    script = plan.files["plan/batch.sh"].read()
    assert b"#SBATCH" not in script
    ref = await lab.backend.submit(plan)
    assert (await lab.until(ref)).state is State.SUCCEEDED
    assert await lab.log(ref) == b"CUDA_VISIBLE_DEVICES=0,1\n"
    assert (lab.directory(ref) / "plan/batch.sh").read_bytes() == script
    sent = lab.slurm.run("scontrol", "write", "batch_script", ref.native_id, "-").stdout
    assert sent.encode().rstrip(b"\n\0") == script.rstrip()
    assert lab.slurm.show(ref.native_id)["TimeLimit"] == "01:01:00"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": {"partition": "gpux"}}, "no partition 'gpux'. There are: gpu, short"),
        ({"options": {"reservation": "x"}}, "no reservation 'x'. There are no reservations"),
        ({"options": {"gpu_kind": "h100"}}, "gpu_kind=h100: the run asks for no GPU. Say how many"),
        ({"options": {"gpu_kind": "b300"}, "resources": Resources(gpus=1)}, "There are: h100"),
        ({"resources": Resources(gpus=5)}, "4 GPUs at most. Use several nodes"),
        ({"resources": Resources(gpus=99)}, "All that it has is --nodes 2 --gpus 4."),
        ({"resources": Resources(gpus=1, nodes=3)}, "has 2 nodes"),
        ({"options": {"cpus": 99}}, "the most is 4"),
        ({"options": {"memory": "900G"}}, "have 2000M at most. Ask for less"),
        ({"options": {"partition": "short"}, "limits": Limits(time=3600)}, "allows 10 min at most"),
        ({"options": {"partition": "gpu\n--wrap=x"}}, "on one line"),
        ({"options": {"memory": "1G --wrap x"}}, "one word"),
        ({"options": {"cpus": 0}}, "expected 1"),
        ({"options": {"colour": "red"}}, "no option 'colour'. It has account"),
    ],
)
async def test_what_the_cluster_can_never_do_is_refused_before_anything_is_sent(
    lab: Lab, changes: dict[str, Any], words: str
) -> None:
    before = lab.slurm.run("squeue", "-h", "-t", "all", "-o", "%i").stdout
    with pytest.raises(UsageError) as refused:
        await lab.plan(lab.spec("out:x", **changes))
    assert words in str(refused.value)
    assert lab.slurm.run("squeue", "-h", "-t", "all", "-o", "%i").stdout == before


async def test_what_sbatch_refuses_is_said_in_its_words_and_leaves_nothing(lab: Lab) -> None:
    spec = lab.spec("out:x", options={"constraint": "no-such-feature"})
    plan = await lab.plan(spec)
    with pytest.raises(BackendError, match=r"^sbatch refused: .*Invalid feature specification\.$"):
        await lab.backend.submit(plan)
    assert list((lab.root / "runs").glob("[0-9a-z]*")) == []
    assert await lab.backend.find([(spec.run_id, 0)]) == []
    assert (await lab.status(JobRef(backend="lab", run_id=spec.run_id))).state is State.LOST


# --------------------------------------------------------------------------- once, whatever happens


async def test_two_consoles_on_two_hosts_submit_one_job(lab: Lab) -> None:
    plan = await lab.plan(lab.spec("out:once", "pause:0.5"))
    others = [lab.another() for _ in range(3)]
    refs = await asyncio.gather(*(one.submit(plan) for one in [lab.backend, *others] * 2))
    for other in others:
        await other.aclose()
    assert len(set(refs)) == 1
    named = lab.slurm.run(
        *("squeue", "-h", "-t", "all", f"--name=td-{plan.spec.run_id}-0", "-o", "%A")
    )
    assert named.stdout.split() == [refs[0].native_id]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_job_whose_number_was_never_heard_is_found_by_its_name(
    lab: Lab, begun: bool
) -> None:
    """The console was killed between sbatch's answer and writing it down."""
    plan = await lab.plan(lab.spec("out:up", "hold"))
    ref = await lab.backend.submit(plan)
    if begun:
        await lab.said(ref, "up")
    path = lab.directory(ref) / "attempts/0/queued.json"
    words = json.loads(path.read_text())
    path.write_text(json.dumps({**words, "id": None, "pid": 999_999_999}))
    assert await lab.backend.find([(ref.run_id, 0)]) == [ref]
    assert await lab.backend.submit(plan) == ref
    await lab.until(ref, State.RUNNING)
    named = lab.slurm.run("squeue", "-h", "-t", "all", f"--name=td-{ref.run_id}-0", "-o", "%A")
    assert named.stdout.split() == [ref.native_id]


async def test_a_second_job_of_the_same_attempt_does_nothing(lab: Lab) -> None:
    ref = await lab.launch("out:once", "pause:2")
    await lab.said(ref, "once")
    plan = await lab.plan(lab.spec("x", run_id=ref.run_id))
    assert plan.body is not None
    words = plan.body["sbatch"]
    double = lab.slurm.run(*words).stdout.strip()
    lab.slurm.reaches(double, "FAILED", "COMPLETED")
    assert (await lab.status(ref)).state is State.RUNNING
    assert (await lab.until(ref)).state is State.SUCCEEDED
    assert await lab.log(ref) == b"once\n"


async def test_a_run_submitted_from_inside_an_allocation_is_a_run_like_any_other(lab: Lab) -> None:
    inside = {
        **lab.slurm.env, "SLURM_JOB_ID": "1", "SLURM_NTASKS": "7", "SBATCH_PARTITION": "nope",
        "SQUEUE_FORMAT": "%i", "SLURM_MEM_PER_NODE": "1", "HF_TOKEN": "secret",
    }  # fmt: skip
    backend = SlurmBackend("lab", LocalHost(str(lab.root), environ=inside))
    spec = lab.spec("env:SLURM_NTASKS", "env:HF_TOKEN", "env:SQUEUE_FORMAT")
    ref = await backend.submit(backend.plan(spec, await backend.survey(spec)))
    await lab.until(ref)
    await backend.aclose()
    assert b"SLURM_NTASKS=1\nHF_TOKEN=(not set)\nSQUEUE_FORMAT=(not set)" in await lab.log(ref)


# --------------------------------------------------------------------------------------- waiting


async def test_a_run_that_waits_says_why_in_words(lab: Lab) -> None:
    first = await lab.launch("hold", resources=Resources(gpus=4, nodes=2))
    await lab.until(first, State.RUNNING)
    second = await lab.launch("out:x", resources=Resources(gpus=4))
    status = await lab.until(second, State.QUEUED)
    async with asyncio.timeout(PATIENCE):
        while "waits for resources: it is next" not in status.reason:
            await asyncio.sleep(0.1)
            status = await lab.status(second)
    assert "4 GPUs on 1 node" in status.reason
    assert status.limit == 86400
    await lab.backend.cancel(first)
    assert (await lab.until(second)).state is State.SUCCEEDED


async def test_a_run_that_waits_is_stopped_at_once_and_its_end_is_kept(lab: Lab) -> None:
    blocker = await lab.launch("hold", resources=Resources(gpus=4, nodes=2))
    await lab.until(blocker, State.RUNNING)
    ref = await lab.launch("out:x", resources=Resources(gpus=4))
    assert await lab.log(ref) == b""
    await lab.backend.cancel(ref)
    status = await lab.until(ref)
    assert (status.state, status.started) == (State.CANCELLED, None)
    assert await lab.log(ref, follow=True) == b""
    assert lab.slurm.state(ref.native_id) == "CANCELLED"
    assert await lab.backend.remove(ref) > 0


async def test_a_run_that_was_stopped_while_it_waited_can_be_tried_again(lab: Lab) -> None:
    blocker = await lab.launch("hold", resources=Resources(gpus=4, nodes=2))
    await lab.until(blocker, State.RUNNING)
    spec = lab.spec("env:TRAINDECK_RUN", resources=Resources(gpus=4))
    ref = await lab.backend.submit(await lab.plan(spec))
    with pytest.raises(BackendError, match="is not over"):
        await lab.backend.submit(await lab.plan(replace(spec, attempt=1)))
    await lab.backend.cancel(ref)
    await lab.until(ref)
    await lab.backend.cancel(blocker)
    again = await lab.backend.submit(await lab.plan(replace(spec, attempt=1)))
    status = await lab.until(again, State.SUCCEEDED)
    assert status.attempt == 1
    assert await lab.log(again) == f"TRAINDECK_RUN={spec.run_id}/1\n".encode()


async def test_scancel_from_outside_while_it_waits_is_written_down(lab: Lab) -> None:
    blocker = await lab.launch("hold", resources=Resources(gpus=4, nodes=2))
    await lab.until(blocker, State.RUNNING)
    ref = await lab.launch("out:x", resources=Resources(gpus=4))
    lab.slurm.run("scancel", ref.native_id)
    status = await lab.until(ref)
    assert (status.state, status.rank) == (State.CANCELLED, Rank.NATIVE)
    assert status.reason == "cancelled in Slurm before it started"
    word = json.loads((lab.directory(ref) / "attempts/0/word.json").read_text())
    assert word["state"] == "cancelled"
    # As if Slurm had forgotten it.
    forgetful = lab.another()
    path = lab.directory(ref) / "attempts/0/queued.json"
    path.write_text(path.read_text().replace(f'"{ref.native_id}"', '"99999"'))
    again = (await forgetful.poll([ref]))[ref]
    await forgetful.aclose()
    assert (again.state, again.reason) == (status.state, status.reason)


# ---------------------------------------------------------------------------- ends, and new starts


async def test_a_requeued_run_goes_on_as_its_next_attempt(lab: Lab) -> None:
    ref = await lab.launch("env:TRAINDECK_RUN", "hold")
    await lab.said(ref, "/0")
    lab.slurm.run("scontrol", "requeue", ref.native_id)
    async with asyncio.timeout(PATIENCE):
        while (status := await lab.status(ref)).state is not State.QUEUED:
            assert not status.state.terminal, status
            await asyncio.sleep(0.05)
    await asyncio.to_thread(lab.slurm.hurry, ref.native_id)
    status = await lab.until(ref, State.RUNNING, attempt=1)
    assert (status.attempt, status.nodes != ()) == (1, True)
    later = replace(ref, attempt=1)
    await lab.said(later, "/1")
    assert set(await lab.backend.find([(ref.run_id, 0), (ref.run_id, 1)])) == {ref, later}
    await lab.backend.cancel(ref)
    assert (await lab.until(ref)).state is State.CANCELLED


async def test_a_run_that_slurm_has_requeued_can_be_stopped_while_it_waits(lab: Lab) -> None:
    ref = await lab.launch("out:up", "hold")
    await lab.said(ref, "up")
    lab.slurm.run("scontrol", "requeue", ref.native_id)
    async with asyncio.timeout(PATIENCE):
        while (status := await lab.status(ref)).state is not State.QUEUED:
            assert not status.state.terminal, status
            await asyncio.sleep(0.05)
    assert status.reason.startswith("requeued: ")
    await lab.backend.cancel(ref)
    status = await lab.until(ref)
    why = "cancelled in Slurm while it waited to start again"
    assert (status.state, status.reason) == (State.CANCELLED, why)
    assert [each.attempt for each in await lab.backend.find([(ref.run_id, 0)])] == [0]


async def test_scancel_from_outside_is_cancelled_not_failed(lab: Lab) -> None:
    ref = await lab.launch("out:up", "hold")
    await lab.said(ref, "up")
    lab.slurm.run("scancel", ref.native_id)
    status = await lab.until(ref)
    assert (status.state, status.rank) == (State.CANCELLED, Rank.RECORD)


async def test_a_batch_step_that_is_killed_leaves_slurms_word(lab: Lab) -> None:
    ref = await lab.launch("out:up", "hold")
    await lab.said(ref, "up")
    lab.slurm.run("scancel", "--signal=KILL", "--full", ref.native_id)
    status = await lab.until(ref)
    assert status.state in (State.CANCELLED, State.FAILED, State.LOST)
    assert status.reason
    assert await lab.log(ref, follow=True) == b"up\n"
    assert await lab.backend.remove(ref) > 0


async def test_a_batch_step_that_cannot_start_says_what_it_printed(lab: Lab) -> None:
    spec = lab.spec("out:x")
    facts = await lab.backend.survey(spec)
    ref = await lab.backend.submit(lab.backend.plan(spec, replace(facts, python="/no/such/python")))
    status = await lab.until(ref)
    assert status.state is State.FAILED
    assert "the batch step did not start" in status.reason and "/no/such/python" in status.reason


async def test_a_restart_of_slurm_loses_nothing_and_says_what_it_cannot_know(lab: Lab) -> None:
    running = await lab.launch("out:up", "hold")
    await lab.said(running, "up")
    waiting = await lab.launch(
        "out:x", resources=Resources(gpus=4, nodes=2), after=(running.run_id,)
    )
    lab.slurm.stop_controller()
    try:
        known = await lab.backend.poll([running, waiting])
        assert known[running].state is State.RUNNING
        assert known[waiting].state is State.QUEUED
        assert known[waiting].reach is Reach.STALE
        assert "Slurm does not answer" in known[waiting].reason
        newcomer = lab.another()
        with pytest.raises(BackendError, match="Slurm does not answer"):
            await newcomer.survey(lab.spec("x"))
        await newcomer.aclose()
    finally:
        lab.slurm.start_controller()
    async with asyncio.timeout(PATIENCE):
        for ref, state in ((running, State.RUNNING), (waiting, State.QUEUED)):
            while (status := await lab.status(ref)).reach is not Reach.OK:
                await asyncio.sleep(0.2)
            assert status.state is state
    assert running.run_id in (await lab.status(waiting)).reason


@pytest.mark.parametrize(
    ("prints", "why"),
    [
        ("yes 1 | head -c 40000000", "squeue printed more than is read of it"),
        ("echo please use queue instead", "squeue printed no list of jobs: please use queue"),
    ],
    ids=["too much", "something else"],
)
async def test_what_is_no_list_of_jobs_loses_nobody(
    lab: Lab, tmp_path: Path, prints: str, why: str
) -> None:
    blocker = await lab.launch("hold", resources=Resources(gpus=4, nodes=2))
    await lab.until(blocker, State.RUNNING)
    waiting = await lab.launch("out:x", resources=Resources(gpus=4))
    await lab.until(waiting, State.QUEUED)
    squeue = tmp_path / "bin/squeue"
    squeue.parent.mkdir()
    squeue.write_text(f"#!/bin/sh\n{prints}\n")
    squeue.chmod(0o755)
    environ = {**lab.slurm.env, "PATH": f"{squeue.parent}:{os.environ['PATH']}"}
    other = SlurmBackend("lab", LocalHost(str(lab.root), environ=environ))
    known = (await other.poll([waiting]))[waiting]
    await other.aclose()
    assert (known.state, known.reach) == (State.QUEUED, Reach.STALE)
    assert why in known.reason


async def test_a_full_disk_refuses_a_run_in_words_and_nothing_is_submitted(
    slurm: Cluster, disk: Path
) -> None:
    lab = Lab(slurm, disk / "root")
    going = await lab.launch("on-term:saved", "out:up", "hold")
    await lab.said(going, "up")
    filler = fill_disk(disk)
    spec = lab.spec("out:x", "exit:3")
    plan = await lab.plan(spec)
    with pytest.raises(BackendError, match=r"(?i)no space left"):
        await lab.backend.submit(plan)
    assert [path.name for path in (lab.root / "runs").iterdir() if spec.run_id in path.name] == []
    named = slurm.run("squeue", "-h", "-t", "all", f"--name=td-{spec.run_id}-0", "-o", "%A")
    assert named.stdout == ""
    # What runs there is seen, stopped, and its end is known.
    assert (await lab.status(going)).state is State.RUNNING
    await lab.backend.cancel(going, grace=PATIENCE)
    assert (await lab.until(going)).state is State.CANCELLED
    filler.unlink()
    ref = await lab.backend.submit(plan)
    assert (await lab.until(ref)).exit_code == 3
    await lab.backend.aclose()


# ---------------------------------------------------------------------------------- foreign jobs


async def test_a_job_that_was_submitted_by_hand_is_listed_followed_and_stopped(lab: Lab) -> None:
    number = lab.slurm.sbatch("echo hello; exec sleep 100", "--job-name=by hand | x")
    array = lab.slurm.sbatch("sleep 100", "--array=1-9%1", "--begin=now+1hour")
    found = {ref.native_id: ref for ref in await lab.backend.find()}
    assert set(found) >= {number, f"{array}_[*]"}
    ref = found[number]
    assert (ref.run_id, ref.title) == ("", "by hand | x")
    status = await lab.until(ref, State.RUNNING)
    assert status.limit == 86400 and status.host is not None
    await lab.said(ref, "hello")
    stat = await lab.backend.log_stat(ref)
    assert (stat.size, stat.ended) == (6, False)
    assert await lab.backend.read_at(ref, 0, 1, 3) == b"ell"
    assert await lab.backend.find_in_log(ref, 0, b"lo", offset=0) == 3
    assert await lab.backend.find_in_log(ref, 0, b"hel", offset=6, backward=True) == 0
    rest = found[f"{array}_[*]"]
    assert (await lab.status(rest)).state is State.QUEUED
    await lab.backend.cancel(ref)
    await lab.backend.cancel(rest)
    assert (await lab.until(ref)).state is State.CANCELLED
    assert await lab.log(ref, follow=True) != b""
    with pytest.raises(BackendError, match="no job"):
        await lab.backend.cancel(JobRef(backend="lab", native_id="1; rm -rf ~"))


# ----------------------------------------------------------------------------------- the place


async def test_a_probe_names_free_gpus_and_drained_nodes_with_their_reason(lab: Lab) -> None:
    lab.slurm.run("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=bad fan")
    health = await lab.backend.probe()
    said = [text for _, text in health.checks]
    assert health.version == "Slurm 22.05.8" or health.version.startswith("Slurm ")
    assert "partition gpu, the default: 4 of 8 h100 free, 1 of 2 nodes up, up to 1.0 d" in said
    assert "n1 is out of service: bad fan" in said


async def test_a_cluster_whose_accounting_does_not_answer_runs_and_stops_runs(lab: Lab) -> None:
    """As a login host sees it while slurmdbd is down: sacct and sacctmgr fail, nothing else does.
    What cannot be known is not taken for "there is none", and an end is known from its record."""
    conf = lab.root.parent / "slurm.conf"
    lines = [
        line
        for line in lab.slurm.conf.read_text().splitlines()
        if not line.startswith("AccountingStorage")
    ]
    lines += ["AccountingStorageType=accounting_storage/slurmdbd"]
    lines += [f"AccountingStorage{x}" for x in ("Host=127.0.0.1", f"Port={free_port()}")]
    conf.write_text("\n".join(lines) + "\n")
    conf.with_name("gres.conf").write_bytes(lab.slurm.conf.with_name("gres.conf").read_bytes())
    environ = {**lab.slurm.env, "SLURM_CONF": str(conf)}
    sacct = lab.slurm.run("sacct", env={"SLURM_CONF": str(conf)}, check=False)
    assert sacct.returncode != 0 and "database" in sacct.stderr, sacct
    backend = SlurmBackend("lab", LocalHost(str(lab.root), environ=environ))
    await lab.backend.aclose()
    lab.backend = backend
    plan = await lab.plan(lab.spec("out:once", "exit:3"))
    ref = await backend.submit(plan)
    assert await backend.submit(plan) == ref
    status = await lab.until(ref)
    assert (status.state, status.exit_code) == (State.FAILED, 3)
    assert await lab.log(ref) == b"once\n"
    other = await lab.launch("out:up", "hold")
    await lab.said(other, "up")
    lab.slurm.run("scancel", other.native_id)
    assert (await lab.until(other)).state is State.CANCELLED
    # Of one that Slurm itself lists no more nobody can be asked.
    path = lab.directory(ref) / "attempts/0/queued.json"
    path.write_text(path.read_text().replace(f'"{ref.native_id}"', '"99999"'))
    again = await lab.status(ref)
    assert (again.state, again.exit_code, again.reach) == (State.FAILED, 3, Reach.OK)
    health = await backend.probe()
    assert health.reach is Reach.OK
    said = [text for _, text in health.checks]
    assert not any("slurm_persist" in text or "\n" in text for text in said), said


async def test_who_waits_for_nodes_that_are_out_of_service_is_told_so(lab: Lab) -> None:
    lab.slurm.run("scontrol", "update", "NodeName=n0", "State=DRAIN", "Reason=bad fan")
    lab.slurm.run("scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=no power")
    ref = await lab.launch("out:x", resources=Resources(gpus=1))
    async with asyncio.timeout(PATIENCE):
        while "a node that it needs is not available (n" not in (await lab.status(ref)).reason:
            await asyncio.sleep(0.05)
    said = [text for _, text in (await lab.backend.probe()).checks]
    assert {"n0 is out of service: bad fan", "n1 is out of service: no power"} <= set(said)
    for node in lab.slurm.nodes:
        lab.slurm.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
    assert (await lab.until(ref)).state is State.SUCCEEDED


async def test_a_host_without_slurm_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PATHS", ())
    environ = {**os.environ, "PATH": "/no/such/folder"}
    backend = SlurmBackend("lab", LocalHost(str(tmp_path), environ=environ))
    with pytest.raises(BackendError, match=r"Slurm does not answer on `lab`: .*backends\.lab\.bin"):
        await backend.survey(RunSpec(run_id="0" * 12, argv=("x",), cwd="/"))
    health = await backend.probe()
    assert health.reach is Reach.DOWN
    await backend.aclose()


async def test_a_run_on_two_nodes_has_a_log_a_rank(lab: Lab) -> None:
    ref = await lab.launch(
        "env:PET_NODE_RANK", "env:CUDA_VISIBLE_DEVICES", resources=Resources(gpus=2, nodes=2)
    )
    status = await lab.until(ref)
    assert (status.state, status.nodes) == (State.SUCCEEDED, ("n0", "n1"))
    for rank in (0, 1):
        said = b""
        async with lab.backend.logs(ref, rank=rank) as chunks:
            async for chunk in chunks:
                said += chunk.data
        assert said == b"PET_NODE_RANK=%d\nCUDA_VISIBLE_DEVICES=0,1\n" % rank


async def test_a_preempted_run_says_so_and_goes_on_when_it_may(tmp_path: Path) -> None:
    settings = {"PreemptMode": "REQUEUE", "PreemptType": "preempt/partition_prio"}
    partitions = {
        "gpu": "Nodes=ALL Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE",
        "high": "Nodes=ALL State=UP PriorityTier=10 PreemptMode=OFF",
    }
    with cluster(nodes=1, settings=settings, partitions=partitions) as made:
        lab = Lab(made, tmp_path / "root")
        ref = await lab.launch("env:TRAINDECK_RUN", "hold", resources=Resources(gpus=4))
        once = await lab.launch("hold", resources=Resources(gpus=4), options={"requeue": False})
        await lab.said(ref, "/0")
        urgent = await lab.launch(
            "hold", resources=Resources(gpus=4), options={"partition": "high"}
        )
        await lab.until(urgent, State.RUNNING)
        status = await lab.until(ref, State.QUEUED)
        assert status.attempt == 0
        await lab.backend.cancel(urgent)
        await lab.backend.cancel(once)
        await lab.until(once)
        await asyncio.to_thread(made.hurry, ref.native_id)
        await lab.until(ref, State.RUNNING, attempt=1)
        await lab.said(replace(ref, attempt=1), "/1")
        await lab.backend.cancel(ref)
        await lab.until(ref)
        final = await lab.launch("out:up", "hold", options={"requeue": False})
        await lab.said(final, "up")
        urgent = await lab.launch(
            "hold", resources=Resources(gpus=4), options={"partition": "high", "exclusive": True}
        )
        status = await lab.until(final)
        assert status.state is State.PREEMPTED, status
        await lab.backend.cancel(urgent)
        await lab.until(urgent)
        await lab.backend.aclose()


async def test_a_node_that_fails_sends_the_run_to_another(lab: Lab) -> None:
    ref = await lab.launch("env:SLURMD_NODENAME", "hold", options={"requeue": False})
    await lab.said(ref, "NODENAME")
    node = (await lab.log(ref)).decode().strip().rpartition("=")[2]
    lab.slurm.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=smoke")
    status = await lab.until(ref)
    assert status.state is State.FAILED
    assert node in status.reason or "node" in status.reason


async def test_a_run_executes_in_the_environment_that_it_asks_for(lab: Lab, tmp_path: Path) -> None:
    import venv

    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    script = "import os, sys; print(sys.prefix, os.environ['VIRTUAL_ENV'])"
    spec = lab.spec(
        argv=("python", "-c", script),
        environment=str(tmp_path / "env"),
        resources=Resources(gpus=2),
    )
    facts = await lab.backend.survey(spec)
    assert facts.starts_in == 0.0
    assert "partition gpu, the default: 8 of 8 h100 free" in facts.place
    ref = await lab.backend.submit(lab.backend.plan(spec, facts))
    await lab.until(ref)
    assert await lab.log(ref) == f"{tmp_path}/env {tmp_path}/env\n".encode()
    missing = replace(spec, environment="/no/such/env")
    with pytest.raises(UsageError, match="/no/such/env"):
        await lab.plan(missing)
