"""What a launch means where this machine's files are not: the code goes along as a copy, a folder
is one there, and what lies only here is refused in words before anything is sent."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from traindeck.backends.base import Capability, Facts, RunSpec
from traindeck.backends.errors import UsageError
from traindeck.backends.trees import Leaf

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace

ALONG = 64 << 20
ALONG_FILES = 2_000
"""What data may be in all, to be sent along with a recipe."""

LOOKED_AT = ("torch?",)
"""What a run of any command is asked about: whether torch imports, if it is installed."""


def is_here(ws: Workspace, name: str) -> bool:
    """Whether jobs of a place see the files of this machine."""
    return Capability.HERE in ws.backend(name).capabilities


def default_environment(ws: Workspace, name: str) -> str:
    """What a place's settings say that its runs execute in; "" if nothing."""
    entry = ws.settings.backends.get(name)
    text = entry.options.get("environment") if entry is not None else None
    return text if isinstance(text, str) else ""


def home_there(path: str) -> str:
    """A path of another machine, with `~` for what is our home: a shell has written that out."""
    home = os.path.expanduser("~").rstrip("/")
    inside = home and (path == home or path.startswith(f"{home}/"))
    return f"~{path[len(home) :]}" if inside else path


def folder_there(cwd: str | None, source: str, root: str) -> str:
    """Where a run begins whose code goes along: absolute, or from `~` on, in a folder there; else
    relative to the copy of the code.

    Args:
        cwd: As of `--cwd`; None for the same place in the copy.
        source: The folder that the launch is made from.
        root: The folder that is copied.

    Raises:
        UsageError: It is a relative one that is not in the copy.
    """
    if cwd is not None and cwd.startswith(("/", "~")):
        return cwd
    below = os.path.relpath(os.path.normpath(os.path.join(source, cwd or ".")), root)
    if below.split(os.sep)[0] == os.pardir:
        raise UsageError(
            f"--cwd {cwd}: that is outside of {root}, whose copy goes along.",
            "Give a folder below it, or one of the other machine from / or ~ on.",
        )
    return below


def refuse_only_here(spec: RunSpec, facts: Facts, name: str) -> None:
    """Refuse what names something that this machine has and the place has not.

    Raises:
        UsageError: The program or a path that is read.
    """
    word = spec.argv[0] if spec.argv else ""
    if facts.program is None and os.path.isabs(word) and os.path.exists(word):
        python = os.path.basename(word).startswith("python")
        raise UsageError(
            f"{word} is a program of this machine; {name} has none there.",
            "Write `python`, and name an environment there: --environment ~/envs/NAME"
            if python
            else f"Give its path on {name}, or put it into the folder whose copy goes along.",
        )
    for path in facts.missing:
        only = os.path.exists(os.path.expanduser(path))
        raise UsageError(
            f"{path} is {'on this machine only, not' if only else 'not there'} on {name}.",
            f"Copy it there first (rsync -a {path} {name}:…), or give a path that is there."
            if only
            else f"Give a path of {name}; a relative one means the copy of this folder.",
        )


MOST_WORDS = 100
"""Words of a command that are looked at."""


def written_out(argv: Sequence[str]) -> dict[str, str]:
    """Word of a command -> path below our home in it that is there: what a shell has made of `~` or
    $HOME, most likely. The program itself is looked for by itself."""
    home = os.path.expanduser("~").rstrip("/")
    found = {}
    for word in argv[1 : MOST_WORDS + 1]:
        path = word.partition("=")[2] if word.startswith("-") and "=" in word else word
        if home and path.startswith(f"{home}/") and "\0" not in path and os.path.exists(path):
            found[word] = path
    return found


def refuse_home(spec: RunSpec, facts: Facts, name: str) -> tuple[str, ...]:
    """Refuse a command that names a file of our home which the place has not. Returns what is said
    of folders: a program may be there to make them.

    Args:
        facts: With those of `written_out` among what was looked for.

    Raises:
        UsageError: What to write instead.
    """
    notes = []
    for word, path in written_out(spec.argv).items():
        if path not in facts.missing:
            continue
        what = f"{word}: {path} is on this machine only, not on {name}"
        root = spec.code.root.rstrip("/")
        along = spec.code.tree is not None and path.startswith(f"{root}/")
        if along and not os.path.isabs(spec.cwd) and not spec.cwd.startswith("~"):
            below = os.path.relpath(path, os.path.join(root, spec.cwd))
            fix = f"A copy of {root} goes along, so write {below}."
        else:
            fix = f"Put it into the folder whose copy goes along, or give a path of {name}."
        if os.path.isdir(path):
            notes.append(f"{what}. {fix}")
        else:
            raise UsageError(f"{what}; a shell here has written `~` or $HOME out.", fix)
    return tuple(notes)


def files_along(root: str, paths: Iterable[str]) -> dict[str, Leaf]:
    """Files and folders below `root` as files of a tree, by their paths there. Links that lead out
    are left out.

    Raises:
        UsageError: One cannot be read, or all together are too large to be sent along.
    """
    from traindeck.console.runs.withheld import is_secret_file

    found: dict[str, Leaf] = {}
    total = 0
    inside = os.path.realpath(root) + os.sep
    for path in _files(root, paths):
        full = os.path.join(root, path)
        try:
            info = os.stat(full)
            if (
                not stat.S_ISREG(info.st_mode)
                or is_secret_file(path)
                or not os.path.realpath(full).startswith(inside)
            ):
                continue
            total += info.st_size
            if total > ALONG or len(found) >= ALONG_FILES:
                raise UsageError(
                    f"{path} and what goes along with it is more than {ALONG >> 20} MiB or "
                    f"{ALONG_FILES:,} files.",
                    "Copy it to the other machine, and give its path there, from / or ~ on.",
                )
            with open(full, "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
        except OSError as error:
            raise UsageError(f"{full} cannot be read: {error.strerror or error}.") from None
        found[path] = Leaf(digest, info.st_size, info.st_mode & 0o100 != 0)
    return found


def _files(root: str, paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        full = os.path.join(root, path)
        if not os.path.isdir(full):
            yield path
            continue
        for folder, below, names in os.walk(full):
            below[:] = sorted(name for name in below if not name.startswith(".git"))
            for name in sorted(names):
                yield os.path.relpath(os.path.join(folder, name), root)


def split_paths(
    values: Mapping[str, str], source: str, on: str
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str]]:
    """Of the paths that a recipe was given: those that must be there, those that go along from
    here, and what is wrong, by parameter.

    Args:
        values: Parameter -> path.
        source: The folder that relative ones begin in.
    """
    reads, sends, wrong = [], [], {}
    for key, path in values.items():
        if path.startswith(("/", "~")):
            reads.append(path)
            continue
        below = os.path.normpath(path)
        if below.split(os.sep)[0] == os.pardir:
            wrong[key] = (
                f"{key} {path}: it lies outside of {source}, from where it could go along to {on}; "
                "copy it there and give its path there."
            )
        elif not os.path.exists(os.path.join(source, below)):
            wrong[key] = f"{key} {path}: no such file or folder in {source}."
        else:
            sends.append(below)
            try:
                files_along(source, [below])
            except UsageError as error:
                wrong[key] = f"{key} {path}: {error}"
    return tuple(reads), tuple(sends), wrong
