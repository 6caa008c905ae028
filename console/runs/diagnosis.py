"""What `doctor` says: the things that most often go wrong, checked one by one. Changes nothing."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from traindeck.backends.data import dataclass
from traindeck.backends.errors import TraindeckError
from traindeck.console.runs.placing import probe
from traindeck.console.runs.workspace import Workspace

TRAINING = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
LOW_SPACE = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding. `ok` None: worth knowing, neither right nor wrong."""

    topic: str = ""
    ok: bool | None = None
    text: str = ""
    fix: str = ""


async def diagnose(
    ws: Workspace, refuse: Callable[[Workspace], None] = lambda ws: None
) -> AsyncIterator[Check]:
    """Every check, as soon as it is known.

    Args:
        refuse: Raises for settings that are right here and wrong for the screen.
    """
    yield _python()
    yield _compiled()
    yield _sqlite()
    for check in _folders(ws):
        yield check
    yield _settings(ws, refuse)
    yield _index(ws)
    async for check in _backends(ws):
        yield check
    yield _training()
    yield _gpus()


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(topic="python", ok=True, text=f"{version} at {sys.executable}")


def _compiled() -> Check:
    """Without .pyc files the screen takes three times as long to start."""
    spec = importlib.util.find_spec("textual")
    if spec is None or spec.origin is None:
        return Check(topic="textual", ok=False, text="not installed", fix="pip install 'traindeck'")
    cached = importlib.util.cache_from_source(str(Path(spec.origin).with_name("app.py")))
    if os.path.exists(cached):
        return Check(topic="start-up", ok=True, text="the libraries are byte-compiled")
    folder = Path(spec.origin).parent
    return Check(
        topic="start-up",
        ok=False,
        text="the libraries are not byte-compiled, so the screen starts slowly",
        fix=f"{sys.executable} -m compileall -q {folder}",
    )


def _sqlite() -> Check:
    return Check(topic="sqlite", ok=True, text=sqlite3.sqlite_version)


def _folders(ws: Workspace) -> list[Check]:
    checks = []
    for topic, path in (("config", ws.places.config), ("state", ws.places.state)):
        above = path
        while not above.exists() and above != above.parent:
            above = above.parent
        ok = os.access(above, os.W_OK)
        free = os.statvfs(above)
        space = free.f_bavail * free.f_frsize
        text = f"{path}" + ("" if path.exists() else ", not made yet")
        if not ok:
            checks.append(
                Check(
                    topic=topic, ok=False, text=f"{path} cannot be written", fix="Check its owner."
                )
            )
        elif space < LOW_SPACE:
            checks.append(
                Check(
                    topic=topic,
                    ok=False,
                    text=f"{text}, {space / 1e6:.0f} MB free",
                    fix="Free space.",
                )
            )
        else:
            checks.append(Check(topic=topic, ok=True, text=text))
    if ws.places.note:
        checks.append(Check(topic="index", text=ws.places.note))
    return checks


def _settings(ws: Workspace, refuse: Callable[[Workspace], None]) -> Check:
    try:
        settings = ws.settings
        refuse(ws)
    except TraindeckError as error:
        return Check(topic="settings", ok=False, text=error.what, fix=error.fix)
    where = str(ws.places.settings)
    text = where if ws.places.settings.exists() else f"{where}, not written: defaults hold"
    return Check(topic="settings", ok=True, text=f"{text}; {len(settings.backends)} backend(s)")


def _index(ws: Workspace) -> Check:
    try:
        count = sum(ws.index.counts().values())
    except TraindeckError as error:
        return Check(topic="index", ok=False, text=error.what, fix=error.fix)
    return Check(topic="index", ok=True, text=f"{ws.places.index}, {count:,} runs")


async def _backends(ws: Workspace) -> AsyncIterator[Check]:
    try:
        names = list(ws.settings.backends)
    except TraindeckError:
        return
    for name in names:
        try:
            health = await probe(ws.backend(name), name)
        except TraindeckError as error:
            yield Check(topic=name, ok=False, text=error.what, fix=error.fix)
            continue
        for passed, text in health.checks:
            yield Check(topic=name, ok=passed, text=text)


def _training() -> Check:
    missing = [name for name in TRAINING if importlib.util.find_spec(name) is None]
    if not missing:
        return Check(topic="training", ok=True, text="torch, transformers, trl and peft are here")
    return Check(
        topic="training",
        text=f"not installed in this environment: {', '.join(missing)}",
        fix=f"For recipes: pip install {with_training()}",
    )


def with_training() -> str:
    """What to give pip so that recipes have what they need: the folder that this was installed
    from, for no registry need have it; a checkout's own `.` where that is gone or not known."""
    import json
    import shlex
    from importlib.metadata import Distribution, PackageNotFoundError
    from urllib.parse import unquote, urlsplit

    try:
        said = Distribution.from_name("traindeck").read_text("direct_url.json")
        url = urlsplit(json.loads(said or "{}").get("url", ""))
    except (PackageNotFoundError, ValueError, AttributeError):
        return "'.[train]' in its checkout"
    folder = unquote(url.path) if url.scheme == "file" else ""
    return (
        shlex.quote(f"{folder}[train]") if os.path.isdir(folder) else "'.[train]' in its checkout"
    )


def _gpus() -> Check:
    from traindeck.backends.devices.nvml import count

    devices = count()
    if devices.total:
        return Check(topic="gpus", ok=True, text=f"{devices.total}, driver {devices.driver}")
    return Check(topic="gpus", text=devices.note or "none")
