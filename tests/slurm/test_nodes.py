"""One job on several nodes: a rank on each, with its own log and record, one end for all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from typing import Any

import pytest
from tests.payload.harness import members, until
from tests.services.slurm import until as wait
from tests.slurm.conftest import Place

TWO = ("--nodes=2", "--gres=gpu:4")


def rank_record(place: Place, run: str, rank: int) -> dict[str, Any]:
    from traindeck.backends.payload.agent import exit_slot

    folder = place.agent.directory(run) / "ranks" / str(rank)
    record: dict[str, Any] = exit_slot.read(str(folder), run, 0)
    return record


def log(place: Place, run: str, rank: int) -> str:
    try:
        return (place.agent.directory(run) / "logs" / f"{rank}.log").read_text()
    except FileNotFoundError:
        return ""


def said(place: Place, run: str, text: str, ranks: int = 2) -> None:
    def there() -> bool:
        return all(text in log(place, run, rank) for rank in range(ranks))

    until(there, f"{text!r} in all logs of {run}")


def test_each_node_runs_the_command_and_has_a_log_of_its_own(place: Place) -> None:
    run, job = place.shell('echo "$NODE_RANK $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"', *TWO)
    record = place.agent.ended(run)
    assert [log(place, run, rank) for rank in range(2)] == ["0 n0 0,1,2,3\n", "1 n1 0,1,2,3\n"]
    assert (record["cause"], record["exit_code"]) == ("self", 0)
    assert [rank_record(place, run, rank)["exit_code"] for rank in range(2)] == [0, 0]
    assert place.slurm.reaches(job, "COMPLETED")["ExitCode"] == "0:0"
    assert {e["rank"] for e in place.agent.happened(run, "rank_ended")} == {0, 1}
    assert (place.agent.directory(run) / "logs/1.idx").exists()
    stat = place.agent.call("log_stat", run_id=run, attempt=0, rank=1)
    assert (stat["size"], stat["ended"]) == (13, True)


def test_what_ranks_need_to_find_each_other_is_in_the_environment(place: Place) -> None:
    run, _ = place.shell("env", *TWO, env={"PET_NNODES": "1:2"})
    place.agent.ended(run)
    envs = [
        dict(line.partition("=")[::2] for line in log(place, run, rank).splitlines())
        for rank in range(2)
    ]
    for rank, env in enumerate(envs):
        assert (env["NODE_RANK"], env["TRAINDECK_RANK"]) == (str(rank), str(rank))
        assert env["PET_RDZV_ENDPOINT"] == f"{env['MASTER_ADDR']}:{env['MASTER_PORT']}"
        assert env["PET_NPROC_PER_NODE"] == "4"
        assert env["PET_RDZV_ID"] == f"{run}-0"
        assert env["TRAINDECK_RUN"] == f"{run}/0"
        assert env["PET_NNODES"] == "1:2"  # what the user says comes first
    assert envs[0]["MASTER_PORT"] == envs[1]["MASTER_PORT"]


def test_a_command_that_sees_to_the_nodes_itself_is_started_once(place: Place) -> None:
    script = "srun --ntasks-per-node=1 sh -c 'echo $SLURMD_NODENAME' | sort"
    run, _ = place.shell(script, *TWO, options={"launch": "once"})
    assert place.agent.ended(run)["exit_code"] == 0
    assert log(place, run, 0) == "n0\nn1\n"
    assert not (place.agent.directory(run) / "ranks").exists()


def test_when_one_rank_fails_the_others_are_ended_and_its_code_is_the_runs(place: Place) -> None:
    script = (
        "trap 'echo saved; exit 9' TERM; echo ready; "
        "while :; do [ $NODE_RANK = 1 ] && [ -e $TRAINDECK_ARTIFACTS/go ] && exit 5; "
        "sleep 0.05; done"
    )
    run, job = place.shell(script, *TWO)
    said(place, run, "ready")
    (place.agent.directory(run, None) / "artifacts" / "go").touch()
    record = place.agent.ended(run)
    assert (record["cause"], record["exit_code"]) == ("self", 5)
    assert record["reason"].startswith("rank 1 on ")
    assert record["reason"].endswith("ended with exit code 5")
    assert log(place, run, 0) == "ready\nsaved\n"
    assert rank_record(place, run, 0)["exit_code"] == 9
    assert place.slurm.reaches(job, "FAILED")["ExitCode"] == "5:0"


def test_a_rank_that_does_not_end_is_killed_after_the_grace(place: Place) -> None:
    script = "[ $NODE_RANK = 1 ] && exit 5; trap '' TERM; while :; do sleep 0.05; done"
    run, _ = place.shell(script, *TWO, limits={"grace": 0.5})
    assert place.agent.ended(run)["exit_code"] == 5
    assert rank_record(place, run, 0)["signal"] == signal.SIGKILL


def test_a_rank_whose_supervisor_is_lost_ends_the_run_and_says_so(place: Place) -> None:
    run, _ = place.shell("echo ready; exec sleep 300", *TWO)
    said(place, run, "ready")
    folder = place.agent.directory(run) / "ranks" / "1"
    words = json.loads((folder / "agent.json").read_text())
    os.kill(words["pid"], signal.SIGKILL)
    record = place.agent.ended(run)
    assert (record["cause"], record["exit_code"]) == ("self", 1)
    assert record["reason"] == "rank 1 left no record: its node or its supervisor was lost"
    # Where Slurm tracks processes by their parents (here), not by cgroups, it loses an orphan.
    for pid in members(run):
        os.kill(pid, signal.SIGKILL)


def test_a_rank_that_cannot_begin_is_quoted(place: Place) -> None:
    run = place.prepare("true")
    # What the first rank is to lie in is no folder.
    ranks = place.agent.directory(run) / "ranks"
    ranks.mkdir(parents=True)
    (ranks / "1").write_text("")
    place.submit(run, *TWO)
    record = place.agent.ended(run)
    assert record["exit_code"] == 1
    assert record["reason"].startswith("rank 1 could not begin: ")
    assert "cannot be written" in record["reason"]
    # Not only through srun, which may lose it as it ends the step.
    assert json.loads((ranks / "1.json").read_bytes()) == {"reason": record["reason"]}


def test_a_stop_reaches_every_rank_once(place: Place) -> None:
    script = "trap 'echo told; sleep 0.3; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    run, _ = place.shell(script, *TWO)
    said(place, run, "ready")
    place.agent.call("cancel", run_id=run, attempt=0, grace=20.0, by="test")
    record = place.agent.ended(run)
    assert (record["cause"], record["exit_code"]) == ("cancel", 0)
    assert [log(place, run, rank) for rank in range(2)] == ["ready\ntold\n"] * 2


SAVES = """
import signal, sys, time
def save(number, frame):
    print("told", flush=True)
    time.sleep(0.3)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(300)
"""


def test_scancel_reaches_every_rank_once(place: Place) -> None:
    run = place.prepare(sys.executable, "-c", SAVES)
    job = place.submit(run, *TWO)
    said(place, run, "ready")
    place.slurm.run("scancel", job)
    record = place.agent.ended(run)
    assert (record["cause"], record["word"]) == ("outside", "cancelled")
    assert [log(place, run, rank) for rank in range(2)] == ["ready\ntold\n"] * 2


def test_the_warning_reaches_every_rank_that_listens(place: Place) -> None:
    script = "trap 'echo warned' USR2; echo ready; while :; do sleep 0.05; done"
    run, job = place.shell(script, *TWO)
    said(place, run, "ready")
    place.slurm.run("scancel", "--signal=USR2", "--batch", job)
    said(place, run, "warned")
    place.slurm.run("scancel", job)
    place.agent.ended(run)
    assert [log(place, run, rank).count("warned") for rank in range(2)] == [1, 1]


def test_a_program_that_is_missing_is_said_of_its_rank(place: Place) -> None:
    run = place.prepare("no-such-program")
    job = place.submit(run, *TWO)
    record = place.agent.ended(run)
    assert (record["cause"], record["exit_code"]) == ("launch", 127)
    assert "no-such-program: program not found" in record["reason"]
    assert place.slurm.reaches(job, "FAILED")["ExitCode"] == "127:0"


def test_a_secret_reaches_every_rank(place: Place) -> None:
    run = place.prepare("sh", "-c", 'echo "${#TOKEN}"', secrets={"TOKEN": "hunter2"})
    place.submit(run, *TWO)
    place.agent.ended(run)
    assert [log(place, run, rank) for rank in range(2)] == ["7\n"] * 2


def test_a_requeued_job_is_the_next_attempt_of_all_ranks(place: Place) -> None:
    run, job = place.shell("echo ready; exec sleep 300", "--requeue", *TWO)
    said(place, run, "ready")
    place.slurm.run("scontrol", "requeue", job)
    until(lambda: place.agent.evidence(run)["exit"], "the end of the first attempt")
    place.slurm.reaches(job, "PENDING")
    place.slurm.hurry(job)
    logs = place.agent.directory(run, 1) / "logs"

    def seen() -> str:
        srun = logs / "srun.log"
        text = srun.read_text() if srun.exists() else "no srun"
        return f"{place.said(run, job)} {text} {place.agent.evidence(run)}"

    wait(lambda: all((logs / f"{n}.log").exists() for n in range(2)), "both to run", more=seen)
    assert json.loads((place.agent.directory(run, 1) / "claim").read_text())["scheduler"]
    place.slurm.run("scancel", job)
    assert place.agent.ended(run)["attempt"] == 1


TRAINS = """
import os
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(3):
    loss = model(torch.full((2, 4), float(rank))).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
total = torch.tensor([float(rank)])
dist.all_reduce(total)
weights = sum(p.sum().item() for p in model.parameters())
said = f"rank {rank} of {world}: sum {total.item():.0f} weights {weights:.6f}\\n"
os.write(1, said.encode())  # at once: print writes the line's end apart, after another rank's line
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.train
def test_plain_torchrun_is_one_training_on_all_nodes(place: Place) -> None:
    pytest.importorskip("torch")
    torchrun = shutil.which("torchrun", path=f"{sys.prefix}/bin") or shutil.which("torchrun")
    argv = [torchrun] if torchrun else [sys.executable, "-m", "torch.distributed.run"]
    request = place.agent.request([*argv, "train.py"], env={"OMP_NUM_THREADS": "1"})
    run = request["run_id"]
    source = TRAINS.encode()
    request["files"] = [{"path": "code/train.py", "size": len(source), "mode": 0o600}]
    request["run"]["spec"]["cwd"] = str(place.agent.directory(run, None) / "code")
    place.agent.call("prepare", source, **request)
    place.submit(run, "--nodes=2", "--gres=gpu:2")
    record = place.agent.ended(run, seconds=180)
    logs = [log(place, run, rank) for rank in range(2)]
    assert record["exit_code"] == 0, logs
    said = [[s for s in text.splitlines() if s.startswith("rank ")] for text in logs]
    assert [len(lines) for lines in said] == [2, 2]
    lines = [*said[0], *said[1]]
    assert sorted(line.partition(":")[0] for line in lines) == [f"rank {n} of 4" for n in range(4)]
    assert all(" sum 6 weights " in line for line in lines)
    assert len({line.partition("weights")[2] for line in lines}) == 1
