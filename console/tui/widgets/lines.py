"""A widget that shows what a view function returns: lines of spans, one a row, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual.strip import Strip
from textual.widget import Widget

from traindeck.console.present.cells import Line

if TYPE_CHECKING:
    from traindeck.console.tui.app import TraindeckApp


class Lines(Widget):
    """Shows lines on one ground: what `view` gives for its cells and rows, what a subclass gives by
    `content`, or what `show` sets.

    `update` repaints only the rows that changed, so that a screen whose numbers stand still writes
    nothing to the terminal.
    """

    DEFAULT_CSS = """
    Lines { width: 1fr; height: 1; }
    """

    ground = "bg"

    def __init__(
        self,
        view: Callable[[int, int], Sequence[Line]] | None = None,
        *,
        id: str | None = None,
        ground: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._shows = view
        if ground is not None:
            self.ground = ground
        self._given: Sequence[Line] = ()
        self._painted: list[Line] | None = None

    @property
    def deck(self) -> TraindeckApp:
        """The application, with its own type."""
        from traindeck.console.tui.app import TraindeckApp

        assert isinstance(self.app, TraindeckApp)
        return self.app

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines from now on."""
        self._given = lines
        self.update()

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        """The lines for a widget of this size."""
        return self._shows(cells, rows) if self._shows is not None else self._given

    def update(self) -> None:
        """Look at the content again and repaint what is different."""
        if not self.is_mounted or self.size.height == 0:
            return
        before = self._painted
        self._painted = list(self.content(self.size.width, self.size.height))
        if before is None or len(before) != len(self._painted):
            self.refresh()
            return
        from textual.geometry import Region

        for y, (old, new) in enumerate(zip(before, self._painted, strict=True)):
            if old != new:
                self.refresh(Region(0, y, self.size.width, 1))

    def repaint(self) -> None:
        """Paint everything anew: the theme or the size is another one."""
        self._painted = None
        self.refresh()

    def on_resize(self) -> None:
        self.repaint()

    def render_line(self, y: int) -> Strip:
        if self._painted is None:
            self._painted = list(self.content(self.size.width, self.size.height))
        painter = self.deck.painter
        if y >= len(self._painted):
            return painter.blank(self.size.width, self.ground)
        return painter.strip(self._painted[y], self.size.width, self.ground)
