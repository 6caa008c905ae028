"""Python's tracebacks among the lines of a log: where they are, whose frames, which exception.

Reads what several ranks wrote into one log, each line with its own prefix, also interleaved; nested
and chained exceptions, exception groups, coloured ones, those of `rich`, stack dumps of
faulthandler, and pieces of one whose beginning lies before what is looked at. It judges lines of
text that may be anything: the cost is linear, and what does not fit is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field, replace

from traindeck.backends.data import dataclass
from traindeck.console.logs.neutral import neutral
from traindeck.console.logs.severity import plain, said_by

LOOK = 4096
"""Bytes of a line that are looked at."""
FOREIGN = 8
"""Lines of others that may stand between the lines of one traceback."""
FRAMES = 2000
"""Frames kept of one traceback."""
CONTINUED = 16
"""Indented lines that may belong to an exception's message."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: the numbers of its first and last line, and what it names.

    Attributes:
        library: Whether its file belongs to the interpreter or an installed package, not to the
            person's own code.
    """

    first: int
    last: int
    file: str
    line: int
    function: str
    library: bool

    @property
    def package(self) -> str:
        """Where a library frame is, as in torch/nn/modules; for own code the file."""
        return package_of(self.file) if self.library else self.file


@dataclass(frozen=True, slots=True)
class Traceback:
    """One traceback: the numbers of its first and last line, its frames, what was raised.

    Attributes:
        raised: Number of the exception's line; None if it was cut off.
        kind, message: The exception's type (as printed) and its first line of text.
        rank: The rank whose prefix its lines carry.
        chained: Whether it goes on from the one before ("During handling …").
        whole: Whether its beginning was seen.
    """

    first: int
    last: int
    frames: tuple[Frame, ...] = ()
    raised: int | None = None
    kind: str = ""
    message: str = ""
    rank: int | None = None
    chained: bool = False
    whole: bool = True


_HEADER = re.compile(rb"[\W_]{0,300}?(?:Exception Group )?Traceback \(most recent call last\)")
_FRAME = re.compile(
    rb'  File "([^"]{1,1024})", line (\d{1,9})(?:,? in ([^\n]{1,300}))?|'
    rb"\xe2\x94\x82 ([^\s:]{1,1024}):(\d{1,9}) ?in(?: ?(\S{1,300}))?|"
    rb"\xe2\x94\x82 in (\S{1,300}):(\d{1,9})"
)
_RAISED = re.compile(rb"([A-Za-z_][\w.]{0,200})(?:: ?(.*))?$", re.DOTALL)
_GROUP = re.compile(rb" *[|+] ?")
_CHAIN = (
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
)
_DUMP = re.compile(rb"(?:Current thread|Thread) 0x[0-9a-f]+ .{0,80}\(most recent call first\):")
# vLLM and others send tracebacks through a logger: every line carries its stamp.
_STAMP = re.compile(rb"(?:ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d (?:\[?[\w./-]{1,80}:\d+\]) ?")
_LIBRARY = re.compile(
    r"(?:^|/)(?:site-packages|dist-packages)/|(?:^|/)lib(?:64)?/python\d|/torchinductor_|^<frozen "
    r"|/bin/[\w.-]{1,80}$"
)
_BOX = (b"\xe2\x94\x82", b"\xe2\x95\xad", b"\xe2\x95\xb0")
_HERE = b"\xe2\x9d\xb1"


def is_library(file: str) -> bool:
    """Whether a frame's file belongs to the interpreter or an installed package."""
    return _LIBRARY.search(file) is not None


def package_of(file: str) -> str:
    """A library file's place in words: at most three folders below the packages' root."""
    for marker in ("site-packages/", "dist-packages/"):
        if marker in file:
            parts = file.rpartition(marker)[2].split("/")
            return "/".join(parts[:-1][:3]) or parts[-1].removesuffix(".py")
    if re.search(r"/bin/[\w.-]{1,80}$", file):
        return file.rpartition("/")[2]
    if file.startswith("<frozen "):
        return file[8:].rstrip(">").partition(".")[0]
    tail = re.split(r"lib(?:64)?/python[\d.]+/", file)[-1].split("/")
    return "/".join(tail[:-1][:2]) or tail[-1].removesuffix(".py")


@dataclass(slots=True)
class _Open:
    """A traceback that is being read."""

    first: int
    last: int
    whole: bool
    rank: int | None
    chained: bool
    dump: bool = False
    frames: list[Frame] = field(default_factory=list)
    foreign: int = 0
    box: bytes = b""
    named: bool = False

    def unfolded(self, body: bytes) -> bytes:
        """A line with what was folded off before it: in a box a long path goes on on the next line,
        its code is further in. `named` says whether there was enough of it for a frame before."""
        side, inner = body[:4], body[4:].removesuffix(_BOX[0])
        if side[:3] != _BOX[0] or inner[:1] in (b"", b" ") or inner.startswith(_HERE):
            self.box, self.named = b"", False
            return body
        # One blank before the edge is the box's own: what fills it was cut within a word.
        blank = b" " if inner.endswith(b"  ") else b""
        self.box = (self.box + inner.rstrip() + blank)[:LOOK]
        return side + self.box


def parse(lines: Sequence[bytes]) -> list[Traceback]:
    """All tracebacks in some consecutive lines (without their newlines), in order of their end."""
    reader = _Reader()
    for number, line in enumerate(lines):
        reader.read(number, line)
    return reader.finish()


class _Reader:
    def __init__(self) -> None:
        self._found: list[Traceback] = []
        self._open: dict[bytes, _Open] = {}
        # By prefix: where the last one ended, for chains and for messages of several lines.
        self._ended: dict[bytes, tuple[int, int]] = {}
        self._chain: set[bytes] = set()

    def read(self, number: int, line: bytes) -> None:
        text = plain(line[:LOOK]).rstrip(b"\r")
        interesting = b'File "' in text or b"(most recent call" in text
        if not (interesting or self._open or self._ended):
            return
        rank, skip = said_by(text)
        key, text = text[:skip], text[skip:]
        stamp = _STAMP.match(text)
        if stamp is not None:
            text = text[stamp.end() :]
        current = self._open.get(key)
        if interesting and _HEADER.match(text):
            self._begin(number, key, rank, whole=True)
            return
        if interesting and _DUMP.match(text):
            self._begin(number, key, rank, whole=True)
            self._open[key].dump = True
            return
        group = _GROUP.match(text) if current is not None or interesting else None
        body = text[group.end() :] if group is not None else text
        if current is not None:
            body = current.unfolded(body)
        frame = _FRAME.match(body) if interesting or body[:1] == b"\xe2" else None
        if frame is not None and (current is not None or interesting):
            if current is None:
                self._begin(number, key, rank, whole=False)
                current = self._open[key]
            self._add(number, current, frame)
        elif current is not None:
            self._go_on(number, key, current, body)
        elif text in _CHAIN:
            self._chain.add(key)
        elif key in self._ended:
            self._continue_message(number, key, text)

    def finish(self) -> list[Traceback]:
        for key in list(self._open):
            self._close(key, None)
        return self._found

    def _begin(self, number: int, key: bytes, rank: int | None, *, whole: bool) -> None:
        if key in self._open:
            self._close(key, None)
        chained = key in self._chain
        self._chain.discard(key)
        self._ended.pop(key, None)
        self._open[key] = _Open(number, number, whole, rank, chained)

    def _add(self, number: int, current: _Open, match: re.Match[bytes]) -> None:
        groups = match.groups()
        if groups[0] is not None:
            file, line, function = groups[0], groups[1], groups[2] or b""
        elif groups[3] is not None:
            file, line, function = groups[3], groups[4], groups[5] or b""
        else:
            file, line, function = b"<stdin>", groups[7], groups[6]
        current.last, current.foreign = number, 0
        first = current.frames.pop().first if current.named else number
        current.named = bool(current.box)
        if len(current.frames) < FRAMES:
            name = neutral(file).text
            where = neutral(function).text.rstrip()
            current.frames.append(Frame(first, number, name, int(line), where, is_library(name)))

    def _go_on(self, number: int, key: bytes, current: _Open, body: bytes) -> None:
        if body[:1] in (b" ", b"\t") or body[:3] in _BOX or body.startswith(b"-+--"):
            current.last, current.foreign = number, 0
            if current.frames and current.frames[-1].last == number - 1:
                current.frames[-1] = replace(current.frames[-1], last=number)
            return
        raised = _RAISED.match(body) if body and not current.dump else None
        if raised is not None and (current.frames or not current.foreign):
            self._close(key, number, raised)
            return
        current.foreign += 1
        if current.foreign > FOREIGN or current.dump:
            self._close(key, None)

    def _close(self, key: bytes, number: int | None, raised: re.Match[bytes] | None = None) -> None:
        current = self._open.pop(key)
        kind = message = ""
        if raised is not None:
            kind = raised.group(1).decode("utf-8", "replace")
            message = neutral(raised.group(2) or b"").text.strip()
        if raised is None and not current.frames and not current.whole:
            return
        self._found.append(
            Traceback(
                current.first,
                current.last if number is None else number,
                tuple(current.frames),
                number,
                kind,
                message,
                current.rank,
                current.chained,
                current.whole,
            )
        )
        if number is not None:
            self._ended[key] = (len(self._found) - 1, CONTINUED)

    def _continue_message(self, number: int, key: bytes, text: bytes) -> None:
        """Indented lines right after an exception's line belong to its message."""
        index, left = self._ended[key]
        old = self._found[index]
        if left > 0 and text[:1] in (b" ", b"\t") and number <= old.last + 1 + FOREIGN:
            self._ended[key] = (index, left - 1)
            message = f"{old.message} {neutral(text).text.strip()}"[:LOOK]
            self._found[index] = replace(old, last=number, message=message)
        elif text:
            # A blank line may stand before "During handling …"; anything else ends it.
            del self._ended[key]
