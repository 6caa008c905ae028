"""What is left of a screen that failed: one sentence for the person, a full report for the bug.

The report holds the traceback and the versions, no values of variables: those may be secrets.
"""

from __future__ import annotations

import os
import platform
import time
import traceback
from pathlib import Path

from traindeck.backends.errors import TraindeckError
from traindeck.console.present.cells import clean


class ScreenFailed(TraindeckError):
    """A bug of ours ended the application; runs go on."""


def screen_failed(error: BaseException, screen: str, folder: Path) -> ScreenFailed:
    """Write the report down, 0600, and say where.

    Args:
        screen: What was on screen, by name.
        folder: Where the report goes.
    """
    words = clean(" ".join(str(error).split()))[:120]
    what = f"{screen} failed: {type(error).__name__}{': ' if words else ''}{words}."
    path = folder / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_report(error, screen))
    except OSError as refused:
        return ScreenFailed(
            what, f"No report could be written ({refused}); TRAINDECK_DEBUG=1 shows it all."
        )
    return ScreenFailed(what, f"This is a bug; runs go on. The full report is {path}.")


def _report(error: BaseException, screen: str) -> str:
    from importlib.metadata import version

    parts = [f"{name} {version(name)}" for name in ("traindeck", "textual", "rich")]
    where = f"{', '.join(parts)}, Python {platform.python_version()}, {platform.platform()}"
    return f"{screen}\n{where}\n\n{''.join(traceback.format_exception(error))}"
