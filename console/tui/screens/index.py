"""The screens by name, imported only when they are opened. A new screen adds its line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from traindeck.backends.data import dataclass


@dataclass(frozen=True, slots=True)
class ScreenEntry:
    """Where a screen is, and how the palette calls it (`words` "" leaves it out there; `also`:
    other words for it)."""

    module: str
    name: str
    words: str = ""
    also: str = ""

    def load(self) -> Any:
        """The screen's class."""
        return getattr(import_module(f"traindeck.console.tui.screens.{self.module}"), self.name)


SCREENS: dict[str, ScreenEntry] = {
    "run": ScreenEntry("run", "RunScreen"),
    "launch": ScreenEntry("launch", "LaunchScreen", "Launch", "new start run"),
    "fleet": ScreenEntry("fleet", "FleetScreen", "Fleet", "gpus devices top nvidia cuda"),
    "settings": ScreenEntry(
        "settings", "SettingsScreen", "Settings", "preferences options backends"
    ),
}
"""Name -> screen. `run` takes (run, tab), `launch` may take (like); the others take nothing."""
