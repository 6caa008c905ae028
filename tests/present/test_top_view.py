"""What `top` prints: numbers that are never cut, `–` for what is not known, and whose each is."""

from __future__ import annotations

import pytest

from traindeck.backends.devices.readings import Device, DeviceLease, DeviceProcess, DeviceReport
from traindeck.console.present.cells import line_width, plain
from traindeck.console.present.device_words import short_name
from traindeck.console.present.glyphs import ASCII, ascii_text
from traindeck.console.present.top_view import Seen, problems, top_lines
from traindeck.console.runs.fleet import PlaceDevices

GIB = 1 << 30
NOW = 1_800_000_000.0


def h100(index: int, **changes: object) -> Device:
    values: dict[str, object] = {
        "uuid": f"GPU-{index}", "index": index, "name": "NVIDIA H100 80GB HBM3",
        "memory_total_bytes": 80 * GIB, "memory_used_bytes": 0, "memory_kind": "device",
        "utilization_pct": 0, "power_w": 71.4, "power_limit_w": 700.0, "temperature_c": 31,
    }  # fmt: skip
    return Device(**{**values, **changes})  # type: ignore[arg-type]


def process(pid: int, **changes: object) -> DeviceProcess:
    values: dict[str, object] = {
        "pid": pid, "user": "ada", "command": "/usr/bin/python train.py", "memory_bytes": 40 * GIB,
    }  # fmt: skip
    return DeviceProcess(**{**values, **changes})  # type: ignore[arg-type]


def place(*devices: Device, name: str = "gpu1", ago: float = 0.0, **more: object) -> PlaceDevices:
    report = DeviceReport(observed_at=NOW - ago, devices=devices, user="ada")
    return PlaceDevices(name=name, report=report, **more)  # type: ignore[arg-type]


def text(*places: PlaceDevices, **seen: object) -> list[str]:
    return [plain(line) for line in top_lines(places, Seen(now=NOW, **seen))]  # type: ignore[arg-type]


def busy() -> PlaceDevices:
    run = {"run": "01jabcdefgh2", "attempt": 0}
    return place(
        h100(0, utilization_pct=97, processes=(process(11, **run, rank=0),)),
        h100(1, utilization_pct=96, processes=(process(12, **run, rank=1),)),
        h100(2, throttle_reasons=("power_cap", "hw_thermal"), processes=(process(13, user="bob"),)),
        h100(3, state="lost", problem="It is lost.", utilization_pct=None, power_w=None),
        h100(4),
    )


@pytest.mark.parametrize("cells", [60, 80, 100, 120, 200])
def test_every_row_fits_and_no_number_is_cut(cells: int) -> None:
    lines = top_lines([busy()], Seen(now=NOW, width=cells))
    assert max(map(line_width, lines)) <= cells
    rows = [plain(line) for line in lines[1:6]]
    for row in (rows[0], rows[1], rows[2], rows[4]):
        assert "0.0/80.0" in row and " 71 " in row and " 31 " in row


def test_a_run_is_called_by_its_name_and_its_other_ranks_stand_below_it() -> None:
    lines = text(busy(), names={"01jabcdefgh2": "llama-sft"})
    assert lines[1].endswith("you llama-sft")
    assert lines[2].endswith("└ rank 1")
    assert lines[3].endswith("▲ slowed, too hot bob /usr/bin/python train.py")
    assert lines[5].endswith("free")


def test_a_card_at_its_power_limit_is_not_warned_of() -> None:
    (_, row, *_) = text(place(h100(0, throttle_reasons=("power_cap",))))
    assert "▲" not in row


def test_a_device_that_is_held_and_idle_says_for_how_long_it_was_watched() -> None:
    held = h100(0, idle_since=NOW - 47 * 60, processes=(process(1, user="bob"),))
    (_, row, *_) = text(place(held), width=100)
    assert "▲ held 47 min, idle bob python train.py" in row
    (_, row, *_) = text(place(h100(0, idle_since=NOW - 60, processes=(process(1),))))
    assert "held" not in row


def test_what_is_not_known_is_a_dash_and_never_a_nought() -> None:
    bare = Device(uuid="GPU-x", index=0, name="NVIDIA X")
    (_, row, *_) = text(place(bare), width=80)
    assert "0" not in row.replace("0 X", "")
    assert row.count("–") == 5


def test_memory_that_counts_otherwise_is_marked_and_the_mark_explained() -> None:
    lines = text(place(h100(0, memory_kind="reserved"), h100(1, memory_kind="shared")))
    assert "0.0/80.0*" in lines[1] and "0.0/80.0+" in lines[2]
    assert "* with what the driver keeps for itself" in lines[-1]
    assert "+ shared with the host" in lines[-1]


def test_what_is_old_counts_as_unknown_neither_busy_nor_free() -> None:
    silent = place(h100(0, processes=(process(1),)), h100(1), ago=360, problem="gpu1 is silent.")
    lines = text(silent, place(h100(2), name="local"))
    assert lines[-1].startswith("0 of 3 GPUs busy, 1 free, 2 unknown · gpu1 6m old")
    assert "gpu1 is silent." in lines
    late = top_lines([place(h100(0), ago=10)], Seen(now=NOW, every=2.0))
    assert any(span.style == "stale" for span in late[1])
    fresh = top_lines([place(h100(0), ago=3)], Seen(now=NOW, every=2.0))
    assert not any(span.style == "stale" for span in fresh[1])


def test_a_device_that_draws_a_desktop_is_free() -> None:
    desktop = h100(0, processes=(process(1, kind="graphics"),))
    assert text(place(desktop))[-1].startswith("0 of 1 GPU busy, 1 free")


def test_a_device_that_a_run_has_leased_is_busy_before_it_computes() -> None:
    lease = DeviceLease(user="ada", run="01jabcdefgh2", name="sft")
    mine, theirs = h100(0, lease=lease), h100(1, lease=DeviceLease(user="bob", name="dpo"))
    lines = text(place(mine, theirs))
    assert lines[1].endswith("you sft · leased") and lines[2].endswith("bob dpo · leased")
    assert lines[-1].startswith("2 of 2 GPUs busy, 0 free")


def test_memory_that_nobody_is_seen_to_hold_makes_a_device_no_free_one() -> None:
    lines = text(place(h100(0, memory_used_bytes=30 * GIB), h100(1, memory_used_bytes=GIB // 2)))
    assert lines[1].endswith("held by no visible process") and lines[2].endswith("free")
    assert lines[-1].startswith("1 of 2 GPUs busy, 1 free")


def test_a_device_with_a_busy_slice_is_busy() -> None:
    part = Device(uuid="MIG-1", name="NVIDIA A100 MIG 1g.5gb", processes=(process(1),))
    lines = text(place(h100(0, mig_mode=True, mig=(part,))), width=100)
    assert lines[-1].startswith("1 of 1 GPU busy, 0 free")
    assert "· MIG 1g.5gb" in lines[2]


@pytest.mark.parametrize(
    ("hidden", "words"),
    [("container", "of the host"), ("hidepid", "hidden by the system"), ("gone", "is gone")],
)
def test_a_process_of_which_nothing_is_known_is_not_passed_over(hidden: str, words: str) -> None:
    found = h100(0, processes=(DeviceProcess(pid=4711, memory_bytes=GIB, hidden=hidden),))
    lines = text(place(found))
    assert f"pid 4711 {words}" in lines[1]
    assert any("4711" in line and "1.0" in line for line in lines[2:-1])


def test_on_a_screen_of_24_lines_with_eight_devices_the_processes_are_there() -> None:
    many = tuple(process(100 + n, memory_bytes=n * GIB) for n in range(32))
    devices = [h100(n, processes=many[4 * n : 4 * n + 4]) for n in range(8)]
    lines = text(place(*devices), width=80, height=23, every=2.0)
    assert len(lines) <= 23
    shown = [line for line in lines if " ada " in line and "train.py" in line and "gpu1" in line]
    assert len([line for line in lines if "131" in line]) == 1, "who holds most is among them"
    assert len(shown) >= 8
    assert any("more processes" in line for line in lines)


def test_what_comes_from_a_host_does_nothing_to_the_terminal() -> None:
    evil = "\x1b]0;mine\x07\x1b[2J"
    found = h100(0, name=evil, processes=(process(1, command=evil, user=evil, container=evil),))
    silent = place(found, problem=f"{evil} is silent.")
    for line in (*text(silent, width=100), *problems([silent])):
        assert "\x1b" not in line and "\x07" not in line


def test_signs_have_a_likeness_in_ascii() -> None:
    for line in text(busy(), width=80, glyphs=ASCII):
        assert ascii_text(line).isascii()
        assert "?" not in ascii_text(line)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("Tesla V100-PCIE-16GB", "V100"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada Generation"),
        ("AMD Instinct MI300X", "MI300X"),
    ],
)
def test_a_device_is_called_as_people_call_it(name: str, short: str) -> None:
    assert short_name(Device(uuid="GPU-1", name=name)) == short


def test_no_devices_at_all_is_a_sentence() -> None:
    assert text(place(name="local")) == ["no GPU is known on local"]
