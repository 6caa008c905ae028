"""What planning asks a place for."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from tests.payload.harness import Agent, Refusal, Served, runs

from traindeck.backends.payload.build import agent_version


def smi(folder: Path, script: str) -> str:
    """A PATH on which a stand-in for nvidia-smi comes first."""
    folder.mkdir(exist_ok=True)
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_hello_says_where_and_what_it_is(agent: Agent) -> None:
    answer = agent.call("hello")
    assert answer["agent"] == agent_version()
    assert answer["root"] == str(agent.root)
    assert answer["python_version"] == ".".join(map(str, sys.version_info[:3]))
    assert answer["host"] == os.uname().nodename
    assert answer["uid"] == os.getuid()
    assert answer["locks"] == f"/var/tmp/traindeck-{os.getuid()}"
    assert abs(answer["now"] - time.time()) < 60
    assert answer["free_bytes"] > 0
    assert isinstance(answer["warnings"], list)


def test_of_runs_on_another_disk_the_room_is_that_disks(agent: Agent) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == agent.root.stat().st_dev:
        pytest.skip("one disk only")
    (agent.root / "runs").symlink_to(other)
    space = os.statvfs(other)
    free = agent.call("hello")["free_bytes"]
    assert abs(free - space.f_bavail * space.f_frsize) < 1 << 26


def test_a_link_to_a_disk_that_is_not_mounted_is_named(agent: Agent) -> None:
    folder = agent.root / "runs"
    said = f"{folder} is not there: is its disk mounted?"
    assert said not in agent.call("hello")["warnings"]
    folder.symlink_to(agent.root / "away")
    assert said in agent.call("hello")["warnings"]
    with pytest.raises(Refusal, match="is not there: is its disk mounted"):
        agent.start("true")


def test_no_variable_moves_the_root(agent: Agent) -> None:
    answer, _ = agent.once("hello", env={"HOME": "/nowhere", "TRAINDECK_HOME": "/nowhere"})
    assert answer["root"] == str(agent.root)


def test_a_program_is_found_as_the_job_will_find_it(agent: Agent, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "b/tool").chmod(0o755)
    path = f"{tmp_path}/a:{tmp_path}/b"
    cwd = str(tmp_path)

    def found(program: str, path: str = path) -> str | None:
        answer = agent.call("survey", cwd=cwd, program=program, path=path)
        program_found: str | None = answer["program"]
        return program_found

    assert found("tool") == f"{tmp_path}/b/tool"
    assert found("tool", f"{tmp_path}/a") is None
    assert found("./b/tool") == f"{tmp_path}/b/tool"
    assert found("b/../b/tool") == f"{tmp_path}/b/tool"
    assert found(f"{tmp_path}/b/tool") == f"{tmp_path}/b/tool"
    assert found("./a/tool") is None
    assert found("b") is None


def test_a_directory_is_tried(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for cwd, ok in ((tmp_path, True), (tmp_path / "file", False), (tmp_path / "none", False)):
        assert agent.call("survey", cwd=str(cwd), program="sh")["cwd_ok"] is ok


def test_devices_are_what_nvidia_smi_says(agent: Agent, tmp_path: Path) -> None:
    path = smi(
        tmp_path / "bin",
        'test "$1" = --query-gpu=uuid,name,driver_version || exit 9\n'
        "echo 'GPU-1a, NVIDIA H100 80GB HBM3, 550.54.15'\n"
        "echo 'GPU-2b, NVIDIA H100 80GB HBM3, 550.54.15'",
    )
    answer = agent.call("survey", cwd="/", program="sh", path=path)
    assert answer["devices"] == [
        {"uuid": "GPU-1a", "name": "NVIDIA H100 80GB HBM3"},
        {"uuid": "GPU-2b", "name": "NVIDIA H100 80GB HBM3"},
    ]
    assert (answer["driver"], answer["devices_note"]) == ("550.54.15", "")


def test_without_nvidia_smi_devices_are_not_known(agent: Agent) -> None:
    if any(Path(f"{p}/nvidia-smi").exists() for p in ("/usr/bin", "/bin")):
        pytest.skip("this machine has nvidia-smi")
    answer = agent.call("survey", cwd="/", program="sh", path="/usr/bin:/bin")
    assert answer["devices"] is None
    assert "nvidia-smi" in answer["devices_note"]


def test_a_driver_that_fails_is_a_note_in_its_words(agent: Agent, tmp_path: Path) -> None:
    path = smi(tmp_path / "bin", "echo 'Driver/library version mismatch' >&2; exit 18")
    answer = agent.call("survey", cwd="/", program="sh", path=path)
    assert answer["devices"] is None
    assert "18" in answer["devices_note"] and "mismatch" in answer["devices_note"]


def test_a_slow_driver_holds_up_nobody_and_is_left_when_nobody_waits(
    agent: Agent, tmp_path: Path
) -> None:
    path = smi(tmp_path / "bin", f"echo $$ > {tmp_path}/pid; exec sleep 300")
    link = Served(agent)
    link.send({"id": 1, "verb": "survey", "cwd": "/", "program": "sh", "path": path})
    link.send({"id": 2, "verb": "ping"})
    assert link.receive()[0]["id"] == 2
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()):
        time.sleep(0.01)
    pid = int((tmp_path / "pid").read_text())
    link.close()
    assert not runs(pid)


def test_a_machine_that_ends_everything_at_logout_is_warned_about(tmp_path: Path) -> None:
    from traindeck.backends.payload.agent import survey

    config = tmp_path / "logind.conf"
    config.write_text("[Login]\n#KillUserProcesses=yes\n")
    assert survey.logout_warning([str(config)], False) == []
    config.write_text("[Login]\nKillUserProcesses=yes\n")
    assert "linger" in survey.logout_warning([str(config)], False)[0]
    assert survey.logout_warning([str(config)], True) == []  # asked to stay already
    other = tmp_path / "other.conf"
    other.write_text("KillUserProcesses = no\n")
    assert survey.logout_warning([str(config), str(other)], False) == []


def test_a_network_file_system_is_told_from_a_local_one(tmp_path: Path) -> None:
    from traindeck.backends.payload.agent import survey

    table = (
        b"21 1 0:19 / / rw - ext4 /dev/sda1 rw\n"
        b"30 21 0:41 / /home rw,relatime shared:5 - nfs4 server:/home rw\n"
        b"31 30 0:42 / /home/a\\040b rw - ext4 /dev/sdb rw\n"
        b"broken\n"
    )
    assert survey.file_system(b"/home/me/.traindeck", table) == b"nfs4"
    assert survey.file_system(b"/homework", table) == b"ext4"
    assert survey.file_system(b"/home/a b/c", table) == b"ext4"
    assert survey.file_system(b"/x", b"") == b""


def test_a_program_that_is_there_but_cannot_be_executed_says_why(
    agent: Agent, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("print('hi')\n")
    (tmp_path / "folder").mkdir()
    for program, note in (
        ("./train.py", "is not executable"),
        (f"{tmp_path}/train.py", "is not executable"),
        ("./folder", "is a directory"),
        ("./nothing", ""),
        ("train.py", ""),
        ("sh", ""),
        (
            "sh -c true",
            "was not found (it is one word: leave out the quotes if it should be several)",
        ),
        (
            "CUDA_VISIBLE_DEVICES=1",
            "was not found (a variable is set with --env CUDA_VISIBLE_DEVICES=...)",
        ),
        ("a.b=1", ""),
    ):
        answer = agent.call("survey", cwd=str(tmp_path), program=program, path="/usr/bin:/bin")
        assert answer["program_note"] == note
        assert (answer["program"] is None) == (program != "sh")


def version_of(agent: Agent, python: Path) -> str | None:
    answer = agent.call("survey", cwd="/", program="sh", python=str(python), path="/usr/bin:/bin")
    assert answer["python_found"] == str(python)
    version: str | None = answer["python_found_version"]
    return version


def environment(folder: Path, config: str, real: Path) -> Path:
    """The interpreter of a virtual environment of a Python that need not work."""
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(config)
    if not real.exists():
        real.write_text("#!/bin/sh\nexit 1\n")
        real.chmod(0o755)
    (folder / "bin/python").symlink_to(real)
    return folder / "bin/python"


def test_the_version_of_an_interpreter_is_told_without_starting_it(
    agent: Agent, tmp_path: Path
) -> None:
    ours = ".".join(map(str, sys.version_info[:3]))
    made = environment(tmp_path / "ours", "version = 3.1.4\n", Path(sys.executable).resolve())
    assert version_of(agent, made) == ours
    other = tmp_path / "python3.9"
    assert version_of(agent, environment(tmp_path / "a", "version = 3.9.7\n", other)) == "3.9.7"
    uv = "home = /x\nversion_info = 3.9.8.final.0\n"
    assert version_of(agent, environment(tmp_path / "b", uv, other)) == "3.9.8"
    # It was made with another one than it links to now.
    assert version_of(agent, environment(tmp_path / "c", "version = 3.8.1\n", other)) == "3.9"
    assert version_of(agent, environment(tmp_path / "d", "version = x\n", other)) == "3.9"
    assert version_of(agent, other) == "3.9"


def test_a_version_that_cannot_be_told_is_not_known(agent: Agent, tmp_path: Path) -> None:
    shim = tmp_path / "python3"
    shim.write_text("#!/bin/sh\n")
    shim.chmod(0o755)
    assert version_of(agent, shim) is None
    (tmp_path / "v/bin").mkdir(parents=True)
    (tmp_path / "v/bin/python").symlink_to(shim)
    os.mkfifo(tmp_path / "v/pyvenv.cfg")
    assert version_of(agent, tmp_path / "v/bin/python") is None
    answer = agent.call("survey", cwd="/", program="sh", python="/no/python", path="/bin")
    assert (answer["python_found"], answer["python_found_version"]) == (None, None)


def test_nvidia_smi_is_not_asked_where_nobody_wants_to_count(agent: Agent, tmp_path: Path) -> None:
    path = smi(tmp_path / "bin", f"touch {tmp_path}/asked; echo 'GPU-1a, X, 550.54.15'")
    answer = agent.call("survey", cwd="/", program="sh", path=path, devices=False)
    assert not (tmp_path / "asked").exists()
    assert (answer["devices"], answer["devices_note"]) == (None, "")


def test_the_driver_is_the_one_that_the_kernel_has_loaded(tmp_path: Path) -> None:
    from traindeck.backends.payload.agent import survey

    (tmp_path / "version").write_text("560.35.03\n")
    assert survey.loaded_driver(str(tmp_path / "version")) == "560.35.03"
    assert survey.loaded_driver(str(tmp_path / "none")) is None
