"""Places added to the settings: checked as a whole before anything is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from traindeck.backends.errors import UsageError
from traindeck.console.settings import BackendSettings, set_value

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")


def add_backend(ws: Workspace, kind: str, name: str, options: Mapping[str, Any]) -> BackendSettings:
    """Write a new backend into the settings file. Asks nobody.

    Args:
        kind: As in the registry.
        name: What to call the place.
        options: Of its kind; those that are None are left out.

    Raises:
        UsageError: The name is taken or none, there is no such kind, it refuses an option, or its
            runs would lie where another's do.
    """
    from traindeck.backends.registry import create

    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r}: a backend's name has letters, digits, - _ and dots, at most 32."
        )
    if name in ws.settings.backends and name != "local":
        raise UsageError(f"There is a backend {name} already.", f"Edit {ws.places.settings}.")
    given = {key: value for key, value in options.items() if value is not None}
    create(name, kind, given)
    new = BackendSettings(name=name, kind=kind, options=given)
    ws.settings.refuse_shared_root(new)
    settings = set_value(ws.places.settings, f"backends.{name}.kind", kind, ws.environ)
    for key, value in given.items():
        settings = set_value(ws.places.settings, f"backends.{name}.{key}", value, ws.environ)
    ws.reload_settings()
    return settings.backends[name]
