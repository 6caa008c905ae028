"""What a run is to execute in, found where it will run: in real environments, whose large packages
are small ones of the same name."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.environments import install, make_conda, make_modules, make_venv
from tests.payload.harness import Agent

from traindeck.backends.environments import SCRIPT


class Asker:
    """Asks an agent for environments, with a home of their own."""

    def __init__(self, agent: Agent, home: Path) -> None:
        self.agent, self.home = agent, home
        home.mkdir()
        self.env = {"HOME": str(home), "PATH": "/usr/bin:/bin"}

    def __call__(self, kind: str, name: str = "", *needs: str, **more: Any) -> dict[str, Any]:
        asked = {"kind": kind, "name": name, "needs": list(needs), "wrapper": SCRIPT, **more}
        request = {"cwd": "/", "program": "python3", "devices": False, "environment": asked}
        answer, _ = self.agent.once("survey", request, env=self.env)
        self.program = answer["program"]
        found: dict[str, Any] = answer["environment"]
        return found


@pytest.fixture
def ask(agent: Agent, tmp_path: Path) -> Asker:
    return Asker(agent, tmp_path / "home")


def test_a_virtual_environment_is_found_and_what_is_needed_really_imported(ask: Asker) -> None:
    venv = make_venv(ask.home / "envs/train", torch="2.9.1+cu128", trl="0.24")
    found = ask("path", "~/envs/train", "torch", "trl", "peft?")
    assert (found["kind"], found["prefix"]) == ("venv", str(venv))
    assert found["python"] == f"{venv}/bin/python3"
    assert found["imports"] == {"torch": "2.9.1+cu128", "trl": "0.24"}
    assert (found["failed"], found["problem"]) == ({}, "")
    assert found["packages"] == ["torch==2.9.1+cu128", "trl==0.24"]
    assert found["python_version"] == ".".join(map(str, sys.version_info[:3]))
    assert ask.program == f"{venv}/bin/python3", "the program is looked for in it"


def test_an_interpreter_of_one_is_that_environment(ask: Asker) -> None:
    venv = make_venv(ask.home / "v")
    assert ask("path", f"{venv}/bin/python")["kind"] == "venv"
    found = ask("path", os.path.realpath(sys.executable))
    assert (found["kind"], found["python"]) == ("interpreter", os.path.realpath(sys.executable))


def test_a_conda_environment_is_found_by_its_name_and_by_its_prefix(ask: Asker) -> None:
    prefix = make_conda(ask.home / "miniforge3/envs/train", torch="2.8.0")
    for kind, name in (("conda", "train"), ("path", str(prefix))):
        found = ask(kind, name, "torch")
        assert (found["kind"], found["prefix"]) == ("conda", str(prefix))
        assert found["imports"] == {"torch": "2.8.0"}
    elsewhere = make_conda(ask.home / "data/other")
    (ask.home / ".conda").mkdir()
    (ask.home / ".conda/environments.txt").write_text(f"{elsewhere}\n/gone\n")
    assert ask("conda", "other")["prefix"] == str(elsewhere)


def test_what_is_not_there_is_said_with_what_is(ask: Asker) -> None:
    make_venv(ask.home / "envs/train")
    make_venv(ask.home / ".venv")
    make_conda(ask.home / "miniconda3/envs/big")
    found = ask("path", "~/envs/tarin")
    assert found["problem"] == "~/envs/tarin is not there"
    assert found["others"] == ["~/envs/train", "~/.venv", "conda:big"]
    assert ask("conda", "bigg")["problem"] == "there is no conda environment bigg"
    (ask.home / "empty").mkdir()
    assert "holds no bin/python" in ask("path", "~/empty")["problem"]


def test_an_import_that_fails_is_told_in_its_own_words(ask: Asker) -> None:
    make_venv(ask.home / "v", torch="print('noise')\nimport os\nraise OSError('libcudart.so.12')")
    found = ask("path", "~/v", "torch", "trl")
    assert found["failed"] == {
        "torch": "OSError: libcudart.so.12",
        "trl": "ModuleNotFoundError: No module named 'trl'",
    }


def test_an_import_that_never_ends_is_ended(ask: Asker) -> None:
    make_venv(ask.home / "v", torch="import time\ntime.sleep(1000)")
    found = ask("path", "~/v", "torch", seconds=0.5)
    assert "took longer than" in found["problem"] and "torch" in found["problem"]


def test_a_package_that_ends_the_interpreter_is_no_silence(ask: Asker) -> None:
    make_venv(ask.home / "v", torch="import os\nprint('bad driver', flush=True)\nos._exit(3)")
    found = ask("path", "~/v", "torch")
    assert found["problem"] == "it cannot be started (exit code 3): bad driver"


def test_what_was_imported_is_remembered_until_its_packages_change(ask: Asker) -> None:
    count = ask.home / "count"
    once = f"__version__ = '2.9'\nopen({str(count)!r}, 'a').write('x')"
    venv = make_venv(ask.home / "v", torch=once)
    for _ in range(3):
        assert ask("path", "~/v", "torch")["imports"] == {"torch": "2.9"}
    assert count.read_text() == "x"
    install(venv, "trl", "0.24")
    assert ask("path", "~/v", "torch")["packages"] == ["torch==1.0", "trl==0.24"]
    assert count.read_text() == "xx"
    assert not list(venv.rglob("__pycache__")), "looking leaves nothing behind"


def test_a_failure_is_tried_again(ask: Asker) -> None:
    flag = ask.home / "flag"
    venv = make_venv(ask.home / "v", torch=f"open({str(flag)!r})")
    assert "torch" in ask("path", "~/v", "torch")["failed"]
    flag.touch()
    assert ask("path", str(venv), "torch")["failed"] == {}


def test_nothing_named_means_what_is_on_the_path_there(ask: Asker) -> None:
    venv = make_venv(ask.home / "v", torch="2.9.1")
    ask.env["PATH"] = f"{venv}/bin:/usr/bin:/bin"
    found = ask("", "", "torch?")
    assert (found["kind"], found["imports"]) == ("venv", {"torch": "2.9.1"})
    ask.env["PATH"] = str(ask.home)
    assert "no python3" in ask("", "", "torch?")["problem"]


def test_nothing_named_and_one_environment_has_what_is_needed_is_that_one(ask: Asker) -> None:
    bare = make_venv(ask.home / "bare")
    ask.env["PATH"] = f"{bare}/bin:/usr/bin:/bin"
    make_venv(ask.home / "envs/web")
    train = make_venv(ask.home / "envs/train", torch="2.9.1", trl="1")
    found = ask("", "", "torch", "trl")
    assert (found["prefix"], found["imports"]) == (str(train), {"torch": "2.9.1", "trl": "1"})
    make_venv(ask.home / "envs/second", torch="2.9.1", trl="1")
    found = ask("", "", "torch", "trl")
    assert found["problem"] == ("several environments have torch: ~/envs/second, ~/envs/train")


def test_modules_are_loaded_and_their_interpreter_found(ask: Asker, tmp_path: Path) -> None:
    ask.env |= make_modules(tmp_path / "modules")
    make_venv(tmp_path / "modules/store/python/3.11", torch="2.9.1")
    (tmp_path / "modules/store/cuda").mkdir()
    found = ask("modules", "", "torch", modules=["cuda", "python/3.11"])
    assert (found["kind"], found["imports"]) == ("modules", {"torch": "2.9.1"})
    assert found["python"] == f"{tmp_path}/modules/store/python/3.11/bin/python3"
    found = ask("modules", "", modules=["cuda; touch /tmp/x"])
    assert "exit code 1" in found["problem"] and "cannot be loaded" in found["problem"]


def test_a_prelude_is_the_users_own_script(ask: Asker, tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "v", torch="2.9.1")
    prelude = f"# a cluster's own way\nexport PATH='{venv}/bin':$PATH\nif true; then :; fi"
    found = ask("", "", "torch", prelude=prelude)
    assert (found["kind"], found["imports"]) == ("prelude", {"torch": "2.9.1"})
    assert ask("", "", prelude="if true; then")["problem"].startswith("it cannot be started")
    assert not [p for p in ask.agent.root.iterdir() if "prelude" in p.name]


def test_devices_with_a_compute_process_are_named(agent: Agent, tmp_path: Path) -> None:
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(
        "#!/bin/sh\ncase $1 in\n"
        "--query-gpu=uuid,name,driver_version)\n"
        '  for gpu in GPU-1 GPU-2; do echo "$gpu, NVIDIA H100, 550.54.15"; done;;\n'
        "--query-compute-apps=gpu_uuid,pid) echo 'GPU-2, 4711';;\n"
        "*) exit 9;; esac\n"
    )
    tool.chmod(0o755)
    answer = agent.call("survey", cwd="/", program="sh", path=f"{tool.parent}:/usr/bin:/bin")
    assert [device["uuid"] for device in answer["devices"]] == ["GPU-1", "GPU-2"]
    assert answer["devices_busy"] == ["GPU-2"]


def test_paths_that_are_not_there_are_named(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    reads = [str(tmp_path / "here"), "here", "gone", "/nowhere/x"]
    answer = agent.call("survey", cwd=str(tmp_path), program="sh", reads=reads)
    assert answer["missing"] == ["gone", "/nowhere/x"]
