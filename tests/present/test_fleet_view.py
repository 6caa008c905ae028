"""The Fleet as lines: what fits, what is dropped, and what is said of what is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.fleet import (
    EVERY,
    GIB,
    busy,
    four_hosts,
    gpu,
    host,
    on,
    ours,
    run_id,
    sliced,
)
from tests.fakes.runs import NOW, small_world

from traindeck.backends.devices.readings import DeviceProcess, DeviceReport
from traindeck.console.present.cells import Line, line_width, plain
from traindeck.console.present.fleet_columns import LEAD, heads, layout
from traindeck.console.present.fleet_detail import device_detail, place_detail
from traindeck.console.present.fleet_heads import header_counts, more_line, note_line, place_head
from traindeck.console.present.fleet_rows import (
    FREE,
    HOST,
    SILENT,
    USER,
    Part,
    Shown,
    Tally,
    find,
    is_stale,
    notes_of,
    part_of,
    seen_idle,
    warned,
)
from traindeck.console.present.fleet_view import Look, device_line
from traindeck.console.present.glyphs import ASCII, BEST, ascii_text
from traindeck.console.runs.fleet import PlaceDevices

RUNS = {run.id: run for run in small_world()}
NAMES = {key: run.name for key, run in RUNS.items()}
WIDTHS = (60, 66, 79, 80, 90, 99, 100, 119, 120, 160, 200, 240)
EVIL = "\x1b]0;mine\x07\x1b[2J\u202e字\n" * 9


def look(**more: Any) -> Look:
    return Look(now=NOW, every=EVERY, names=NAMES, **more)


def line(place: PlaceDevices, uuid: str, cells: int = 120, *, hosts: bool = False) -> Line:
    found = find(place, uuid)
    assert found is not None
    return device_line(found, layout(cells, hosts=hosts), look())


def text(place: PlaceDevices, number: int = 0, cells: int = 120) -> str:
    return plain(line(place, place.devices[number].uuid, cells))


def detail(place: PlaceDevices, number: int = 0, cells: int = 120, rows: int = 12) -> list[str]:
    found = find(place, place.devices[number].uuid)
    assert found is not None
    return [plain(one) for one in device_detail(found, RUNS, look(), cells, rows)]


def part(place: PlaceDevices, **shown: Any) -> Part:
    return part_of(place, NOW, EVERY, Shown(**shown), NAMES)


def whats(found: Part, group: str) -> list[str]:
    return [row.what or row.kind for row in found.rows.get(group, ())]


def uuids(place: PlaceDevices) -> list[str]:
    return [device.uuid for device in place.devices]


# ------------------------------------------------------------------------------------------ columns


@pytest.mark.parametrize("hosts", [False, True])
@pytest.mark.parametrize("cells", WIDTHS)
def test_every_line_fits_at_every_width(cells: int, hosts: bool) -> None:
    assert line_width(heads(layout(cells, hosts=hosts))) <= cells
    for place in (*four_hosts(), sliced()):
        for device in place.devices:
            for one in (device, *device.mig):
                assert line_width(line(place, one.uuid, cells, hosts=hosts)) == cells - LEAD
        assert line_width(place_head(place, look(), cells, folded=False)) == cells
        assert line_width(more_line(place, 3, cells, BEST)) == cells - LEAD


@pytest.mark.parametrize("cells", WIDTHS)
def test_no_number_is_ever_cut(cells: int) -> None:
    huge = gpu(
        1023, "AMD Instinct MI355X", 288, utilization_pct=100, power_w=1400.0,
        temperature_c=103, memory_used_bytes=int(287.6 * GIB), memory_kind="reserved",
        ecc_uncorrected=4_294_967_295, sm_clock_mhz=2400,
    )  # fmt: skip
    shown = text(host("gpu1", huge), cells=cells)
    found = layout(cells)
    for key, number in (
        ("gpu", "1023"), ("percent", " 100 "), ("gib", "287.6"), ("gib", "288*"),
        ("watts", " 1400 "), ("degrees", " 103 "), ("clock", " 2,400 "), ("ecc", "4.29 G"),
        ("pcie", "5×16"),
    ):  # fmt: skip
        assert (number in shown) == (key in found), (key, shown)


def test_columns_are_dropped_in_the_order_of_the_table_and_never_move_to_the_left() -> None:
    gone: dict[int, set[str]] = {}
    before = layout(200).keys
    for cells in range(199, 59, -1):
        now = layout(cells).keys
        if lost := set(before) - set(now):
            gone[cells + 1] = lost
        kept = [key for key in before if key in now]
        assert [key for key in now if key in kept] == kept
        before = now
    assert gone == {
        200: {"ecc", "pcie"},
        160: {"clock"},
        120: {"memory"},
        100: {"trend"},
        80: {"util", "watts", "degrees"},
    }
    assert layout(60).keys == ("shape", "gpu", "percent", "gib", "who")


def test_a_card_is_called_by_its_number_where_there_is_no_room_for_its_name() -> None:
    local = four_hosts()[0]
    assert " 0  RTX 4090 " in " " + text(local, cells=120)
    assert " 0  4090 " in " " + text(local, cells=80)


# ---------------------------------------------------------------------------------------- a device


def test_a_run_is_called_by_its_name_and_its_other_ranks_stand_below_it() -> None:
    gpu1 = four_hosts()[1]
    assert text(gpu1, 2).rstrip().endswith("you llama1b-lora-lr3e4")
    assert text(gpu1, 3).rstrip().endswith("└ rank 1")


def test_what_is_held_and_idle_says_for_how_long_it_was_seen_so() -> None:
    gpu1 = four_hosts()[1]
    assert "▲ held 47 min, idle user2" in text(gpu1, 0)
    assert "Seen idle for 47 min; user2 holds 68.0 GiB." in "\n".join(detail(gpu1, 0))
    # It is said from ten minutes on, and is no longer than it was watched.
    soon = host("a", busy(0, 0, 68, on(1, "user2"), idle_since=NOW - 599))
    assert seen_idle(soon, soon.devices[0]) is None and "held" not in text(soon)
    later = replace(gpu1, problem="It is silent.")
    found = find(later, uuids(later)[0])
    assert found is not None
    later_line = device_line(found, layout(120), Look(now=NOW + 7200, every=EVERY))
    assert "held 47 min" in plain(later_line)


def test_one_that_is_free_or_only_draws_is_not_held() -> None:
    free, draws = gpu(0), busy(1, 0, 1, on(1, kind="graphics"))
    place = host("a", free, draws)
    assert [warned(place, one) for one in (free, draws)] == [False, False]
    assert text(place).rstrip().endswith("free")


def test_a_card_at_its_power_limit_is_as_it_should_be() -> None:
    place = host("a", busy(0, 99, 60, on(1), throttle_reasons=("power_cap",)))
    assert "▲" not in text(place)
    assert not warned(place, place.devices[0])
    assert not any("▲" in one for one in detail(place))
    assert any("at its power limit, as it may be" in one for one in detail(place, cells=160))


def test_what_is_wrong_is_said_in_words() -> None:
    slow = busy(0, 60, 40, on(1), throttle_reasons=("hw_thermal",), sm_clock_mhz=1215,
                temperature_c=87)  # fmt: skip
    said = detail(host("a", slow))[1]
    assert said == "  ▲ Slowed: too hot. It runs at 1,215 of 1,980 MHz. At 87 °C."
    sick = gpu(0, ecc_uncorrected=3, health=("A row of its memory waits to be replaced.",))
    said = "\n".join(detail(host("a", sick)))
    assert "3 uncorrected ECC errors" in said and "A row of its memory" in said
    assert "3 uncorrected ECC errors since the driver began" in said


def test_what_is_not_known_is_a_dash_and_never_a_nought() -> None:
    bare = replace(
        gpu(0), utilization_pct=None, power_w=None, temperature_c=None, sm_clock_mhz=None,
        memory_used_bytes=None, memory_total_bytes=None, ecc_uncorrected=None, pcie_gen=None,
    )  # fmt: skip
    shown = text(host("a", bare), cells=200)
    assert "0" not in shown.removeprefix("0  H100")
    assert shown.count("–") == 8


def test_memory_that_counts_otherwise_is_marked() -> None:
    marks = [text(host("a", gpu(0, memory_kind=kind))) for kind in ("reserved", "shared")]
    assert "0.0 / 80*" in marks[0] and "0.0 / 80+" in marks[1]


def test_slices_stand_below_their_device() -> None:
    place = sliced()
    assert whats(part(place), "gpu4")[:4] == [place.devices[0].uuid, "MIG-3", "MIG-2", "MIG-1"]
    shown = plain(line(place, "MIG-3"))
    assert shown.startswith("└  3g.30gb") and "you llama1b-lora-lr1e4" in shown
    assert part(place).tally == Tally(total=2, busy=1, free=1)


# -------------------------------------------------------------------------------------------- age


def test_a_silent_host_counts_as_unknown_neither_busy_nor_free() -> None:
    found = [part(place).tally for place in four_hosts()]
    assert found[2] == Tally(total=8, unknown=8)
    total = sum(found, Tally())
    assert total == Tally(total=17, busy=7, free=1, warned=3, unknown=8)
    said = " · ".join(plain(one) for one in header_counts(total, BEST))
    assert said == "7/17 busy · 1 free · ▲ 3 · ◌ 8 unknown"


def test_a_silent_hosts_values_are_dashed_and_nothing_of_them_looks_live() -> None:
    gpu2 = four_hosts()[2]
    for uuid in uuids(gpu2):
        spans = line(gpu2, uuid)
        styles = {span.style for span in spans if span.text.strip()}
        assert styles <= {"stale", "rule"}
        assert "━" not in plain(spans) and "▁" not in plain(spans)
        assert "free" not in plain(spans)
    assert "╍" in plain(line(gpu2, uuids(gpu2)[0])) and "····" in plain(line(gpu2, uuids(gpu2)[0]))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (140, "◌ not answering for 6 min · last values below · retry in 12 s"),
        (120, "◌ not answering for 6 min · retry in 12 s"),
        (80, "◌ silent 6 min · retry 12 s"),
    ],
)
def test_a_silent_host_says_since_when_and_when_it_is_tried_again(cells: int, words: str) -> None:
    shown = plain(place_head(four_hosts()[2], look(), cells, folded=False))
    assert shown.rstrip().endswith(words)


def test_what_only_lags_says_its_age_before_it_is_stale() -> None:
    def head(ago: float) -> str:
        return plain(place_head(host("a", gpu(0), ago=ago), look(), 120, folded=False))

    assert "old" not in head(3) and "5 s old" in head(5)
    assert not is_stale(host("a", gpu(0), ago=5), NOW, EVERY)
    assert is_stale(host("a", gpu(0), ago=7), NOW, EVERY)


def test_what_is_asked_again_after_a_while_is_not_stale_before_it_could_answer() -> None:
    known = replace(host("a", gpu(0), ago=600), asked=NOW - 1)
    assert not is_stale(known, NOW, EVERY)
    assert "10 min old" in plain(place_head(known, look(), 120, folded=False))
    assert is_stale(replace(known, asked=NOW - 10), NOW, EVERY)


def test_many_devices_of_a_silent_host_are_folded_and_unfold() -> None:
    gpu2 = four_hosts()[2]
    assert whats(part(gpu2), "gpu2") == [*uuids(gpu2)[:3], "more"]
    assert whats(part(gpu2, sample=1), "gpu2") == [*uuids(gpu2)[:1], "more"]
    assert whats(part(gpu2, opened=frozenset({"gpu2"})), "gpu2") == uuids(gpu2)
    said = plain(more_line(gpu2, 3, 120, BEST)).rstrip()
    assert said == "▸ 5 more · 1 busy, 4 without a process when last seen"


# ----------------------------------------------------------------------------------------- the list


def test_a_hosts_devices_keep_their_order_whatever_they_do() -> None:
    gpu1 = four_hosts()[1]
    assert whats(part(gpu1), "gpu1") == uuids(gpu1)


def test_by_user_everybody_has_their_devices_and_what_is_free_or_silent_stands_apart() -> None:
    found = [part(place, group=USER) for place in four_hosts()]
    assert set().union(*(one.rows for one in found)) == {"you", "@user2", "@user3", FREE, SILENT}
    assert len(whats(found[2], SILENT)) == 8
    taken = host("a", busy(0, 9, 9, on(1, user="free")), gpu(1))
    assert part(taken, group=USER).rows.keys() == {"@free", FREE}


def test_idle_only_leaves_what_is_free_or_held_and_idle() -> None:
    kept = [whats(part(place, idle=True), place.name) for place in four_hosts()]
    _, gpu1, _, gpu3 = four_hosts()
    assert kept == [[], [uuids(gpu1)[0]], [], [uuids(gpu3)[0]]]


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ("h100", {"gpu1"}),
        ("you RTX", {"local"}),
        ("slowed", {"gpu1"}),
        ("free", {"gpu3"}),
        ("not answering sweep", {"gpu2"}),
        ("lost", {"gpu3"}),
        ("llama1b-lora-lr3e4", {"gpu1"}),
        ("41277", {"gpu1"}),
        ("big.yaml idle", {"gpu1"}),
        ("nothing like that", set()),
    ],
)
def test_devices_are_found_by_what_is_said_of_them(words: str, places: set[str]) -> None:
    assert {p.name for p in four_hosts() if part(p, text=words).rows} == places


def test_a_place_of_which_nothing_is_known_says_what_it_waits_for() -> None:
    asked = PlaceDevices(name="gpu1")
    assert notes_of(asked, NOW) == ["asking gpu1…"]
    assert notes_of(host("local"), NOW, alone=True) == [
        "No GPU here: no NVIDIA, AMD or Intel driver was found on local.",
        "To see those of another machine: traindeck backends add ssh HOST",
    ]
    hung = DeviceReport(observed_at=NOW, asking=75.0)
    assert notes_of(replace(asked, report=hung), NOW) == [
        "The driver on gpu1 is being asked since 1 min."
    ]
    broken = DeviceReport(observed_at=NOW, problems={"nvidia": "The driver is broken."})
    place = replace(asked, report=broken)
    assert whats(part(place), "gpu1") == ["0"]
    assert plain(note_line(place, 0, look(), 80, alone=False)).rstrip() == "The driver is broken."


# ----------------------------------------------------------------------------------------- the pane


@pytest.mark.parametrize("rows", [4, 12, 16])
@pytest.mark.parametrize("cells", WIDTHS)
def test_the_pane_fits_its_rows_and_cells(cells: int, rows: int) -> None:
    for place in (*four_hosts(), sliced(), host("a", gpu(0, name=EVIL, pci=EVIL, health=(EVIL,)))):
        for device in place.devices:
            for one in (device, *device.mig):
                found = find(place, one.uuid)
                assert found is not None
                lines = device_detail(found, RUNS, look(), cells, rows)
                assert len(lines) <= rows
                assert max(map(line_width, lines)) <= cells


def test_the_pane_tells_what_may_be_done() -> None:
    _, gpu1, _, gpu3 = four_hosts()
    assert "    enter opens llama1b-lora-lr3e4 · y copies the pid" in detail(gpu1, 2)
    foreign = "Not a run of Traindeck: it counts as busy, and is not ours to stop."
    assert any(foreign in one for one in detail(gpu1, 0))
    assert "    Free: nothing computes on it." in detail(gpu3, 0)
    mine = host("a", busy(0, 50, 9, on(5)))
    assert any("Yours, but no run of Traindeck" in one for one in detail(mine))


def test_a_runs_process_says_its_run_its_rank_and_its_step() -> None:
    (row,) = [one for one in detail(four_hosts()[1], 3) if " 5102 " in one]
    assert "user1  71.1  –  llama1b-lora-lr3e4 · rank 1 · step 3,120 of 8,000 · python" in row


def test_in_four_rows_who_holds_most_is_there_and_the_rest_is_counted() -> None:
    crowd = [on(100 + n, gib=n) for n in range(9)]
    said = detail(host("a", busy(0, 50, 60, *crowd)), rows=4)
    assert len(said) == 4
    assert "pid 108" in said[1] and "8 more processes" in said[2]


@pytest.mark.parametrize(
    ("hidden", "words"),
    [("container", "of the host"), ("hidepid", "hidden by the system"), ("gone", "is gone")],
)
def test_a_process_of_which_nothing_is_known_is_not_passed_over(hidden: str, words: str) -> None:
    place = host("a", busy(0, 9, 1, DeviceProcess(pid=4711, memory_bytes=GIB, hidden=hidden)))
    assert "pid 4711" in text(place)
    assert any("4711" in one and words in one for one in detail(place))


def test_what_comes_from_a_host_does_nothing_to_the_terminal() -> None:
    evil = on(1, EVIL, EVIL, container=EVIL, run=EVIL)
    device = gpu(0, EVIL, uuid=EVIL, pci=EVIL, processes=(evil,), health=(EVIL,), state="error",
                 problem=EVIL, throttle_reasons=(EVIL, "hw_thermal"))  # fmt: skip
    fine = gpu(1, EVIL, processes=(evil,), uuid="b")
    place = host("a", device, fine, driver=EVIL, problem=EVIL, ago=1)
    answers = host("a", device, fine, driver=EVIL)
    for one in (place, answers):
        lines = [line(one, each, cells) for each in (EVIL, "b") for cells in WIDTHS]
        lines += [place_head(one, look(), 80, folded=False), more_line(one, 0, 80, BEST)]
        lines += [note_line(one, 0, look(), 80, alone=False)]
        lines += place_detail(one, look(), 80, 12, alone=False)
        for cells, rows in ((60, 4), (200, 16)):
            found = find(one, EVIL)
            assert found is not None
            lines += device_detail(found, RUNS, look(), cells, rows)
        shown = "".join(map(plain, lines))
        assert not any(sign in shown for sign in "\x1b\x07\n\u202e")
        assert max(map(line_width, lines)) <= max(WIDTHS)


def test_signs_have_a_likeness_in_ascii() -> None:
    for place in four_hosts():
        for device in place.devices:
            found = find(place, device.uuid)
            assert found is not None
            ascii_look = look(glyphs=ASCII)
            lines = [
                device_line(found, layout(120), ascii_look),
                place_head(place, ascii_look, 120, folded=True),
                *device_detail(found, RUNS, ascii_look, 120, 12),
            ]
            for one in lines:
                assert ascii_text(plain(one)).isascii()
                assert "?" not in ascii_text(plain(one))


def test_only_what_needs_a_look_is_warm() -> None:
    for place in (*four_hosts(), sliced()):
        for device in place.devices:
            warm = any("warn" in span.style for span in line(place, device.uuid, 200))
            stale = is_stale(place, NOW, EVERY)
            assert warm == (not stale and warned(place, device)), device.uuid


def test_host_and_user_are_all_there_is_to_group_by() -> None:
    assert part(four_hosts()[0], group=HOST).rows.keys() == {"local"}
    assert ours(1, "sweep-07", 1).run == run_id("sweep-07")
