"""A recipe of one's own, written as a file that builds on another one. Never overwrites a file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from traindeck.backends.errors import UsageError
from traindeck.console.recipes.resolving import Resolved

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def save_recipe(
    folder: Path, name: str, base: str, resolved: Resolved, *, preset: str | None = None
) -> Path:
    """Write `NAME.yaml` into the user's recipes: the base, the preset, and what was set over them.

    Args:
        base: The recipe it builds on, by name or path.
        resolved: The values; those that a person or a run chose are written.

    Raises:
        UsageError: The name cannot be, or there is such a file already.
        DocumentError: It cannot be written.
    """
    import yaml

    from traindeck.console import documents

    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a recipe.", "Use letters, digits, `.`, `_` and `-`."
        )
    path = folder / f"{name}.yaml"
    if os.path.lexists(path):
        raise UsageError(f"There is a recipe {name} already: {path}.", "Choose another name.")
    chosen = {
        key: list(setting.value) if isinstance(setting.value, tuple) else setting.value
        for key, setting in resolved.settings.items()
        if setting.source == "--set" or setting.source.startswith("run ")
    }
    content: dict[str, object] = {"recipe": base}
    if preset:
        content["preset"] = preset
    if chosen:
        content["set"] = chosen
    documents.write(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path
