"""A real cluster with accounting (slurmdbd): accounts, QOS and reservations before a launch, their
limits while a run waits, and what is known of a job that Slurm itself has forgotten.

Its database takes seconds to start: only `make soak` does.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services import slurmdbd
from tests.services.slurm import Cluster, cluster, until
from tests.slurm.test_backend import Lab
from tests.slurm.test_console import Traindeck, traindeck  # noqa: F401 (a fixture)

from traindeck.backends.base import (
    JobRef,
    Limits,
    Rank,
    Reach,
    Resources,
    State,
    Status,
    UsageError,
)

PATIENCE = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("SOAK" not in os.environ, reason="starts a database: make soak"),
]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """Two nodes, the accounts of `slurmdbd.EXAMPLE`, and a memory of two seconds."""
    settings = {
        "MinJobAge": "2",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=1",
        "JobAcctGatherParams": "OverMemoryKill",
        "SelectTypeParameters": "CR_Core_Memory",
        "DefMemPerNode": "100",
    }
    with cluster(accounting=True, settings=settings) as made:
        made.sacctmgr(slurmdbd.EXAMPLE)
        for line in (
            "ReservationName=theirs Users=nobody StartTime=now+2hours Nodes=n1",
            "ReservationName=later Accounts=ml StartTime=now+1hour Nodes=n0",
        ):
            made.run("scontrol", "create", "reservation", *line.split(), "Duration=10")
        yield made


@pytest.fixture
async def lab(slurm: Cluster, tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(slurm, tmp_path / "root")
    yield made
    slurm.run("scancel", "--user=root", check=False)
    await made.backend.aclose()


# ------------------------------------------------------------------------------- before a launch


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": {"account": "nosuch"}}, "no account 'nosuch'. Yours are: ml, root, vision."),
        ({"options": {"account": "other"}}, "'other' is none of yours on `lab`. Yours are: ml"),
        ({"options": {"qos": "nosuch"}}, "no QOS 'nosuch'. You may use normal."),
        (
            {"options": {"qos": "theirs", "account": "ml"}},
            "may not use the QOS 'theirs' on `lab` with the account ml. You may use high, normal, "
            "strict.",
        ),
        ({"options": {"qos": "high"}}, "'high' on `lab` with the account vision"),
        ({"options": {"reservation": "x"}}, "no reservation 'x'. There are: theirs, later."),
        (
            {"options": {"reservation": "theirs"}},
            "'theirs' is not for you: it is for nobody. There are no reservations that you may",
        ),
        (
            {"options": {"reservation": "theirs", "account": "ml"}},
            "There are: later.",
        ),
        (
            {"options": {"account": "ml", "qos": "high"}, "limits": Limits(time=7200)},
            "--time 2.0 h: the QOS high allows 1.0 h at most. Ask for less, or choose another qos",
        ),
        (
            {"options": {"account": "ml"}, "resources": Resources(gpus=3)},
            "--gpus 3: the account ml may have 2 GPUs at most.",
        ),
        (
            {"options": {"account": "ml"}, "resources": Resources(gpus=2, nodes=2)},
            "--gpus 2 on each of 2 nodes: the account ml may have 2 GPUs at most.",
        ),
    ],
)
async def test_what_the_accounting_does_not_allow_is_refused_with_what_it_allows(
    lab: Lab, changes: dict[str, Any], words: str
) -> None:
    before = lab.slurm.run("squeue", "-h", "-t", "all", "-o", "%i").stdout
    with pytest.raises(UsageError) as refused:
        await lab.plan(lab.spec("out:x", **changes))
    assert words in str(refused.value)
    assert lab.slurm.run("squeue", "-h", "-t", "all", "-o", "%i").stdout == before


async def test_a_run_is_charged_to_the_account_and_held_to_the_qos_it_names(lab: Lab) -> None:
    """Also with all the time that the QOS allows: the grace beyond that would let it wait for
    ever."""
    options = {"account": "ml", "qos": "high"}
    ref = await lab.launch("hold", options=options, limits=Limits(time=3600))
    await lab.until(ref, State.RUNNING)
    shown = lab.slurm.show(ref.native_id)
    assert (shown["Account"], shown["QOS"], shown["TimeLimit"]) == ("ml", "high", "01:00:00")
    plan = await lab.plan(lab.spec("out:x", options=options))
    assert "without --time the limit of the QOS high holds: 1.0 h" in plan.warnings


def test_what_exists_is_named_by_check_and_offered_where_it_is_typed(
    traindeck: Traindeck,  # noqa: F811
    slurm: Cluster,
) -> None:
    slurm.run("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=bad fan")
    try:
        said = traindeck("backends", "check", "lab").stdout
    finally:
        slurm.run("scontrol", "update", "NodeName=n1", "State=RESUME")
    for line in (
        "your accounts: ml, root, vision (usually vision)",
        "your QOS: high (up to 1.0 h), normal, strict (up to 30 min)",
        "partition gpu, the default: 4 of 8 h100 free, 1 of 2 nodes up, up to 1.0 d",
        "n1 is out of service: bad fan",
    ):
        assert line in said
    run = ("traindeck", "run", "--on", "lab", "--option")
    assert offered(traindeck, *run, "acc") == ["account="]
    assert offered(traindeck, *run, "account=") == [
        f"account={x}" for x in ("ml", "root", "vision")
    ]
    assert offered(traindeck, *run, "qos=h") == ["qos=high"]
    assert offered(traindeck, *run, "reservation=") == ["reservation=later"]
    assert offered(traindeck, *run, "gpu_kind=") == ["gpu_kind=h100"]
    refused = traindeck("run", "--on", "lab", "--option", "account=x", "--", "true", code=2)
    assert refused.stderr == ("traindeck: `lab` has no account 'x'. Yours are: ml, root, vision.\n")


def offered(traindeck: Traindeck, *words: str) -> list[str]:  # noqa: F811
    """What the shell is offered for the last of these words."""
    asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    return traindeck(more={**asked, "_TRAINDECK_COMPLETE": "complete_bash"}).stdout.split()


# --------------------------------------------------------------------------------- while it waits


async def says(lab: Lab, waiting: dict[str, JobRef]) -> None:
    """Wait until each job is said to wait in these words."""
    seen: dict[JobRef, Status] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                seen = await lab.backend.poll(list(waiting.values()))
                if all(words in seen[ref].reason for words, ref in waiting.items()):
                    break
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(str({words: seen[ref].reason for words, ref in waiting.items()}))
    assert all(seen[ref].state is State.QUEUED for ref in waiting.values())


async def test_why_a_run_waits_is_said_in_words(lab: Lab) -> None:
    soon = Limits(time=300)  # over before a reservation begins
    limited = {"account": "ml", "qos": "high"}
    first = await lab.launch("hold", options=limited, limits=soon)
    await lab.until(first, State.RUNNING)
    two = Resources(gpus=2)
    second = await lab.launch("hold", options={"account": "ml"}, resources=two, limits=soon)
    await lab.until(second, State.RUNNING)
    waiting = {
        "the limit of its QOS for jobs at once a user is reached (QOSMaxJobsPerUserLimit)": (
            await lab.launch("out:x", options=limited, limits=soon)
        ),
        "the limit of its account for GPUs together with others is reached (AssocGrpGRES)": (
            await lab.launch("out:x", options={"account": "ml"}, resources=two, limits=soon)
        ),
        "waits for its reservation to begin": (
            await lab.launch(
                "out:x", options={"account": "ml", "reservation": "later"}, limits=soon
            )
        ),
    }
    await says(lab, waiting)


async def test_a_job_that_is_held_or_beyond_a_limit_says_what_to_do(lab: Lab) -> None:
    by_hand = {
        "is held by its user: scontrol release": ("--hold",),
        "waits for its time to begin, in": ("--begin=now+1hour",),
        "asks for more time than its QOS allows a job (QOSMaxWallDurationPerJobLimit): it will "
        "never start": ("--account=ml", "--qos=high", "--time=2:00:00"),
        "may be kept by a reservation": ("--nodelist=n0", "--time=3:00:00"),
    }
    refs = {
        words: JobRef(backend="lab", native_id=lab.slurm.sbatch("sleep 1", *options))
        for words, options in by_hand.items()
    }
    held = refs["is held by its user: scontrol release"]
    await says(lab, refs)
    lab.slurm.run("scontrol", "hold", held.native_id)
    await says(lab, {"is held by an administrator of the cluster": held})


# ------------------------------------------------------------- what Slurm itself has forgotten


async def forgotten(lab: Lab, *jobs: str) -> None:
    """Wait until slurmctld knows jobs no more, and the accounting knows their ends."""

    def gone() -> bool:
        return not any(lab.slurm.state(job) for job in jobs)

    def told() -> bool:
        said = lab.slurm.run("sacct", "-X", "-n", "-P", "-j", ",".join(jobs), "-o", "State").stdout
        words = {line.split()[0] for line in said.splitlines() if line}
        return bool(words) and not words & {"RUNNING", "PENDING"}

    await asyncio.to_thread(until, lambda: gone() and told(), f"jobs {jobs} to be forgotten")


async def ended(lab: Lab, ref: JobRef) -> Status:
    """What a console that has not asked before says of a job."""
    other = lab.another()
    try:
        return (await other.poll([ref]))[ref]
    finally:
        await other.aclose()


async def test_a_job_by_hand_that_is_purged_between_two_looks_has_its_true_end(lab: Lab) -> None:
    big = "import time; x = b'x' * 300_000_000; time.sleep(60)"
    endings = {
        "exit 0": (State.SUCCEEDED, 0, None, ""),
        "exit 7": (State.FAILED, 7, None, ""),
        "kill -SEGV $$": (State.FAILED, None, signal.SIGSEGV, ""),
        "scancel $SLURM_JOB_ID; sleep 60": (State.CANCELLED, None, None, "cancelled in Slurm"),
        f'exec python3 -c "{big}"': (State.FAILED, None, signal.SIGKILL, ""),
    }
    jobs = {
        lab.slurm.sbatch(script, "--mem=100", "--time=5"): end for script, end in endings.items()
    }
    await forgotten(lab, *jobs)
    seen = await lab.backend.poll([JobRef(backend="lab", native_id=job) for job in jobs])
    for ref, status in seen.items():
        state, code, number, why = jobs[ref.native_id]
        assert (status.state, status.rank) == (state, Rank.NATIVE), status
        assert status.ended is not None and why in status.reason
        if not why:
            assert (status.exit_code, status.signal) == (code, number), status


async def test_a_run_whose_node_died_and_that_slurm_forgot_failed_with_its_node(lab: Lab) -> None:
    """Nothing of it could write a record: neither its supervisor nor its batch step."""
    options = {"requeue": False, "exclude": "n0"}
    ref = await lab.launch("hold", options=options, limits=Limits(time=300))
    await lab.until(ref, State.RUNNING)
    lab.slurm.stop_node("n1", signal.SIGKILL)
    for pid in lab.slurm.steps_of(ref.native_id):
        os.kill(pid, signal.SIGKILL)
    lab.slurm.run("scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=burnt")
    try:
        await forgotten(lab, ref.native_id)
    finally:
        lab.slurm.start_node("n1")
        lab.slurm.run("scontrol", "update", "NodeName=n1", "State=RESUME")
    status = await lab.until(ref)
    assert (status.state, status.rank) == (State.FAILED, Rank.NATIVE), status
    assert status.reason == "its node failed on n1"
    word = lab.directory(ref) / "attempts/0/word.json"
    assert '"its node failed on n1"' in word.read_text()


async def test_a_job_of_which_the_accounting_has_not_heard_is_neither_lost_nor_doubled(
    lab: Lab,
) -> None:
    """What waits is in slurmctld's list alone: sacct has nothing of it."""
    plan = await lab.plan(lab.spec("out:x", options={"account": "ml", "reservation": "later"}))
    ref = await lab.backend.submit(plan)
    said = lab.slurm.run("sacct", "-X", "-n", "-P", "-j", ref.native_id).stdout
    assert said == ""
    for _ in range(5):
        assert (await lab.status(ref)).state is State.QUEUED
        assert await lab.backend.submit(plan) == ref
    assert await lab.backend.find([(ref.run_id, 0)]) == [ref]
    named = lab.slurm.run("squeue", "-h", f"--name=td-{ref.run_id}-0", "-o", "%A").stdout
    assert named.split() == [ref.native_id]


async def test_while_the_accounting_is_down_nothing_is_lost_and_check_says_so(
    lab: Lab,
    traindeck: Traindeck,  # noqa: F811
) -> None:
    by_hand = lab.slurm.sbatch("exit 7", "--time=5")
    foreign = JobRef(backend="lab", native_id=by_hand)
    await forgotten(lab, by_hand)
    lab.slurm.stop_accounting()
    try:
        status = await lab.status(foreign)
        assert (status.state.terminal, status.reach) == (False, Reach.DOWN), status
        assert "its accounting cannot be asked: " in status.reason
        ref = await lab.launch("out:on", options={"account": "ml"}, limits=Limits(time=300))
        assert (await lab.until(ref)).state is State.SUCCEEDED
        said = await asyncio.to_thread(traindeck, "backends", "check", "lab", code=1)
        assert "the accounts and QOS cannot be asked for: " in said.stdout
        assert "no accounting" not in said.stdout and "your accounts" not in said.stdout
        run = await asyncio.to_thread(
            traindeck,
            "run",
            "--on",
            "lab",
            "--option",
            "qos=x",
            "--time",
            "5m",
            "--",
            "true",
            code=1,
        )
        assert "sbatch refused: " in run.stderr and "Invalid qos" in run.stderr
    finally:
        await asyncio.to_thread(lab.slurm.start_accounting)
    again = await ended(lab, foreign)
    assert (again.state, again.exit_code) == (State.FAILED, 7)
