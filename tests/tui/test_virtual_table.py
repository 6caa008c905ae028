"""The table of any length: whatever is done to it, the cursor is on a row."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.runs import FakeServices
from textual import events
from textual.geometry import Size

from traindeck.console.present.cells import Line, Span
from traindeck.console.settings import Settings
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.widgets.virtual_table import Section, VirtualTable

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("move"), st.sampled_from([-1, 1])),
        st.tuples(st.just("page"), st.sampled_from([-1, -0.5, 0.5, 1])),
        st.tuples(
            st.sampled_from(["first", "last", "fold", "mark", "range", "all", "clear"]), st.just(0)
        ),
        st.tuples(st.just("rows"), st.lists(st.integers(0, 12), max_size=4)),
        st.tuples(st.just("shuffle"), st.randoms(use_true_random=False)),
        st.tuples(st.just("wheel"), st.sampled_from([-3, 3])),
    ),
    max_size=25,
)


def sections_of(counts: list[int]) -> tuple[array[int], list[Section]]:
    keys = array("q", range(100, 100 + sum(counts)))
    return keys, [Section(str(n), f"GROUP {n}", count) for n, count in enumerate(counts)]


class Bench(TraindeckApp):
    """An application with nothing but a table."""

    def get_default_screen(self):  # type: ignore[no-untyped-def]
        from textual.screen import Screen

        def show(key: int, selected: bool) -> Line:
            return (Span(f"key {key}"),)

        def head(section: Section, folded: bool, cells: int) -> Line:
            return (Span(section.title),)

        self.table = VirtualTable(show, head)
        table = self.table

        class OneTable(Screen[None]):
            def compose(self):  # type: ignore[no-untyped-def]
                yield table

        return OneTable()


def holds(table: VirtualTable) -> None:
    """What is always true."""
    assert 0 <= table.scroll_offset.y <= max(0, table._rows - table.size.height)
    if table._rows == 0:
        assert table.key is None
        return
    assert table._is_stop(table._cursor)
    key = table.key
    if key is not None:
        assert table._row_of(key) == table._cursor
        assert table.keys[table.position - 1] == key
    assert table.marked <= table._shown_keys() <= set(table.keys)
    assert not table.marked & table.waiting
    visible = table.visible_keys()
    assert len(visible) <= table.size.height


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 12), max_size=4), OPERATIONS, st.integers(0, 1))
async def test_the_cursor_is_always_on_a_row(
    counts: list[int], operations: list[tuple[str, object]], gap: int
) -> None:
    app = Bench(FakeServices(), Settings(glyphs="best"), depth="truecolor", environ={})
    async with app.run_test(size=(60, 15)):
        table = app.table
        table.gap = gap
        keys, sections = sections_of(counts)
        table.set_rows(keys, sections)
        holds(table)
        for name, value in operations:
            before = table.key
            if name == "move":
                table.move(value)  # type: ignore[arg-type]
            elif name == "page":
                table.page(value)  # type: ignore[arg-type]
            elif name == "first":
                table.first()
            elif name == "last":
                table.last()
            elif name == "fold":
                table.toggle_fold()
            elif name == "mark":
                table.toggle_mark()
            elif name == "range":
                table.toggle_range()
            elif name == "all":
                table.mark_all()
            elif name == "clear":
                table.clear_marks()
            elif name == "wheel":
                table._wheel(value)  # type: ignore[arg-type]
            elif name == "rows":
                keys, sections = sections_of(value)  # type: ignore[arg-type]
                table.set_rows(keys, sections)
            elif name == "shuffle":
                order, place = list(table.keys), table._cursor - table.scroll_offset.y
                value.shuffle(order)  # type: ignore[attr-defined]
                table.set_rows(array("q", order), table._sections)
                if before is not None and table.key != before:
                    assert before not in table.visible_keys()
                    # But for a head, and the blank row before it.
                    assert abs(table._cursor - table.scroll_offset.y - place) <= 1 + gap
            holds(table)
            await app.animator.wait_until_complete()


async def test_blank_rows_stand_between_groups_and_are_none_of_their_rows() -> None:
    app = Bench(FakeServices(), Settings(glyphs="best"), depth="truecolor", environ={})
    async with app.run_test(size=(60, 15)):
        table = app.table
        table.gap = 1
        table.set_rows(*sections_of([2, 1]))
        shown = ["".join(part.text for part in table.render_line(y)).strip() for y in range(6)]
        assert shown == ["GROUP 0", "▌ key 100", "key 101", "", "GROUP 1", "key 102"]
        table.move(1)
        table.move(1)
        assert table.key == 102
        table.toggle_fold()
        table.move(-1)
        table.toggle_fold()
        assert [table._is_stop(row) for row in range(4)] == [True, False, True, False]
        assert table.visible_keys() == []


async def test_who_ends_right_after_a_change_of_size_is_told_of_no_error() -> None:
    app = Bench(FakeServices(), Settings(glyphs="best"), depth="truecolor", environ={})
    async with app.run_test(size=(60, 15)):
        later: list[Callable[[], None]] = []
        app.set_timer = lambda after, call: later.append(call)  # type: ignore[assignment]
        app.on_resize(events.Resize(Size(70, 15), Size(70, 15)))
    for call in later:
        call()
    assert later and not app.screen_stack


@asynccontextmanager
async def table_of(
    *groups: str,
) -> AsyncIterator[tuple[VirtualTable, Callable[..., tuple[str, str]]]]:
    """A table of ten rows, a letter each, and what shows other groups in it or moves the cursor,
    and tells what is on screen then (heads are digits) and where the cursor is."""
    app = Bench(FakeServices(), Settings(glyphs="best"), depth="truecolor", environ={})
    async with app.run_test(size=(60, 15)) as pilot:
        table = app.table
        table.styles.height = 10
        await pilot.pause()

        def show(*groups: str, down: int = 0) -> tuple[str, str]:
            if groups:
                keys = array("q", map(ord, "".join(groups)))
                named = [Section(str(n), "G", len(keys)) for n, keys in enumerate(groups)]
                table.set_rows(keys, named)
            for _ in range(down):
                table.move(1)
            top = table.scroll_offset.y
            names = [table._name_at(row) for row in range(top, min(table._rows, top + 10))]
            seen = "".join(chr(name) if isinstance(name, int) else str(name) for name in names)
            return seen, chr(table.key) if table.key is not None else ""

        show(*groups)
        yield table, show


async def test_a_row_that_leaves_its_group_takes_the_cursor_along_on_screen_only() -> None:
    async with table_of("a", "bcd", "efghijklmnop") as (_, show):
        assert show(down=2) == ("0a1bcd2efg", "c")
        # It is among those that need a person now, and in sight.
        assert show("ac", "bd", "efghijklmnop") == ("0ac1bd2efg", "c")
    async with table_of("a", "bcd", "efghijklmnop") as (_, show):
        show(down=2)
        # It is far down: the place is kept, and all that is seen.
        assert show("a", "bd", "efghijklmncop") == ("0a1bd2efgh", "d")
        assert show("a", "b", "defghijklmncop") == ("0a1b2defgh", "d")
    async with table_of("a", "bcd", "efghijklmnop") as (_, show):
        show(down=3)
        # The last of a group leaves the cursor in its group.
        assert show("a", "bc", "efghijklmnodp") == ("0a1bc2efgh", "c")


async def test_the_rows_on_screen_stay_where_they_are_when_others_come_and_go() -> None:
    async with table_of("a", "bcd", "efghijklmnop") as (_, show):
        seen = ("ghijklmnop", "p")
        assert show(down=15) == seen
        assert show("axyz", "bcd", "efghijklmnop") == seen
        assert show("axyz", "", "efghijklmnop") == seen
    async with table_of("a", "bcd", "efghijklmnop") as (_, show):
        # At its top the list stays there: what needs a person is not scrolled away.
        assert show(down=2) == ("0a1bcd2efg", "c")
        assert show("yza", "bcd", "efghijklmnop") == ("0yza1bcd2e", "c")
        # Only if they would push the cursor's row out of sight, that stays where it is.
        assert show("uvwxyza", "bcd", "efghijklmnop") == ("xyza1bcd2e", "c")


async def test_the_cursor_stays_on_a_folded_group_and_goes_into_none() -> None:
    async with table_of("a", "bcd", "efg") as (table, show):
        show(down=6)
        table.toggle_fold()
        assert show() == ("0a1bcd2", "")
        assert show("ax", "bcd", "efg") == ("0ax1bcd2", "")
        show()
        table.move(-1)
        # What ends goes into the folded group; the cursor does not.
        assert show("ax", "bc", "defg") == ("0ax1bc2", "c")


async def test_a_hundred_thousand_keys_are_no_more_work_than_ten() -> None:
    app = Bench(FakeServices(), Settings(glyphs="best"), depth="truecolor", environ={})
    async with app.run_test(size=(60, 15)) as pilot:
        painted: list[int] = []
        table = app.table
        table._line = lambda key, here: painted.append(key) or (Span(str(key)),)  # type: ignore[func-returns-value]
        keys, sections = sections_of([100_000])
        table.set_rows(keys, sections)
        await pilot.pause()
        table.last()
        table.first()
        table.go_to(100 + 50_000)
        await pilot.pause()
        assert table.position == 50_001
        assert len(set(painted)) < 100
