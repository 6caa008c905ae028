"""The whole plan over the form: every file, every variable. From here it can be launched too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events

from traindeck.console.present.cells import Line
from traindeck.console.present.launch_view import obstacle, plan_pages

from .overlay import Overlay

if TYPE_CHECKING:
    from .launch import LaunchScreen


class PlanScreen(Overlay[None]):
    """Shows the plan of the form below, which goes on being made while it is open."""

    wanted_cells = 150

    def __init__(self, form: LaunchScreen) -> None:
        super().__init__()
        self._form = form
        self._top = 0
        self._length = 0

    def lines(self, cells: int) -> list[Line]:
        state = self._form.plan_state
        if state.plan is not None and state.current:
            self._form.sending.seen(state)
        every = plan_pages(state, cells, self.deck.painter.glyphs)
        room = self.inner_rows
        self._length = len(every)
        self._top = max(0, min(self._top, len(every) - room))
        if len(every) <= room:
            return every
        # The last line, what ctrl+g does, stays in sight.
        return [*every[self._top : self._top + room - 2], (), every[-1]]

    def plan_changed(self) -> None:
        """The form has another plan."""
        self.changed()

    def footer_keys(self) -> list[tuple[str, str]]:
        launch = [] if obstacle(self._form.plan_state) else [("ctrl+g", "launch")]
        return [("↓ ↑", "scroll"), *launch, ("esc", "back to the form")]

    def take_key(self, event: events.Key) -> None:
        steps = {"down": 1, "j": 1, "up": -1, "k": -1, "pagedown": 10, "pageup": -10,
                 "home": -self._length, "g": -self._length, "end": self._length,
                 "G": self._length, "space": 10}  # fmt: skip
        if event.key in ("escape", "ctrl+c", "v", "q", "ctrl+o"):
            self.dismiss(None)
        elif event.key == "ctrl+g":
            state = self._form.plan_state
            if state.waiting:  # nothing is launched from here that nobody has read
                self.deck.notice("not launched: the plan is being made", "warn")
            elif why := obstacle(state):
                self.deck.notice(f"not launched: {why}", "warn")
            else:
                self.dismiss(None)
                self._form.action_launch()
        elif event.key in steps:
            self._top += steps[event.key]
            self.changed()
