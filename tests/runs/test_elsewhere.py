"""Launches to a machine that has not this one's files, over a real SSH server: what goes along,
what does not, and what is refused before anything is sent."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.environments import make_venv
from tests.services.sshd import Box, Server, Sshd

from traindeck.backends.base import Code, Facts, Plan, RunSpec, State, Tree, UsageError
from traindeck.backends.trees import files_of
from traindeck.console.present.plan_view import plan_lines
from traindeck.console.recipes.reading import load
from traindeck.console.runs import choosing, controlling, forwarding, launching
from traindeck.console.runs.drafting import Draft, check, draft_of
from traindeck.console.runs.elsewhere import refuse_home, refuse_only_here, written_out
from traindeck.console.runs.finetuning import recipe_request
from traindeck.console.runs.placing import check_environment
from traindeck.console.runs.reading import read_spec
from traindeck.console.runs.rebuild import rebuild_index
from traindeck.console.runs.refreshing import refresh
from traindeck.console.runs.relaunching import finetune_like
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.runs.workspace import Workspace
from traindeck.console.store.places import Places
from traindeck.console.store.records import RunRecord

TRAINING = ("torch", "transformers", "trl", "datasets", "accelerate", "peft")


@dataclass
class World:
    """A workspace with `local` and `gpu1`, the box that this is, and the folder we are in."""

    ws: Workspace
    box: Server
    work: Path

    async def plan(self, *argv: str, **options: object) -> Plan:
        request = LaunchRequest(argv=argv, on="gpu1", **options)  # type: ignore[arg-type]
        return await launching.plan(self.ws, request)

    async def run(self, made: Plan) -> tuple[RunRecord, str]:
        """Launch, wait for the end, and read the log."""
        run = await launching.launch(self.ws, made)
        async for seen in controlling.watch(self.ws, run.id):
            run = seen
        log = await self.ws.backend("gpu1").read_at(  # type: ignore[attr-defined]
            launching.JobRef(backend="gpu1", run_id=run.id), 0, 0, 1 << 20
        )
        return run, log.decode()

    def settings(self, text: str = "") -> None:
        config = self.box.folder.parent / "config"
        self.ws.places.settings.write_text(
            "backends:\n  local:\n    root: "
            f"{self.work.parent}/root\n  gpu1:\n    kind: ssh\n    host: box0\n"
            f"    ssh_config: {config}\n{text}"
        )


def sent(made: Plan) -> set[str]:
    """The files of the code that goes along."""
    tree = made.spec.code.tree
    return set() if tree is None else {path for path, _ in files_of(tree) if path}


@pytest.fixture
async def world(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    work = home / "project"
    (work / "src").mkdir(parents=True)
    (work / "train.py").write_text(
        "import os, sys\nprint(sys.executable, os.getcwd())\nprint(dict(os.environ))\n"
    )
    monkeypatch.chdir(work)
    places = Places(config=tmp_path, state=tmp_path, index=tmp_path / "index.db")
    environ = {
        "PATH": f"/of/this/machine:{os.environ['PATH']}",
        "VIRTUAL_ENV": "/of/this/machine/venv",
        "LD_LIBRARY_PATH": "/of/this/machine/lib",
        "CUDA_HOME": "/of/this/machine/cuda",
        "WANDB_KEY": "of this machine",
        "HF_TOKEN": "hunter2",
    }
    with Sshd(tmp_path / "sshd", Box()) as sshd:
        made = World(Workspace(places=places, environ=environ), sshd[0], work)
        made.settings()
        yield made
        await made.ws.aclose()


async def test_the_code_goes_along_and_nothing_of_this_shell(world: World) -> None:
    made = await world.plan("python3", "train.py", env={"SEED": "1"}, secrets=("HF_TOKEN",))
    assert made.spec.code.mode == "snapshot" and "train.py" in sent(made)
    assert "of/this/machine" not in json.dumps(dict(made.env))
    assert made.spec.env_names == () and made.spec.python != sys.executable
    run, log = await world.run(made)
    assert run.state is State.SUCCEEDED, log
    assert "of/this/machine" not in log and "of this machine" not in log
    assert "'SEED': '1'" in log and "'HF_TOKEN': 'hunter2'" in log
    assert f"{world.box.home}/.traindeck/runs/{run.id}/code\n" in log


async def test_where_python_is_called_python3_a_python_is_that_one(world: World) -> None:
    (world.box.home / "bin").mkdir()
    python3 = world.box.home / "bin/python3"
    python3.symlink_to(sys.executable)
    env = {"PATH": str(python3.parent)}
    made = await world.plan("python", "train.py", env=env)
    assert (made.spec.argv, made.warnings) == ((str(python3), "train.py"), ())
    run, log = await world.run(made)
    assert run.state is State.SUCCEEDED, log
    for other in ("python3.99", "nosuch"):
        assert f"{other} was not found" in str((await world.plan(other, env=env)).warnings)


async def test_a_run_begins_at_the_same_place_of_the_copy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(world.work)], check=True)
    monkeypatch.chdir(world.work / "src")
    (world.work / "src/a.sh").write_text("#!/bin/sh\npwd\n")
    (world.work / "src/a.sh").chmod(0o755)
    made = await world.plan("./a.sh")
    assert not made.warnings, "the program is in the copy"
    run, log = await world.run(made)
    assert log.endswith(f"/{run.id}/code/src\n")
    assert "is not in the copy" in str((await world.plan("./gone.sh")).warnings)


async def test_a_folder_is_one_of_there(world: World) -> None:
    (world.box.home / "data").mkdir()
    for code, mode in ((None, "snapshot"), ("here", "here")):
        made = await world.plan("pwd", cwd="~/data", code=code)
        assert (made.spec.cwd, made.spec.code.mode) == (f"{world.box.home}/data", mode)
        assert ("train.py" in sent(made)) == (code is None)
        _, log = await world.run(made)
        assert log == f"{world.box.home}/data\n"
    with pytest.raises(UsageError, match="cannot be entered"):
        await world.plan("pwd", cwd="~/gone")
    with pytest.raises(UsageError, match="--cwd must name a folder there"):
        await world.plan("pwd", code="here")
    with pytest.raises(UsageError, match="outside of"):
        await world.plan("pwd", cwd="../..")


async def test_a_home_that_the_shell_wrote_out_is_the_home_there(world: World, home: Path) -> None:
    (world.box.home / "data").mkdir()
    venv = make_venv(world.box.home / "envs/train")
    made = await world.plan("python", cwd=f"{home}/data", environment=f"{home}/envs/train")
    assert (made.spec.cwd, made.argv[0]) == (f"{world.box.home}/data", f"{venv}/bin/python3")


async def test_an_environment_there_is_checked_shown_and_used(world: World) -> None:
    venv = make_venv(world.box.home / "envs/train", torch="2.9.1+cu128")
    made = await world.plan("python", "train.py", environment="~/envs/train")
    assert made.place == "gpu1: venv ~/envs/train, torch 2.9 imports"
    assert made.argv == (f"{venv}/bin/python3", "train.py")
    assert made.env["VIRTUAL_ENV"] == str(venv)
    assert made.env["PATH"].startswith(f"{venv}/bin:")
    assert made.files["code/.traindeck/packages.txt"].read() == b"torch==2.9.1+cu128\n"
    assert (made.spec.environment, made.spec.python) == ("~/envs/train", f"{venv}/bin/python3")
    run, log = await world.run(made)
    assert log.startswith(f"{venv}/bin/python3 ")
    spec = await read_spec(world.ws.backend("gpu1"), run)
    draft = draft_of(spec, "gpu1", {})
    assert (draft.text("command"), draft.text("environment")) == ("python train.py", "~/envs/train")
    again = (await check(world.ws, draft)).plan
    assert again is not None and again.argv == made.argv
    assert again.spec.cwd.endswith(f"/{again.spec.run_id}/code")
    twin = await launching.again(world.ws, run, {})
    assert twin.argv == made.argv and twin.spec.env["PATH"] == made.env["PATH"]
    retried = await launching.retry(world.ws, run)
    assert retried.spec.environment == "~/envs/train" and retried.argv == made.argv


async def test_what_was_found_is_found_again_where_a_run_like_it_goes(world: World) -> None:
    first = make_venv(world.box.home / "envs/train", **dict.fromkeys(TRAINING, "1.2.3"))
    values = {"model": "a/b", "data": "c/d"}
    request, _ = recipe_request(world.ws, load("sft"), values, on="gpu1")
    made = await launching.plan(world.ws, request)
    assert (made.spec.environment, made.spec.environment_found) == ("", str(first))
    assert ("inside", f"{first} · found there") in plan_lines(made)
    run = await launching.launch(world.ws, made)
    first.rename(world.box.home / "envs/old")
    second = world.box.home / "envs/old"
    like, _ = await finetune_like(world.ws, run.id, {}, values={})
    assert (like.environment, like.argv[0]) == ("", "python3")
    again = await launching.plan(world.ws, like)
    assert again.argv[0] == f"{second}/bin/python3" and str(first) not in str(again.env)
    async for _ in controlling.watch(world.ws, run.id):
        pass
    retried = await launching.retry(world.ws, run)
    assert (retried.argv, retried.env) == (made.argv, made.env), "of what it had"


async def test_a_port_that_would_be_forwarded_to_itself_is_refused(world: World) -> None:
    run = await launching.launch(world.ws, await world.plan("true"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = int(taken.getsockname()[1])
    # The box is this machine, and nobody listens there.
    with pytest.raises(UsageError, match=f"Port {port} of gpu1 is port {port} of this machine"):
        await forwarding.start(world.ws, run, port)
    async with await forwarding.start(world.ws, run, port, other) as made:
        assert made.problem
    with socket.create_server(("127.0.0.1", port)):
        async with await forwarding.start(world.ws, run, port) as made:
            assert made.local != port and not made.problem


async def test_a_missing_environment_is_refused_with_what_the_host_has(world: World) -> None:
    make_venv(world.box.home / "envs/train")
    with pytest.raises(UsageError) as error:
        await world.plan("python", "train.py", environment="~/envs/tarin")
    assert str(error.value) == ("gpu1: ~/envs/tarin is not there. There are: ~/envs/train.")


async def test_a_torch_that_does_not_import_is_a_warning_of_a_command(world: World) -> None:
    make_venv(world.box.home / "v", torch="raise OSError('libcudart.so.12: cannot open')")
    made = await world.plan("python", "train.py", environment="~/v")
    assert made.warnings[0].endswith(
        "but cannot be imported: OSError: libcudart.so.12: cannot open"
    )


async def test_a_check_of_a_place_says_what_is_wrong_with_its_environment(world: World) -> None:
    make_venv(world.box.home / "v", torch="raise ImportError('libcudart')")
    world.settings("    environment: ~/v\n")
    passed, said = await check_environment(world.ws, "gpu1") or (True, "")
    assert not passed and said.startswith(f"torch is installed in venv {world.box.home}/v")
    assert "libcudart" in said
    assert await check_environment(world.ws, "local") is None


async def test_a_place_has_an_environment_of_its_own_and_a_prelude(world: World) -> None:
    venv = make_venv(world.box.home / "v", torch="2.8.0")
    world.settings(f"    environment: {venv}\n    prelude: |\n      export CLUSTER='its \"own\"'\n")
    world.ws.reload_settings()
    made = await world.plan("python", "train.py")
    run_dir = f"{world.box.home}/.traindeck/runs/{made.spec.run_id}"
    assert made.argv == (
        "/bin/sh", f"{run_dir}/plan/environment.sh", f"{run_dir}/plan/prelude.sh", "--",
        f"{venv}/bin/python3", "train.py",
    )  # fmt: skip
    assert made.files["plan/prelude.sh"].read() == b"export CLUSTER='its \"own\"'\n"
    run, log = await world.run(made)
    assert log.startswith(f"{venv}/bin/python3 ") and "'CLUSTER': 'its \"own\"'" in log
    draft = draft_of(await read_spec(world.ws.backend("gpu1"), run), "gpu1", {})
    assert (draft.text("command"), draft.text("environment")) == ("python train.py", "")
    plain = await world.plan("python3", "train.py", environment="none")
    assert plain.argv == ("python3", "train.py") and "plan/prelude.sh" not in plain.files


def test_a_program_of_this_machine_is_refused_with_what_to_write() -> None:
    with pytest.raises(UsageError) as error:
        refuse_only_here(RunSpec(argv=(sys.executable, "x.py")), Facts(), "gpu1")
    assert str(error.value) == (
        f"{sys.executable} is a program of this machine; gpu1 has none there. "
        "Write `python`, and name an environment there: --environment ~/envs/NAME"
    )
    refuse_only_here(RunSpec(argv=(sys.executable,)), Facts(program=sys.executable), "gpu1")
    refuse_only_here(RunSpec(argv=("/no/such/program",)), Facts(), "gpu1")


def test_data_that_lies_only_here_is_refused_with_what_to_do(tmp_path: Path) -> None:
    facts = Facts(program="/bin/x", missing=(str(tmp_path),))
    with pytest.raises(UsageError, match=r"on this machine only, not on gpu1.*rsync"):
        refuse_only_here(RunSpec(argv=("x",)), facts, "gpu1")
    facts = Facts(program="/bin/x", missing=("/no/data",))
    with pytest.raises(UsageError, match="/no/data is not there on gpu1"):
        refuse_only_here(RunSpec(argv=("x",)), facts, "gpu1")


def test_a_home_that_the_shell_wrote_out_in_a_command_is_refused_with_what_to_write(
    home: Path,
) -> None:
    work = home / "work"
    (work / "src").mkdir(parents=True)
    for path in (home / "x.py", work / "src/y.py"):
        path.touch()
    (home / "data").mkdir()
    argv = (
        f"{home}/python", f"{home}/x.py", f"--data={home}/data", f"{home}/gone", "~/x.py", "/etc"
    )  # fmt: skip
    found = written_out(argv)
    assert found == {f"{home}/x.py": f"{home}/x.py", f"--data={home}/data": f"{home}/data"}
    tree = Tree()
    spec = RunSpec(argv=argv, cwd="src", code=Code(mode="snapshot", root=str(work), tree=tree))
    missing = Facts(missing=(f"{home}/x.py",))
    with pytest.raises(UsageError, match=r"x.py is on this machine only, not on gpu1; a shell"):
        refuse_home(spec, missing, "gpu1")
    inside = replace(spec, argv=("python", f"{work}/src/y.py"))
    with pytest.raises(UsageError, match=rf"A copy of {work} goes along, so write y\.py\."):
        refuse_home(inside, Facts(missing=(f"{work}/src/y.py",)), "gpu1")
    assert refuse_home(inside, Facts(), "gpu1") == (), "it is there"
    (said,) = refuse_home(spec, Facts(missing=(f"{home}/data",)), "gpu1")
    assert said.startswith(f"--data={home}/data: {home}/data is on this machine only, not on gpu1")


async def test_a_path_of_our_home_that_is_there_too_is_no_reason(world: World, home: Path) -> None:
    (home / "x.py").touch()
    made = await world.plan("python3", str(home / "x.py"))
    assert made.argv[-1] == str(home / "x.py") and made.spec.reads == ()


async def test_a_recipe_takes_the_interpreter_there_and_its_small_data_along(world: World) -> None:
    venv = make_venv(world.box.home / "envs/train", **dict.fromkeys(TRAINING, "1.2.3"))
    (world.work / "train.jsonl").write_text('{"text": "a"}\n')
    values = {"model": "org/base", "data": "train.jsonl", "method": "lora"}
    request, notes = recipe_request(world.ws, load("sft"), values, on="gpu1")
    assert notes[-1] == "sent along from here: train.jsonl"
    made = await launching.plan(world.ws, request)
    assert made.argv[0] == f"{venv}/bin/python3", "the one environment there that has it all"
    assert made.place.startswith("gpu1: venv ~/envs/train, torch 1.2 imports, ")
    assert sent(made) == {"train.jsonl"} and "code/.traindeck/packages.txt" in made.files
    assert made.spec.cwd.endswith("/code")


async def test_a_recipe_is_refused_where_what_it_needs_does_not_import(world: World) -> None:
    make_venv(world.box.home / "v", torch="2.9", transformers="raise ImportError('tokenizers')")
    request, _ = recipe_request(
        world.ws, load("sft"), {"model": "a/b", "data": "c/d"}, on="gpu1", environment="~/v"
    )
    with pytest.raises(UsageError) as error:
        await launching.plan(world.ws, request)
    assert str(error.value).startswith(
        "gpu1: transformers cannot be imported in venv"
    ) and "pip install transformers" in str(error.value)


async def test_data_that_lies_only_here_is_refused_in_words(world: World) -> None:
    make_venv(world.box.home / "envs/train", **dict.fromkeys(TRAINING, "1"))
    (world.work.parent / "big.jsonl").write_text("{}")
    values = {"model": "a/b", "data": "/no/such/data.jsonl"}
    request, _ = recipe_request(world.ws, load("sft"), values, on="gpu1")
    assert request.reads == ("/no/such/data.jsonl",)
    with pytest.raises(UsageError, match="is not there on gpu1"):
        await launching.plan(world.ws, request)
    with pytest.raises(UsageError, match="outside of"):
        recipe_request(world.ws, load("sft"), {**values, "data": "../big.jsonl"}, on="gpu1")
    with pytest.raises(UsageError, match="no such file"):
        recipe_request(world.ws, load("sft"), {**values, "data": "gone.jsonl"}, on="gpu1")
    with (world.work / "huge.jsonl").open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(UsageError, match="more than 64 MiB"):
        recipe_request(world.ws, load("sft"), {**values, "data": "huge.jsonl"}, on="gpu1")


def smi(box: Server, *busy: str) -> dict[str, str]:
    """A stand-in for nvidia-smi in the box, and a PATH that it is on."""
    tool = box.home / "bin/nvidia-smi"
    tool.parent.mkdir(exist_ok=True)
    apps = "".join(f"echo '{uuid}, 4711';" for uuid in busy) or ":;"
    tool.write_text(
        "#!/bin/sh\nif [ ${1#--query-gpu} != $1 ]; then\nfor n in 1 2 3 4; do "
        'echo "GPU-$n, NVIDIA H100 80GB HBM3, 550.54.15"; done\n'
        f"else {apps}\nfi\n"
    )
    tool.chmod(0o755)
    return {"PATH": f"{tool.parent}:/usr/bin:/bin"}


async def test_gpus_are_those_that_no_process_computes_on(world: World) -> None:
    env = smi(world.box, "GPU-1", "GPU-3")
    made = await world.plan("true", gpus=2, env=env)
    assert made.body is not None
    assert made.body["lease"] == {"devices": ["GPU-2", "GPU-4"], "count": 2}
    assert made.place == "gpu1: 2 of 4 GPUs free"
    with pytest.raises(UsageError, match=r"2 of 4 GPUs of .* are free now"):
        await world.plan("true", gpus=3, env=env)


async def test_auto_takes_the_first_that_can_start_and_says_why(world: World) -> None:
    env = smi(world.box, "GPU-1")

    async def make(name: str) -> LaunchRequest:
        return LaunchRequest(argv=("true",), on=name, gpus=2, env=env)

    made = await choosing.plan(world.ws, make)
    assert made.backend == "gpu1"
    assert "3 of 4 GPUs free; not local: " in made.place
    drafted = await check(world.ws, Draft(on="auto", fields={"command": "true", "gpus": "0"}))
    assert drafted.plan is not None and drafted.plan.backend == "local", "the first in order"
    with pytest.raises(UsageError, match=r"No place can take this run.*gpu1: .*has 4"):
        await choosing.plan(world.ws, lambda name: _many(name, env))
    world.box.stop()
    await world.ws.close_backends()
    with pytest.raises(UsageError, match=r"No place can take this run. local: .* gpu1: "):
        await choosing.plan(world.ws, make)


async def _many(name: str, env: dict[str, str]) -> LaunchRequest:
    return LaunchRequest(argv=("true",), on=name, gpus=9, env=env)


async def test_an_index_that_is_lost_learns_again_what_runs_elsewhere_were_made_from(
    world: World,
) -> None:
    run, _ = await world.run(await world.plan("python3", "train.py", "--lr", "3e-4"))
    rebuild_index(world.ws)
    known = world.ws.index.get(run.id)
    assert known is not None and known.argv == ()
    await refresh(world.ws)
    again = world.ws.index.get(run.id)
    assert again is not None
    assert (again.name, again.argv, again.params) == (run.name, run.argv, run.params)
    assert (again.state, again.reason) == (run.state, run.reason)
    assert abs(again.created - run.created) < 2  # a run's id knows the second it was made in
