"""From lines to what stands on a row: frames of libraries folded, a rank's repetition of another's
traceback folded, the rest line by line. Pure: the same lines and choices give the same blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum

from traindeck.backends.data import dataclass
from traindeck.console.logs.lines import Line
from traindeck.console.logs.severity import Severity, plain, said_by, severity
from traindeck.console.logs.tracebacks import Frame, Traceback, parse

FEWEST = 2
"""Library frames that are worth folding."""
NAMED = 2
"""Packages that a fold names."""


class Role(StrEnum):
    """What a block is in the log, for its colours."""

    TEXT = "text"
    HEADER = "header"
    """The first line of a traceback."""
    OWN = "own"
    """A frame of the person's own code."""
    LIBRARY = "library"
    RAISED = "raised"
    """The exception."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Lines that can be folded into one row.

    Attributes:
        offset, end: The bytes of the log they are; `offset` is the key of the choice.
        open: Whether they are shown.
        lines: How many there are.
        text: What the one row says ("14 frames in torch/nn/modules"), or what stands beside the
            first line while they are open ("5 frames · 14 library frames").
    """

    offset: int
    end: int
    open: bool
    lines: int
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """What is placed and moved over as one: a line, or several folded ones.

    Attributes:
        lines: The lines; more than one only if folded.
        grave: Whether it belongs to a traceback.
        fold: The fold that begins here, if one does.
    """

    lines: tuple[Line, ...]
    role: Role = Role.TEXT
    grave: bool = False
    fold: Fold | None = None

    @property
    def start(self) -> int:
        """Offset of its first byte."""
        return self.lines[0].start

    @property
    def end(self) -> int:
        """Offset after its last byte."""
        return self.lines[-1].end

    @property
    def folded(self) -> bool:
        """Whether its lines are hidden behind one row."""
        return self.fold is not None and not self.fold.open

    @property
    def severity(self) -> Severity:
        """How grave it looks."""
        return Severity.ERROR if self.grave else severity(self.lines[0].data)

    @property
    def rank(self) -> int | None:
        """The rank that the prefix of its first line names."""
        return said_by(plain(self.lines[0].data[:256]))[0]


def blocks(lines: Sequence[Line], toggled: Collection[int] = ()) -> list[Block]:
    """Consecutive lines of a log as blocks.

    Args:
        lines: In the order of the log. What lies before the first is not known here: a traceback
            that began there is recognised by its frames.
        toggled: Offsets of folds that are not in the state they have by themselves (frames of
            libraries and repetitions folded, tracebacks open).
    """
    found = parse([line.data for line in lines])
    roles: dict[int, Role] = {}
    grave: set[int] = set()
    for traceback in found:
        _mark(traceback, lines, roles, grave)
    folds = _traceback_folds(found, lines, toggled)
    made: list[Block] = []
    groups = _library_groups(found, roles)
    number = 0
    while number < len(lines):
        whole = folds.get(number)
        if whole is not None and not whole[1].open:
            made.append(Block(tuple(lines[number : whole[0] + 1]), Role.HEADER, True, whole[1]))
            number = whole[0] + 1
            continue
        group = groups.get(number)
        if group is not None:
            last, frames = group
            offset = lines[number].start
            text = f"{len(frames)} frames in {_packages(frames)}"
            fold: Fold | None = Fold(
                offset, lines[last].end, offset in toggled, last + 1 - number, text
            )
            if offset not in toggled:
                made.append(Block(tuple(lines[number : last + 1]), Role.LIBRARY, True, fold))
                number = last + 1
                continue
        else:
            fold = whole[1] if whole is not None else None
        role = roles.get(number, Role.TEXT)
        made.append(Block((lines[number],), role, number in grave, fold))
        number += 1
    return made


def _mark(
    traceback: Traceback, lines: Sequence[Line], roles: dict[int, Role], grave: set[int]
) -> None:
    """What each line of a traceback is. Lines of other ranks in between are left alone."""
    for frame in traceback.frames:
        role = Role.LIBRARY if frame.library else Role.OWN
        for number in range(frame.first, frame.last + 1):
            roles[number] = role
            grave.add(number)
    if traceback.whole:
        roles[traceback.first] = Role.HEADER
        grave.add(traceback.first)
    if traceback.raised is not None:
        for number in range(traceback.raised, traceback.last + 1):
            if number == traceback.raised or lines[number].data[:1] in (b" ", b"\t", b"["):
                roles.setdefault(number, Role.RAISED)
                grave.add(number)


def _library_groups(
    found: Sequence[Traceback], roles: dict[int, Role]
) -> dict[int, tuple[int, list[Frame]]]:
    """Runs of neighbouring lines that belong to library frames: first line to (last, frames)."""
    frames = sorted(
        (frame for traceback in found for frame in traceback.frames if frame.library),
        key=lambda frame: frame.first,
    )
    groups: dict[int, tuple[int, list[Frame]]] = {}
    first = -1
    for frame in frames:
        if first >= 0 and frame.first == groups[first][0] + 1:
            groups[first] = (frame.last, [*groups[first][1], frame])
        else:
            first = frame.first
            groups[first] = (frame.last, [frame])
    return {first: group for first, group in groups.items() if len(group[1]) >= FEWEST}


def _traceback_folds(
    found: Sequence[Traceback], lines: Sequence[Line], toggled: Collection[int]
) -> dict[int, tuple[int, Fold]]:
    """Tracebacks that can be folded whole: first line to (last line, fold)."""
    folds: dict[int, tuple[int, Fold]] = {}
    seen: dict[object, Traceback] = {}
    for traceback in sorted(found, key=lambda t: t.first):
        if not traceback.whole or traceback.raised is None or not _alone(traceback, found):
            continue
        offset = lines[traceback.first].start
        count = traceback.last + 1 - traceback.first
        own = sum(1 for frame in traceback.frames if not frame.library)
        text = f"{own} frame" if own == 1 else f"{own} frames"
        if others := len(traceback.frames) - own:
            text += f" · {others} library frame" if others == 1 else f" · {others} library frames"
        like = (
            traceback.kind,
            tuple((f.file, f.line, f.function) for f in traceback.frames if not f.library),
        )
        first = seen.setdefault(like, traceback)
        repeated = first is not traceback and first.rank != traceback.rank
        if repeated:
            text = f"same as rank {first.rank}" if first.rank is not None else "same as above"
        folds[traceback.first] = (
            traceback.last,
            Fold(
                offset,
                lines[traceback.last].end,
                repeated == (offset in toggled),
                count,
                text,
            ),
        )
    return folds


def _alone(traceback: Traceback, found: Sequence[Traceback]) -> bool:
    """Whether no other traceback's lines stand between its own."""
    return not any(
        other is not traceback and other.first <= traceback.last and other.last >= traceback.first
        for other in found
    )


def _packages(frames: Sequence[Frame]) -> str:
    names = list(dict.fromkeys(frame.package for frame in frames))
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
