"""What backends over our agent share of reading logs: cursors, and many files at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from traindeck.backends.base import (
    AgentChannel,
    BackendError,
    FoundFile,
    Grown,
    Look,
    Piece,
    Tail,
    UsageError,
)


def parse_cursor(cursor: str) -> tuple[int, str]:
    """Offset and identity of `OFFSET` or `OFFSET@IDENTITY`; "" is the beginning.

    Raises:
        UsageError: It is neither.
    """
    offset, at, identity = cursor.partition("@")
    if cursor and (not (offset.isascii() and offset.isdecimal()) or (at and not identity)):
        raise UsageError(f"{cursor!r} is no log cursor of this backend.")
    return int(offset or 0), identity


async def ask_tails(
    agent: AgentChannel, wanted: Sequence[Tail], budget: int, looks: Sequence[Look] = ()
) -> Grown:
    """`Tails.tails` by an agent.

    Raises:
        Unreachable: The agent does not answer.
        BackendError: It refuses, or its answer makes no sense.
    """
    groups: list[tuple[tuple[str, int], list[tuple[str, Tail]]]] = []
    folders: dict[tuple[str, str], _Folder] = {}
    for tail in wanted:  # in this order: what comes first has the budget first
        base = f"attempts/{tail.ref.attempt}/"
        if not tail.folder and tail.path.startswith(base):
            key = (tail.ref.run_id, tail.ref.attempt)
            if not groups or groups[-1][0] != key:
                groups.append((key, []))
            groups[-1][1].append((tail.path.removeprefix(base), tail))
        else:
            name = tail.folder or tail.path.partition("/")[0]
            of = folders.setdefault((tail.ref.run_id, name), _Folder(name))
            of.files.append((tail.path.removeprefix(name).lstrip("/"), tail))
    asked = list(folders.values())
    for look in looks:
        found = folders.get((look.ref.run_id, look.folder))
        if found is None or found.look is not None:
            asked.append(found := _Folder(look.folder))
        found.look = look
    if not groups and not asked:
        return Grown()
    runs = [[run, attempt, [_known(*file) for file in files]] for (run, attempt), files in groups]
    params = {"runs": runs, "beside": [folder.words() for folder in asked], "budget": budget}
    answer, body = await agent.call("tails", params)
    try:
        pieces = _Pieces(body)
        for group, number, *words in answer["pieces"]:
            pieces.add(groups[group][1][number][1], words)
        seen: dict[Look, Sequence[FoundFile]] = {}
        for folder, told in zip(asked, answer.get("beside", ()), strict=True):
            for number, *words in told["pieces"]:
                pieces.add(folder.files[number][1], words)
            if folder.look is not None and told["found"] is not None:
                seen[folder.look] = [_found(folder.look, *words) for words in told["found"]]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BackendError(f"The agent's answer to `tails` makes no sense: {error}.") from None
    return Grown(pieces=tuple(pieces.found), seen=seen)


class _Folder:
    """What is asked of one folder: a request's `beside` (FORMAT.md §7)."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.files: list[tuple[str, Tail]] = []
        self.look: Look | None = None

    def words(self) -> dict[str, Any]:
        run = self.look.ref.run_id if self.look is not None else self.files[0][1].ref.run_id
        files = [_known(*file) for file in self.files]
        words = {"run": run, "folder": self.folder, "files": files}
        if self.look is None:
            return words
        look = {"names": self.look.names, "skip": self.look.skip, "since": self.look.since}
        return {**words, "look": look}


def _known(name: str, tail: Tail) -> list[Any]:
    return [name, tail.offset, tail.identity or None, tail.check]


def _found(
    look: Look, path: str, size: int, modified: float, changed: float, inode: int
) -> FoundFile:
    return FoundFile(
        path=f"{look.folder.rstrip('/')}/{path}",
        size=int(size),
        modified=float(modified),
        changed=float(changed),
        inode=int(inode),
    )


class _Pieces:
    """The pieces of an answer, cut out of its body one after the other."""

    def __init__(self, body: bytes) -> None:
        self.found: list[Piece] = []
        self._body = body
        self._at = 0

    def add(self, tail: Tail, words: Sequence[Any]) -> None:
        offset, length, size, identity, cut = words
        begins, length = int(offset), int(length)
        if begins != (0 if cut else tail.offset) or not 0 <= length <= len(self._body) - self._at:
            raise ValueError(f"a piece of {tail.path} is from elsewhere")
        self.found.append(
            Piece(
                ref=tail.ref,
                path=tail.path,
                offset=begins,
                data=self._body[self._at : self._at + length],
                size=int(size),
                identity=str(identity),
                cut=bool(cut),
            )
        )
        self._at += length
