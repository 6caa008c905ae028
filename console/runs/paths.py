"""The rest of a path that is being typed, found as a shell finds it.

A folder may have a hundred thousand names, or lie on a mount that never answers. So each look has a
thread of its own that ends with the process, few of them go on at once, and nobody waits for long.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traindeck.console.runs.drafting import Draft

PATIENCE = 2.0
"""Seconds after which a look is no longer waited for."""

AT_ONCE = 4
"""Looks that go on at once: so many may hang."""

_turns = threading.BoundedSemaphore(AT_ONCE)


async def rest_in(draft: Draft, key: str, text: str) -> str:
    """What completes a path that is typed into a field of a draft; "" if nothing does."""
    folders = key == "cwd"
    base = "" if folders else draft.text("cwd").strip()
    if not text or not _turns.acquire(blocking=False):
        return ""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def heard(rest: str) -> None:
        if not answer.done():
            answer.set_result(rest)

    def look() -> None:
        rest = ""
        try:
            with suppress(OSError, ValueError):  # no such folder, or none that could be
                rest = rest_of(text, base, folders=folders)
        finally:
            _turns.release()
        with suppress(RuntimeError):  # the program has ended meanwhile
            loop.call_soon_threadsafe(heard, rest)

    threading.Thread(target=look, name="path", daemon=True).start()
    with suppress(TimeoutError):
        return await asyncio.wait_for(answer, PATIENCE)
    return ""


def rest_of(text: str, base: str = "", *, folders: bool = False) -> str:
    """What all names that begin as the last part of a path have in common beyond it, with a slash
    behind a folder that alone is meant.

    Args:
        base: Where a relative path begins, if that is not where we were started.
        folders: Only folders are meant.

    Raises:
        OSError: The folder cannot be read.
    """
    head, slash, typed = text.rpartition("/")
    if text == "~" or typed == "..":
        return "/"
    where = os.path.join(os.path.expanduser(base), os.path.expanduser(head + slash))
    common, count, alone = "", 0, False
    with os.scandir(where or ".") as entries:
        for entry in entries:
            name = entry.name
            if not name.startswith(typed) or (not typed and name[0] == "."):
                continue
            if folders and not entry.is_dir():
                continue
            count += 1
            if count == 1:
                common, alone = name, entry.is_dir()
                continue
            common = os.path.commonprefix((common, name))  # noqa: RUF071 - by characters
            if common == typed:
                return ""  # the rest of the folder changes nothing any more
    return common[len(typed) :] + ("/" if count == 1 and alone else "")
