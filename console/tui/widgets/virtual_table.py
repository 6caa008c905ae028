"""A table of any length: it knows the order of its rows and paints the visible ones.

Rows are named by keys (small numbers); what stands in a row comes from a callback. Nothing here
grows with the number of rows but the vector of keys. Rows can stand in groups that fold.

One rule for an order that changes by itself: what is on screen stays where it is. The rows on
screen keep their places as far as most of them can, and a list that stands at its top goes on
standing there. The cursor goes with its row as long as that is on screen; when it leaves the
screen, or its group is folded, the cursor keeps its place in the list and lets the row go.

Marks belong to keys, listed or not. Those of keys that are not listed, or folded away, wait
(`waiting`) and touch nothing: `marked` is what scrolling can show, and only that is acted on and
taken away.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from traindeck.backends.data import dataclass
from traindeck.console.present.cells import Line, Span

if TYPE_CHECKING:
    from traindeck.console.tui.app import TraindeckApp

Name = int | str | None
"""What a row is known by: its key, its group's if it is a head; None where there is no row."""


@dataclass(frozen=True, slots=True)
class Section:
    """A group of rows. `title` "" has no head line."""

    key: str
    title: str
    count: int


def _most_moved(before: Mapping[Name, int], now: Mapping[Name, int]) -> int:
    """By how many rows most of what stood on screen has moved; as few as possible."""
    moves = Counter(now[name] - row for name, row in before.items() if name in now)
    return max(moves, key=lambda move: (moves[move], -abs(move)), default=0)


class VirtualTable(ScrollView, can_focus=True, inherit_bindings=False):
    """Shows rows by key.

    Args:
        line: Called for a visible row: (key, is the cursor here) -> its line without the two cells
            for cursor and mark, or None while it is not known.
        head: Called for a group's head: (section, is it folded, cells) -> its line.
        note: Called for what is said in place of rows while there are none.

    Attributes:
        folded: The groups that are.
        gap: Blank rows between two groups.
        folds: Whether they are just now; if not, all are open, from the next `set_rows` on.
        marked: The keys that are marked and can be seen.
        waiting: The other keys that are marked.
    """

    DEFAULT_CSS = """
    VirtualTable {
        width: 1fr; height: 1fr; overflow: hidden hidden;
        scrollbar-size: 0 0; padding: 0; border: none;
    }
    """

    keys_in_order = True
    """It edits no text: the application may act on its keys at once."""

    @dataclass
    class Moved(Message):
        """The cursor is on another row. `key` is None on a folded head or in an empty table."""

        key: int | None

    @dataclass
    class Opened(Message):
        """Enter or a second click on a row."""

        key: int

    @dataclass
    class Scrolled(Message):
        """Other rows are visible."""

    def __init__(
        self,
        line: Callable[[int, bool], Line | None],
        head: Callable[[Section, bool, int], Line],
        *,
        note: Callable[[], Sequence[Line]] = tuple,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._line = line
        self._head = head
        self._note = note
        self._keys: array[int] = array("q")
        self._sections: tuple[Section, ...] = ()
        self._starts: list[int] = []  # row of each section's head
        self._firsts: list[int] = []  # index of each section's first key
        self._rows = 0
        self._cursor = 0  # a row
        self.folded: set[str] = set()
        self.gap = 0
        self.folds = True
        self.marked: set[int] = set()
        self.waiting: set[int] = set()
        self._range_from: int | None = None
        self._painted: dict[int, Line | None] = {}
        self._strips: dict[int, tuple[object, Strip]] = {}

    # ------------------------------------------------------------------------------------- content

    @property
    def deck(self) -> TraindeckApp:
        """The application, with its own type."""
        from traindeck.console.tui.app import TraindeckApp

        assert isinstance(self.app, TraindeckApp)
        return self.app

    @property
    def keys(self) -> array[int]:
        """All keys, in order, folded ones too."""
        return self._keys

    @property
    def key(self) -> int | None:
        """The key under the cursor."""
        return self._key_at(self._cursor)

    @property
    def position(self) -> int:
        """How many keys stand before the cursor's, plus one; 0 if the cursor is on none."""
        section, offset = self._place(self._cursor)
        return self._firsts[section] + offset + 1 if section >= 0 and offset >= 0 else 0

    def set_rows(
        self,
        keys: array[int],
        sections: Sequence[Section],
        at: int | None = None,
        *,
        anew: bool = False,
    ) -> None:
        """Show these keys in this order.

        Args:
            sections: Their groups; counts add up to the number of keys.
            at: Key to put the cursor on.
            anew: It is another list, not the same one a moment later: shown from its top as far as
                the cursor allows, with the cursor on its first row if its key is not in it.
        """
        cursor, top, height = self._cursor, self.scroll_offset.y, self.size.height
        here = self._name_at(cursor) if at is None else at
        stood = {self._name_at(row): row for row in range(top, min(self._rows, top + height))}
        self._keys = keys
        self._sections = tuple(section for section in sections if section.count)
        if not self._sections and len(keys):
            self._sections = (Section("", "", len(keys)),)
        self._measure()
        self._match_marks()
        self._painted.clear()
        if anew or at is not None or not height:
            found = self._row_of(here) if isinstance(here, int) else self._rows_of([here]).get(here)
            lost = 0 if anew else cursor
            self._cursor = self._nearest_stop(lost if found is None else found)
            if anew and height:
                self._scroll(0)
        else:
            self._hold(stood, here, cursor - top)
        self._reveal(self._cursor)
        self.refresh()
        self._tell()

    def _hold(self, stood: Mapping[Name, int], here: Name, place: int) -> None:
        """Keep what stood on screen where it is, by the rule above. `here`, `place`: what the
        cursor was on, and its row on screen."""
        rows = self._rows_of({*stood, here})
        top, height, row = self.scroll_offset.y, self.size.height, rows.get(here)
        if top > 0 or row is None or row >= height:
            self._scroll(top + _most_moved(stood, rows))
        top = self.scroll_offset.y
        in_sight = row is not None and top <= row < top + height
        self._cursor = row if row is not None and in_sight else self._place_at(place + top)

    def _match_marks(self) -> None:
        """Marks go to where they can be seen or wait."""
        if self.marked or self.waiting:
            marks, shown = self.marked | self.waiting, self._shown_keys()
            self.marked, self.waiting = marks & shown, marks - shown

    def _shown_keys(self) -> set[int]:
        """The keys that are not folded away."""
        shown: set[int] = set()
        for section, first in zip(self._sections, self._firsts, strict=True):
            if not self._is_folded(section):
                shown.update(self._keys[first : first + section.count])
        return shown

    def _measure(self) -> None:
        self._starts, self._firsts = [], []
        row = first = 0
        for section in self._sections:
            if row:
                row += self.gap
            self._starts.append(row)
            self._firsts.append(first)
            row += (1 if section.title else 0) + (0 if self._is_folded(section) else section.count)
            first += section.count
        self._rows = row
        self.virtual_size = Size(max(1, self.size.width), row)

    def _is_folded(self, section: Section) -> bool:
        return self.folds and bool(section.title) and section.key in self.folded

    def _place(self, row: int) -> tuple[int, int]:
        """(section, offset in it) of a row; the offset of a head is -1; (-1, -1) beyond the end, or
        for a blank row between two."""
        if not 0 <= row < self._rows:
            return -1, -1
        number = bisect_right(self._starts, row) - 1
        section = self._sections[number]
        offset = row - self._starts[number] - (1 if section.title else 0)
        if offset >= (0 if self._is_folded(section) else section.count):
            return -1, -1
        return number, offset

    def _key_at(self, row: int) -> int | None:
        section, offset = self._place(row)
        return self._keys[self._firsts[section] + offset] if offset >= 0 else None

    def _row_of(self, key: int) -> int | None:
        """The row of a key; its group's head if that is folded."""
        try:
            index = self._keys.index(key)
        except ValueError:
            return None
        row = self._row_at(index)
        return self._starts[bisect_right(self._firsts, index) - 1] if row is None else row

    def _row_at(self, index: int) -> int | None:
        """The row of the key at an index; None if it is folded."""
        number = bisect_right(self._firsts, index) - 1
        section = self._sections[number]
        if self._is_folded(section):
            return None
        return self._starts[number] + (1 if section.title else 0) + index - self._firsts[number]

    def _name_at(self, row: int) -> Name:
        section, offset = self._place(row)
        return self._sections[section].key if section >= 0 and offset < 0 else self._key_at(row)

    def _rows_of(self, names: Collection[Name]) -> dict[Name, int]:
        """The rows of those that can be seen, in one pass."""
        rows: dict[Name, int] = {
            section.key: start
            for section, start in zip(self._sections, self._starts, strict=True)
            if section.title and section.key in names
        }
        left = {name for name in names if isinstance(name, int)}
        for index, key in enumerate(self._keys):
            if not left:
                break
            if key in left:
                left.discard(key)
                row = self._row_at(index)
                if row is not None:
                    rows[key] = row
        return rows

    def group_of(self, key: int) -> Section | None:
        """The group that a key stands in; None if it is not listed."""
        try:
            index = self._keys.index(key)
        except ValueError:
            return None
        return self._sections[bisect_right(self._firsts, index) - 1]

    def rows_before(self, key: int) -> int | None:
        """How many rows stand above a key's; None if it is not there."""
        return self._row_of(key)

    def _is_stop(self, row: int) -> bool:
        """Whether the cursor may stand on a row: any but the head of an open group."""
        section, offset = self._place(row)
        return section >= 0 and (offset >= 0 or self._is_folded(self._sections[section]))

    def _place_at(self, row: int) -> int:
        """Where the cursor stands if it is to stay on a row whose key has left: from the head of
        the next group it goes back to its own."""
        is_next = self._key_at(row) is None and self._key_at(row - 1) is not None
        return row - 1 if is_next else self._nearest_stop(row)

    def _nearest_stop(self, row: int) -> int:
        row = min(max(0, row), max(0, self._rows - 1))
        most = (1 + self.gap) * len(self._sections) + 1
        for step in range(most):
            if self._is_stop(row + step):
                return row + step
        for step in range(most):
            if self._is_stop(row - step):
                return row - step
        return 0

    def key_after(self) -> int | None:
        """The key that the cursor goes on to when what is chosen leaves its group: the next one of
        the group, else the one before; None if there is no other."""
        section, offset = self._place(self._cursor)
        if section < 0 or offset < 0:
            return None
        first = self._firsts[section]
        keys = self._keys[first : first + self._sections[section].count]
        leaving = self.marked or {keys[offset]}
        others = [*keys[offset + 1 :], *reversed(keys[:offset])]
        return next((key for key in others if key not in leaving), None)

    def visible_keys(self, pages: int = 0) -> list[int]:
        """The keys on screen, and those of `pages` screens above and below."""
        top = self.scroll_offset.y
        height = max(1, self.size.height)
        rows = range(max(0, top - pages * height), min(self._rows, top + (pages + 1) * height))
        return [key for row in rows if (key := self._key_at(row)) is not None]

    # ---------------------------------------------------------------------------------------- moves

    def move(self, step: int) -> None:
        """Move the cursor by rows, over open heads."""
        row = self._cursor + step
        while 0 <= row < self._rows and not self._is_stop(row):
            row += 1 if step > 0 else -1
        if 0 <= row < self._rows:
            self._go(row)
        elif step < 0:
            self._scroll(0)

    def page(self, pages: float) -> None:
        """Move the cursor by screens."""
        step = int(pages * max(1, self.size.height - 1)) or (1 if pages > 0 else -1)
        self._go(self._nearest_stop(self._cursor + step))

    def first(self) -> None:
        """To the first row."""
        self._go(self._nearest_stop(0))
        self._scroll(0)

    def last(self) -> None:
        """To the last row."""
        self._go(self._nearest_stop(self._rows - 1))

    def go_to(self, key: int) -> bool:
        """To a key; whether it is there."""
        row = self._row_of(key)
        if row is not None:
            self._go(row)
        return row is not None

    def _go(self, row: int) -> None:
        if self._rows == 0:
            return
        before, self._cursor = self._cursor, row
        self._reveal(row)
        if before != row:
            self.refresh_row(before)
            self.refresh_row(row)
            if self._range_from is not None:
                self._mark_between(before, row)
            self._tell()

    def _top_for(self, row: int) -> int:
        """The lowest scroll position that shows a row; a group's head comes with its first row."""
        return row - 1 if row > 0 and not self._is_stop(row - 1) else row

    def _reveal(self, row: int) -> None:
        """Scroll just so far that a row is visible."""
        top, height = self.scroll_offset.y, self.size.height
        if height == 0:
            return  # not laid out yet; on_resize comes
        if self._top_for(row) < top:
            self._scroll(self._top_for(row))
        elif row >= top + height:
            self._scroll(row - height + 1)

    def _scroll(self, top: int) -> None:
        limit = max(0, self._rows - max(1, self.size.height))
        top = min(max(0, top), limit)
        if top != self.scroll_offset.y:
            self.scroll_to(y=top, animate=False, force=True)
            self._painted.clear()
            self.post_message(self.Scrolled())

    def _tell(self) -> None:
        self.post_message(self.Moved(self.key))

    # ---------------------------------------------------------------------------------- fold, mark

    def toggle_fold(self) -> None:
        """Fold the cursor's group, or open it."""
        section, _ = self._place(self._cursor)
        if section < 0 or not self._sections[section].title:
            return
        key = self._sections[section].key
        self.folded ^= {key}
        self._measure()
        self._match_marks()
        row = self._starts[section]
        self._cursor = row if key in self.folded else self._nearest_stop(row)
        self._painted.clear()
        self._scroll(min(self.scroll_offset.y, row))
        self.refresh()
        self._tell()

    def toggle_mark(self) -> None:
        """Mark the cursor's row or take its mark away, and go on to the next."""
        key = self.key
        if key is not None:
            self.marked ^= {key}
            self.refresh_row(self._cursor)
            self.move(1)
            self._tell()

    def toggle_range(self) -> None:
        """Begin to mark what the cursor passes, or end it."""
        if self._range_from is not None:
            self._range_from = None
        elif self.key is not None:
            self._range_from = self._cursor
            self.marked.add(self.key)
            self.refresh_row(self._cursor)
        self._tell()

    @property
    def in_range(self) -> bool:
        """Whether moving marks."""
        return self._range_from is not None

    def _mark_between(self, one: int, other: int) -> None:
        low, high = sorted((one, other))
        for row in range(low, high + 1):
            key = self._key_at(row)
            if key is not None:
                self.marked.add(key)
                self.refresh_row(row)

    def mark_all(self) -> None:
        """Mark every key that is not folded away, or none if all are marked."""
        shown = self._shown_keys()
        self.marked = set() if self.marked == shown else shown
        self.waiting -= shown
        self.refresh()
        self._tell()

    def clear_marks(self, *, waiting: bool = False) -> bool:
        """Take the marks of the list away, or those that wait; whether there were any."""
        marks = self.waiting if waiting else self.marked
        had = bool(marks) or self.in_range
        marks.clear()
        self._range_from = None
        if had:
            self.refresh()
            self._tell()
        return had

    # --------------------------------------------------------------------------------------- paint

    def refresh_row(self, row: int) -> None:
        """Paint one row anew, if it is visible."""
        y = row - self.scroll_offset.y
        if 0 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def refresh_changed(self) -> None:
        """Paint the visible rows whose line is another one than on screen."""
        top = self.scroll_offset.y
        for row in range(top, min(self._rows, top + self.size.height)):
            if row in self._painted and self._row_line(row) != self._painted[row]:
                self.refresh_row(row)

    def repaint(self) -> None:
        """Paint everything anew: the theme or the columns are others."""
        self._painted.clear()
        self.refresh()

    def _row_line(self, row: int) -> Line | None:
        section, offset = self._place(row)
        if section < 0:
            return None
        if offset < 0:
            found = self._sections[section]
            return self._head(found, self._is_folded(found), self.size.width)
        return self._line(self._keys[self._firsts[section] + offset], row == self._cursor)

    def render_line(self, y: int) -> Strip:
        row = y + self.scroll_offset.y
        if self._rows == 0:
            said = self._note()
            return self.deck.painter.strip(said[y] if y < len(said) else (), self.size.width)
        line = self._painted[row] = self._row_line(row)
        section, offset = self._place(row)
        if section < 0:
            return self.deck.painter.blank(self.size.width)
        here = row == self._cursor and self._is_stop(row)
        if offset < 0:
            return self._head_strip(line or (), here)
        key = self._keys[self._firsts[section] + offset]
        # A row that only moved on screen is the same strip, which knows its escape sequences.
        look = (line, here, key in self.marked, self.has_focus, self.size.width, self.deck.painter)
        kept = self._strips.get(key)
        if kept is not None and kept[0] == look:
            return kept[1]
        strip = self._row_strip(line, here, key in self.marked)
        if len(self._strips) > 500:
            self._strips.clear()
        self._strips[key] = (look, strip)
        return strip

    def _row_strip(self, line: Line | None, here: bool, marked: bool) -> Strip:
        painter = self.deck.painter
        lead = (
            Span(self._bar() if here else " ", "accent"),
            Span(painter.glyphs.mark if marked else " ", "accent bold"),
        )
        rest = line if line is not None else (Span(painter.glyphs.dot, "faint"),)
        return painter.strip((*lead, *rest), self.size.width, self._ground(here))

    def _head_strip(self, line: Line, here: bool) -> Strip:
        if here and line:
            # A folded head can be the cursor's row; its first cell is the bar's.
            line = (Span(self._bar(), "accent"), Span(line[0].text[1:], line[0].style), *line[1:])
        return self.deck.painter.strip(line, self.size.width, self._ground(here))

    def _bar(self) -> str:
        glyphs = self.deck.painter.glyphs
        return glyphs.cursor if self.has_focus else glyphs.cursor_dim

    def _ground(self, here: bool) -> str:
        return "bg" if not here else "select" if self.has_focus else "select_dim"

    def on_resize(self) -> None:
        self._measure()
        self._painted.clear()
        self._scroll(self.scroll_offset.y)
        self._reveal(self._cursor)
        self.refresh()
        self.post_message(self.Scrolled())

    # --------------------------------------------------------------------------------------- mouse

    def on_click(self, event: events.Click) -> None:
        row = event.y + self.scroll_offset.y
        section, offset = self._place(row)
        if section < 0:
            return
        if offset < 0:
            self._cursor = row
            self.toggle_fold()
            return
        if row == self._cursor and event.chain > 1:
            key = self._key_at(row)
            if key is not None:
                self.post_message(self.Opened(key))
            return
        self._go(row)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._wheel(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._wheel(-3)

    def _wheel(self, rows: int) -> None:
        """The wheel moves the rows; the cursor is taken along only at the edge."""
        self._scroll(self.scroll_offset.y + rows)
        top = self.scroll_offset.y
        bottom = top + max(1, self.size.height) - 1
        if not top <= self._cursor <= bottom:
            self._go(self._nearest_stop(top + 1 if rows > 0 else max(0, bottom - 1)))

    def known(self, keys: Iterable[int]) -> None:
        """Records of these keys have come in: paint their rows."""
        wanted = set(keys)
        top = self.scroll_offset.y
        for row in range(top, min(self._rows, top + self.size.height)):
            if self._key_at(row) in wanted and (
                row not in self._painted or self._row_line(row) != self._painted[row]
            ):
                self.refresh_row(row)
