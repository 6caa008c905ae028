"""Which kinds of backend there are, and how to make one.

The kinds of this tree stand in a table, so that a start imports one module and scans nothing. Only
a kind that is not in it makes us look through the installed distributions for an entry point of the
group `traindeck.backends`; nothing of theirs is imported before it is asked for. A third party's
broken backend must never cost more than one sentence.

An entry point names a factory, `factory(name, options) -> Backend`: the name the user gave the
place, and the rest of its settings, which the factory checks (`base.UsageError` for what it does
not know). If the module of a factory has a function `discover(options) -> names`, it says what the
kind could reach by the files of this user, asking nobody: names that may be its option `host`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from traindeck.backends.base import PROTOCOL, Backend, BackendError, TraindeckError, UsageError
from traindeck.backends.data import dataclass

GROUP = "traindeck.backends"

IN_TREE: Mapping[str, str] = {
    "process": "traindeck.backends.process:make",
    "slurm": "traindeck.backends.slurm.settings:make",
    "ssh": "traindeck.backends.hosts.ssh:make",
}
"""Kind -> factory. The same lines stand in pyproject.toml, for whoever lists entry points."""

Factory = Callable[[str, Mapping[str, Any]], Backend]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of backend that can be made. `distribution` is empty for those of this tree."""

    name: str = ""
    target: str = ""
    distribution: str = ""


def load(kind: str) -> Factory:
    """The factory of a kind.

    Raises:
        UsageError: There is no such kind.
        BackendError: There is, and it cannot be imported. One line, with what it said.
    """
    if kind in IN_TREE:
        return _import(Kind(name=kind, target=IN_TREE[kind]))
    installed = _installed()
    if kind in installed:
        return _import(installed[kind])
    known = sorted({*IN_TREE, *installed})
    near = difflib.get_close_matches(kind, known, n=1)
    raise UsageError(
        f"There is no kind of backend called {kind!r}.",
        f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}.",
    )


def create(name: str, kind: str, options: Mapping[str, Any] | None = None) -> Backend:
    """A backend as the settings describe it. Does no I/O beyond importing it.

    Args:
        name: What the user calls the place.
        kind: Which kind it is.
        options: The rest of its settings.

    Raises:
        UsageError: No such kind, or an option its factory refuses.
        BackendError: It cannot be imported or made, or was written for another version of the
            protocol.
    """
    factory = load(kind)
    try:
        backend = factory(name, dict(options or {}))
    except TraindeckError:
        raise
    except (Exception, SystemExit) as error:
        raise BackendError(
            f"The backend `{name}` ({kind}) cannot be made: {_said(error)}."
        ) from error
    spoken = getattr(backend, "protocol", None)
    if spoken != PROTOCOL:
        newer = isinstance(spoken, int) and spoken > PROTOCOL
        raise BackendError(
            f"The backend `{name}` ({kind}) speaks version {spoken!r} of the protocol, "
            f"this Traindeck {PROTOCOL}.",
            "Upgrade Traindeck." if newer else f"Upgrade the package that brings {kind!r}.",
        )
    if missing := lacking(backend):
        raise BackendError(
            f"The backend `{name}` ({kind}) is not complete: it has no {', '.join(missing)}."
        )
    return backend


def discover(kind: str, options: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """What a kind could reach and this machine knows of; nothing for a kind that cannot tell.

    Args:
        options: Of the kind, as far as they are known: `ssh_config` names the file to look in.

    Raises:
        UsageError: There is no such kind, or an option is wrong.
        BackendError: It cannot be imported, or could not look.
    """
    module = importlib.import_module(load(kind).__module__)
    look = getattr(module, "discover", None)
    if look is None:
        return ()
    try:
        return tuple(str(name) for name in look(dict(options or {})))
    except TraindeckError:
        raise
    except (Exception, SystemExit) as error:
        raise BackendError(f"What there is of {kind} cannot be found: {_said(error)}.") from error


def lacking(backend: object) -> list[str]:
    """Members of the `Backend` protocol that an object has not, by name."""
    members = {*Backend.__annotations__, *(n for n in vars(Backend) if not n.startswith("_"))}
    return sorted(name for name in members if not hasattr(backend, name))


def _installed() -> dict[str, Kind]:
    from importlib.metadata import entry_points

    found: dict[str, Kind] = {}
    for point in entry_points(group=GROUP):
        distribution = point.dist.name if point.dist is not None else ""
        kind = Kind(name=point.name, target=point.value, distribution=distribution)
        earlier = found.get(kind.name)
        if kind.name in IN_TREE or (earlier and earlier.distribution <= distribution):
            continue
        found[kind.name] = kind
    return found


def _import(kind: Kind) -> Factory:
    module, _, path = kind.target.partition(":")
    try:
        factory: Any = importlib.import_module(module.strip())
        for name in path.split("[")[0].strip().split("."):
            factory = getattr(factory, name)
        if not callable(factory):
            raise TypeError(f"{kind.target} is no factory")
    except (Exception, SystemExit) as error:
        owner = f" of {kind.distribution}" if kind.distribution else ""
        raise BackendError(
            f"The backend kind `{kind.name}`{owner} cannot be imported: {_said(error)}."
        ) from error
    return factory  # type: ignore[no-any-return]


def _said(error: BaseException) -> str:
    """An exception as part of one sentence on one line."""
    text = " ".join(str(error).split())[:300].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
