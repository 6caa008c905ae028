"""`top`: the devices of all places, on a library that stands in for a driver's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.services import free_port
from tests.services.nvml import GB, Nvml, Proc, a100_mig, h100

from .conftest import Cli
from .test_json import golden, holds, kind


@pytest.fixture
def two(cli: Cli, tmp_path: Path) -> Nvml:
    """Two devices, the second one busy with this test."""
    folder = tmp_path / "nvml"
    folder.mkdir()
    mine = Proc(pid=os.getpid(), memory=12 * GB, sm=50)
    nvml = Nvml(folder, h100(2).card(1, utilization_gpu=50, memory_used=13 * GB, processes=(mine,)))
    cli.environ.update(nvml.environ())
    return nvml


def test_the_devices_of_this_machine_are_shown_with_who_is_on_them(cli: Cli, two: Nvml) -> None:
    lines = cli.ok("top").splitlines()
    assert lines[0].split() == ["HOST", "GPU", "%", "MEM", "GiB", "W", "°C", "WHO", "·", "RUN"]
    assert lines[1].startswith("local  0 NVIDIA H100 80GB HBM3") and lines[1].endswith("free")
    assert " 50  13.0/79.6 " in lines[2]
    assert any(str(os.getpid()) in line and " 12.0 " in line for line in lines[3:-1])
    assert lines[-1].startswith("1 of 2 GPUs busy, 1 free")


def test_json_has_the_promised_fields(cli: Cli, two: Nvml) -> None:
    found = cli.json("top", "--json")
    assert [one["uuid"] for one in found] == [card.uuid for card in two.state.cards]
    assert holds(golden("device.json"), kind(found[1])) == []
    (process,) = found[1]["processes"]
    assert holds(golden("device_process.json"), kind(process)) == []
    assert found[0]["processes"] == []
    assert found[0]["fan_pct"] is None
    assert process["memory_bytes"] == 12 * GB


def test_quietly_it_is_the_uuids(cli: Cli, two: Nvml) -> None:
    assert cli.ok("top", "-q").split() == [card.uuid for card in two.state.cards]


def test_slices_are_nested_in_json(cli: Cli, tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, a100_mig())
    cli.environ.update(nvml.environ())
    (device,) = cli.json("top", "--json")
    assert device["utilization_pct"] is None
    assert [one["uuid"] for one in device["mig"]] == [s.uuid for s in nvml.state.cards[0].slices]


def test_a_run_is_named_and_has_its_rank(cli: Cli, two: Nvml) -> None:
    run = cli.run("sleep", "60", options=("--name", "long-one"))
    mine = Proc(pid=leader_of(run), memory=GB)
    two.show(two.state.card(0, processes=(mine,)))
    (row, *_) = [line for line in cli.ok("top").splitlines() if "local  0" in line]
    assert row.endswith("you long-one")
    (first, _) = cli.json("top", "--json")
    assert first["processes"][0]["run"] == run


def leader_of(run: str) -> int:
    """The process of a run that is running."""
    while True:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                block = (folder / "environ").read_bytes().split(b"\0")
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"TRAINDECK_RUN={run}/0".encode() in block and words[0] == b"sleep":
                return int(folder.name)


def test_watched_as_json_it_is_one_array_a_line(cli: Cli, two: Nvml) -> None:
    words = [sys.executable, "-m", "traindeck.console.cli.main", "top", "--watch", "--json"]
    process = subprocess.Popen(
        [*words, "--every", "0.2s"], cwd=cli.cwd, env=cli.environ, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert [one["utilization_pct"] for one in first] == [0, 50]
        two.show(two.state.card(0, utilization_gpu=33))
        while json.loads(process.stdout.readline())[0]["utilization_pct"] != 33:
            pass
    finally:
        process.kill()
        process.wait()


def test_a_machine_without_devices_is_no_failure(cli: Cli) -> None:
    assert cli.ok("top") == "no GPU is known on local\n"
    assert cli.json("top", "--json") == []


def test_a_driver_that_cannot_be_asked_is_a_line_on_stderr(cli: Cli, two: Nvml) -> None:
    two.write("init = LIB_RM_VERSION_MISMATCH\n" + two.state.text())
    done = cli("top", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    assert done.stderr.count("\n") == 1 and "was updated" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "There is no backend 'nowhere'"),
        (("--once", "--watch"), "contradict"),
        (("--every", "5"), "--every"),
        (("--every", "0s"), "--every"),
    ],
)
def test_a_wrong_word_is_one_sentence(cli: Cli, words: tuple[str, ...], said: str) -> None:
    done = cli("top", *words)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_place_that_does_not_answer_holds_up_no_other(
    cli: Cli, two: Nvml, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host far\n  HostName 127.0.0.1\n  Port {free_port()}\n")
    cli.ok("backends", "add", "ssh", "far", "--ssh-config", str(config))
    done = cli("top")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[1].startswith("local  0")
    assert any("refuses the connection" in line for line in lines)
    assert done.stdout.count("far") == 1
