"""What tests of the Launch screen share: opening it, typing, waiting for the plan."""

from __future__ import annotations

from typing import Any

from screen_harness import settle

from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.screens.launch import LaunchScreen

SIZES = {"80x24": (80, 24), "120x40": (120, 40)}


def launch_screen(app: TraindeckApp) -> LaunchScreen:
    """The form, whatever lies over it."""
    return next(screen for screen in app.screen_stack if isinstance(screen, LaunchScreen))


async def at_rest(app: TraindeckApp, pilot: Any) -> None:
    """Until the plan is that of what the form says, or it says what is wrong."""
    screen = launch_screen(app)
    await settle(app, pilot, lambda: screen.ready and not screen.plan_state.waiting)


async def open_form(app: TraindeckApp, pilot: Any, like: Any = None) -> LaunchScreen:
    """Open the form and wait until it is whole."""
    app.open_launch(like)
    await pilot.pause()
    await at_rest(app, pilot)
    return launch_screen(app)


async def fill(pilot: Any, text: str) -> None:
    """Type a text, key by key."""
    names = {" ": "space", "-": "minus", "=": "equals_sign", ".": "full_stop", "/": "slash",
             "'": "apostrophe", "%": "percent_sign", ":": "colon",
             "?": "question_mark", "_": "underscore", '"': "quotation_mark"}  # fmt: skip
    await pilot.press(*(names.get(char, char) for char in text))
