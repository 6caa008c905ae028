"""Code as a content-addressed tree: the objects of its folders, as payload/FORMAT.md has them.

Each folder is an object that names what lies in it by digest, so that one changed file changes the
objects of the folders above it and nothing else. The same files make the same bytes everywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from traindeck.backends.base import Blob, Tree

FORMAT = 1

FILE, EXECUTABLE, FOLDER = "file", "exec", "tree"


class Leaf(NamedTuple):
    """A file of a tree: its content's SHA-256 (hex), its size in bytes, whether it is executable.

    (A tuple: of these there may be twenty thousand, which as data classes took 30 ms to make.)
    """

    digest: str
    size: int
    executable: bool = False


class Objects(NamedTuple):
    """The digest of the top folder, and the objects of all folders by theirs."""

    top: str
    folders: Mapping[str, bytes]


def objects(files: Mapping[str, Leaf], folders: Iterable[str] = ()) -> Objects:
    """The objects of a tree.

    Args:
        files: By path, relative to the top, with `/` between the parts; none is in another's way.
        folders: Those that are to be there though no file is in them; those above come with them.
    """
    inside: dict[str, list[tuple[str, str, str, int]]] = {"": []}

    def have(folder: str) -> list[tuple[str, str, str, int]]:
        found = inside.get(folder)
        if found is None:
            found = inside[folder] = []
            have(folder.rpartition("/")[0])
        return found

    before, within = "", inside[""]
    for path, (digest, size, executable) in files.items():
        folder, _, name = path.rpartition("/")
        if folder != before:  # mostly it is that of the file before
            before, within = folder, have(folder)
        within.append((name, EXECUTABLE if executable else FILE, digest, size))
    for folder in folders:
        have(folder)
    made: dict[str, bytes] = {}
    # The deepest first: a folder's object names those below it.
    for folder in sorted(inside, key=lambda path: -(path.count("/") + bool(path))):
        entries = inside[folder]
        data = _encoded(entries)
        digest = hashlib.sha256(data).hexdigest()
        made[digest] = data
        if folder:
            above, _, name = folder.rpartition("/")
            inside[above].append((name, FOLDER, digest, sum(entry[3] for entry in entries)))
    return Objects(top=digest, folders=made)


def files_of(tree: Tree) -> Iterator[tuple[str, Blob]]:
    """What a tree is made of, by path: its files, and its empty folders, with a `/` behind (the top
    is ""). Nothing, of a tree whose content is not here."""
    todo = [("", tree.digest)] if tree.content is not None else []
    while todo:
        above, digest = todo.pop()
        assert tree.content is not None
        inside = entries(tree.content.blob(digest).read())
        if not inside:
            yield above, Blob(digest=digest)
        below = []
        for name, kind, inner, size in inside:
            if kind == FOLDER:
                below.append((f"{above}{name}/", inner))
            else:
                mode = 0o700 if kind == EXECUTABLE else 0o600
                yield above + name, Blob(digest=inner, size=size, mode=mode)
        todo += reversed(below)


def _encoded(entries: list[tuple[str, str, str, int]]) -> bytes:
    entries.sort(key=lambda entry: entry[0].encode("utf-8", "surrogateescape"))
    return json.dumps({"entries": entries, "format": FORMAT}, separators=(",", ":")).encode()


def entries(data: bytes) -> list[tuple[str, str, str, int]]:
    """What an object says is in its folder: (name, kind, digest, size).

    Raises:
        ValueError: It is none.
    """
    found: Any = json.loads(data)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError("not the object of a folder")
    return [(str(e[0]), str(e[1]), str(e[2]), int(e[3])) for e in found["entries"]]
