"""Places: added to the settings and taken out of them, checked, and found on this machine. What is
written is checked as a whole before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from traindeck.backends.data import dataclass
from traindeck.backends.errors import TraindeckError, UsageError
from traindeck.backends.states import Reach
from traindeck.console.runs.offering import note as note_offers
from traindeck.console.settings import BackendSettings, set_value

if TYPE_CHECKING:
    from traindeck.backends.base import Backend, Health, LinkState
    from traindeck.console.runs.workspace import Workspace

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")

MOST_FOUND = 200
"""Machines that were found and not added yet, shown at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A machine that could be added: by its kind, and by the name it has here."""

    kind: str = ""
    host: str = ""


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


def remove_backend(ws: Workspace, name: str, *, force: bool = False) -> None:
    """Take a backend out of the settings file, comments kept. Neither the place is asked nor
    anything deleted there; its runs stay in the list.

    Args:
        force: Also if runs are not over there, as far as is known.

    Raises:
        UsageError: There is no such backend, it stands in no file, or runs are not over there.
    """
    from traindeck.backends.errors import excerpt
    from traindeck.console import documents

    if name not in ws.settings.backends:
        known = ", ".join(sorted(ws.settings.backends))
        raise UsageError(f"There is no backend {excerpt(name)!r}.", f"There are: {known}.")
    if ws.settings.source(f"backends.{name}").kind != "file":
        raise UsageError(f"The backend {name} is always there; the settings do not name it.")
    active = [run for run in ws.index.active() if run.backend == name]
    if active and not force:
        which = (
            active[0].name if len(active) == 1 else f"{active[0].name} and {len(active) - 1} more"
        )
        raise UsageError(
            f"Runs of {name} are not over, as far as is known: {which}.",
            "They would go on unwatched. Stop them first, or remove it all the same with --yes.",
        )
    document = documents.read(ws.places.settings)
    text = documents.remove(document, ("backends", name))
    documents.write(ws.places.settings, text)
    ws.reload_settings()


def found_places(
    ws: Workspace, kind: str | None = None, options: Mapping[str, Any] | None = None
) -> list[Found]:
    """What this user's files name and no backend is yet (for ssh the hosts of ~/.ssh/config).
    Reads files; asks nobody.

    Args:
        kind: Only of this kind; by default of all kinds of ours and those in the settings.
        options: Of the kind: `ssh_config`.

    Raises:
        UsageError: There is no such kind, or its options are wrong.
    """
    from traindeck.backends import registry

    backends = ws.settings.backends.values()
    kinds = dict.fromkeys([*registry.IN_TREE, *(entry.kind for entry in backends)])
    found = []
    for each in [kind] if kind is not None else kinds:
        there = {
            entry.options.get("host") or entry.name for entry in backends if entry.kind == each
        }
        try:
            names = registry.discover(each, options if kind is not None else None)
        except TraindeckError:
            if kind is not None:
                raise
            continue  # that kind says what is wrong where it is used
        found += [Found(kind=each, host=name) for name in names if name not in there]
    return found[:MOST_FOUND]


def name_for(ws: Workspace, found: Found) -> str:
    """What to call a machine that is added by a key: its own name, if that can be and is free."""
    short = found.host.rpartition("@")[2].split(".")[0] if "@" in found.host else found.host
    base = re.sub(r"[^A-Za-z0-9_.-]+", "-", short).strip("-._")[:28] or found.kind
    names = [base, *(f"{base}-{number}" for number in range(2, 1000))]
    return next(name for name in names if name not in ws.settings.backends)


def add_found(ws: Workspace, found: Found) -> BackendSettings:
    """Add a machine that was found, under the name of `name_for`. Asks nobody.

    Raises:
        UsageError: As for `add_backend`.
    """
    name = name_for(ws, found)
    return add_backend(ws, found.kind, name, {} if name == found.host else {"host": found.host})


async def check_backend(ws: Workspace, name: str, *, asked: bool = True) -> Health:
    """Ask a place how it is. Never raises for what is wrong with the place.

    Args:
        asked: A person has just asked for it: it is tried at once, and may ask them. Else one that
            makes a pause is left alone, and what was wrong with it last is told.

    Raises:
        UsageError: There is no backend of this name.
    """
    from traindeck.backends.base import Health

    try:
        backend = ws.backend(name)
    except TraindeckError as error:
        if name not in ws.settings.backends:
            raise  # a name that was typed
        return _down(error)
    if asked:
        with for_person(ws, name):
            health = await probe(backend, name)
        note_offers(ws.places, name, health.offers)
        return health
    link = link_at(ws, name)
    if link.next_try is not None and link.next_try > ws.clock():
        return Health(reach=Reach.DOWN, checks=((False, link.why),), note=link.why)
    return await probe(backend, name)


async def probe(backend: Backend, name: str) -> Health:
    """The answer of a backend, whose lines stand below or behind its name: so they have it not in
    front once more, as what is raised of a host has."""
    health = await backend.probe()
    checks = tuple((passed, _own(text, name)) for passed, text in health.checks)
    return replace(health, checks=checks)


def _own(text: str, name: str) -> str:
    return text.removeprefix(f"{name}: ")


async def check_environment(ws: Workspace, name: str) -> tuple[bool, str] | None:
    """What a run would execute in at a place elsewhere, as a line of `Health.checks`. None if
    nobody can say. Importing torch there may take a while."""
    from traindeck.backends import environments
    from traindeck.backends.base import RunSpec
    from traindeck.console.runs.elsewhere import LOOKED_AT, default_environment, is_here
    from traindeck.console.runs.request import environment_named
    from traindeck.console.store.ids import mint_id

    if is_here(ws, name):
        return None  # the shell's own
    try:
        environment = environment_named(default_environment(ws, name), local=False)
        spec = RunSpec(
            run_id=mint_id(), argv=("python",), cwd="/", environment=environment, needs=LOOKED_AT
        )
        found = (await ws.backend(name).survey(spec)).environment
    except TraindeckError as error:
        return False, _own(str(error), name)
    if found is None:
        return None
    refused = environments.refusal(found, LOOKED_AT, name)
    wrong = [str(refused)] if refused is not None else environments.doubts(found, LOOKED_AT)
    if wrong:
        return False, _own(wrong[0], name)
    return True, f"runs execute in {environments.words(found)}"


async def check_found(ws: Workspace, found: Found) -> Health:
    """Ask a machine that was found how it would be as a place. Notes nothing in the settings."""
    from traindeck.backends.registry import create

    ws.let_ask()
    try:
        backend = create(found.host, found.kind, {"host": found.host})
    except TraindeckError as error:
        return _down(error)
    try:
        with for_person(ws):
            return await backend.probe()
    finally:
        await backend.aclose()


def _down(error: TraindeckError) -> Health:
    from traindeck.backends.base import Health

    return Health(reach=Reach.DOWN, checks=((False, str(error)),), note=error.what)


@contextmanager
def for_person(ws: Workspace, *names: str) -> Iterator[None]:
    """What a person has just asked for is tried at once at these places, also where only a person
    can connect, and may ask what it needs to know. Once an action: what fails in it is not tried
    again."""
    from traindeck.backends.asking import attended

    for name in dict.fromkeys(names):
        try_now(ws, name)
    with attended():
        yield


async def connect(ws: Workspace, name: str) -> None:
    """Connect to a place that does not answer, for a person who begins something there that goes on
    by itself and then asks nobody. What is wrong is said by what they begin."""
    with for_person(ws, name):
        if link_at(ws, name).state is not Reach.OK:
            await ws.backend(name).probe()


def link_at(ws: Workspace, name: str) -> LinkState:
    """How it stands with the way to a place, as far as that is known without asking it."""
    from traindeck.backends.base import LinkState
    from traindeck.console.runs.following import link_of

    try:
        return link_of(ws.backend(name))
    except TraindeckError:
        return LinkState()  # it cannot be made, which what is asked of it says


def try_now(ws: Workspace, name: str) -> None:
    """What is asked of a place next is tried at once, if it can put off anything at all."""
    from traindeck.backends.base import Linked

    try:
        backend = ws.backend(name)
    except TraindeckError:
        return  # what is asked of it will say so
    if isinstance(backend, Linked):
        backend.try_now()
