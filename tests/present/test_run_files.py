"""The Files tab: a run's directory as a tree."""

from __future__ import annotations

import pytest
from tests.fakes.runs import NOW

from traindeck.backends.base import FileEntry
from traindeck.console.present.cells import Line, line_width, plain
from traindeck.console.present.run_files import head, sizes, summary, tree, unfolded

NASTY = "日本\x1b]52;c;aGk=\x07\x1b[31m\x9b\n[bold]ד" + "x" * 4000
FILES = [
    FileEntry(path="attempts", is_dir=True, modified=NOW - 60),
    FileEntry(path="attempts/0", is_dir=True, modified=NOW - 60),
    FileEntry(path="attempts/0/exit.slot", size=4096, modified=NOW - 60),
    FileEntry(path="attempts/0.txt", size=4, modified=NOW - 60),
    FileEntry(path="run.json", size=500, modified=NOW - 3600),
]


def harmless(lines: list[Line]) -> bool:
    return not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for line in lines for c in plain(line))


def test_a_folder_counts_what_is_below_it() -> None:
    taken = sizes(FILES)
    assert (taken["attempts"], taken["attempts/0"], taken["run.json"]) == (4100, 4096, 500)


def test_folded_folders_hide_what_is_below_them_and_nothing_else() -> None:
    assert [e.path for e in unfolded(FILES, {"attempts/0"})] == [
        "attempts", "attempts/0", "attempts/0.txt", "run.json",
    ]  # fmt: skip


def test_the_tree_shows_names_sizes_and_ages_in_their_places() -> None:
    lines = tree(FILES, sizes(FILES), {"attempts/0"}, 2, 0, 60, 5, NOW)
    assert {line_width(line) for line in lines} == {60}
    assert "▾ attempts/" in plain(lines[0]) and "▸ 0/" in plain(lines[1])
    assert plain(lines[2]).startswith("▌") and "4.10 kB" in plain(lines[2])
    assert plain(lines[4]).rstrip().endswith("1h00")
    assert line_width(head("/home/u/" + NASTY, 60)) == 60
    assert summary(FILES, 2000) == "3 files · 4.60 kB"
    assert summary(FILES, 5).endswith("the first 5 entries")


@pytest.mark.parametrize("cells", [60, 80, 120])
@pytest.mark.parametrize("cursor", [0, 3, 4])
def test_one_row_is_chosen_and_none_is_too_wide(cells: int, cursor: int) -> None:
    lines = tree(FILES, sizes(FILES), (), cursor, 0, cells, 10, NOW)
    assert all(line_width(line) <= cells for line in lines)
    chosen = [line for line in lines if any("@select" in span.style for span in line)]
    assert len(chosen) == 1


def test_a_hostile_name_does_nothing_and_does_not_move_the_grid() -> None:
    entries = [FileEntry(path="a/" * 40 + NASTY, size=1), FileEntry(path=NASTY, is_dir=True)]
    for cells in (60, 80, 120):
        lines = tree(entries, sizes(entries), (), 0, 0, cells, 2, NOW)
        assert {line_width(line) for line in lines} == {cells}
        assert harmless(lines)
