"""What went wrong in a run, read from its log: the error that decided, its evidence, what to try.

The same finding gives the one-line reason in Runs, the block after the end of the log, and the
place that `E` jumps to. It is a reading of text that may be anything and may mislead: a finding
always names the line it rests on. It looks at a bounded stretch (normally the last megabyte), in
time proportional to it, and runs no pattern over more than some kilobytes at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from traindeck.backends.data import dataclass
from traindeck.console.logs.diagnosis import diagnose
from traindeck.console.logs.failures import SECONDARY, Diagnosis, Kind, Try
from traindeck.console.logs.neutral import neutral
from traindeck.console.logs.severity import (
    Severity,
    last_state,
    plain,
    said_by,
    severity,
)
from traindeck.console.logs.tracebacks import Frame, Traceback, parse
from traindeck.console.logs.widths import width as cell_width

WINDOW = 1 << 20
"""Bytes before the end of a log that are looked at for what ended it."""
WIDTHS = (110, 75, 45)
"""Cells of the three lengths in which a reason is written."""
APART = 400
"""Lines without anything grave after which what came before no longer counts as the end."""
APART_CODED = 40
"""The same where the process chose an exit code that no uncaught exception gives; without what
launchers and loggers say."""
WENT_ON = 10
"""Further steps after an error that show that the run went on from it."""
AFTER = 64 << 10
"""Bytes after an error that are looked through for them."""
DIAGNOSED = 100
"""Messages that are compared with the table of failures in one stretch, from its end."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One failure found in a log.

    Attributes:
        kind: What sort of failure.
        offset, length: The bytes of the log that show it, a whole traceback for example.
        evidence_offset: Where the line begins that it rests on; `evidence` is that line, neutral.
        clauses: The reason, cause first; `reason` cuts it to a width between clauses.
        chain: Of chained exceptions the last, its cause with it, in clauses: said instead of
            `clauses` where the first fits.
        happened: Sentences for "What happened"; may be empty.
        tries: What to try, most promising first.
        frames: Of the traceback, outermost first, own and library ones.
        rank: The rank that said it, if the log tells.
        secondary: It usually follows from a failure elsewhere.
        last: Where the last line begins that says the same, if another one does.
    """

    kind: Kind
    offset: int
    length: int
    evidence_offset: int
    evidence: str
    clauses: tuple[str, ...]
    happened: str = ""
    tries: tuple[Try, ...] = ()
    frames: tuple[Frame, ...] = ()
    rank: int | None = None
    secondary: bool = False
    chain: tuple[str, ...] = ()
    last: int | None = None

    def said(self, width: int) -> tuple[str, ...]:
        """The clauses to be said in `width` cells."""
        return self.chain if self.chain and _cells(self.chain[0]) <= width else self.clauses

    def reason(self, width: int) -> str:
        """The reason in at most `width` cells: whole clauses, as many as fit."""
        return sentence(self.said(width), width)

    @property
    def reasons(self) -> tuple[str, str, str]:
        """The reason in three lengths: about 110, 75 and 45 cells."""
        long, middle, short = (self.reason(width) for width in WIDTHS)
        return long, middle, short


def sentence(clauses: Sequence[str], width: int) -> str:
    """Clauses joined with ` · `, leaving out whole ones from the end until they fit `width` cells;
    only a first clause that is too long by itself is cut, between words."""
    kept = list(clauses)
    while len(kept) > 1 and _cells(" · ".join(kept)) > width:
        kept.pop()
    text = " · ".join(kept)
    if _cells(text) <= width:
        return text
    head = text
    while _cells(head) > width - 1:
        head = head[: max(0, min(len(head) - 1, width - 1))]
    word = head.rpartition(" ")[0]
    return (word if len(word) > len(head) // 2 else head).rstrip(" .,:;·") + "…"


def _cells(text: str) -> int:
    return sum(max(0, cell_width(character)) for character in text)


# ------------------------------------------------------------------------------------- scanning

# A line that tells a failure by itself contains one of these: looking for each of them through the
# whole stretch is many times faster than looking at each line.
_LITERALS = (
    *(b"rror", b"xception", b"Killed", b"KILL", b" fault", b"Aborted", b"terminate called"),
    *(b"out of memory", b"oom_kill", b"space left", b"quota exceeded", b"not found", b"No module"),
    *(b"Watchdog caught", b" closed by", b" reset by", b"Illegal instruction", b"oss is "),
    *(b"can't open file", b"KeyboardInterrupt", b"device-side assert"),
)
# Shells and kernels do not say "error".
_QUIET = re.compile(
    rb"command not found|: not found$|can't open file|No module named|Killed|oom_kill"
    rb"|Segmentation fault|Loss is|loss is (?:nan|inf)|device-side assert"
)
# What the launcher of several ranks says at the end: which of them failed first.
_ROOT = re.compile(
    rb"Root Cause \(first observed failure\):\s*\n\[\d{1,6}\]:\s*\n(?:[^\n]{0,200}\n){0,3}?"
    rb"\s*rank\s*:\s*(\d{1,6})[^\n]{0,80}\n\s*exitcode\s*:\s*(-?\d{1,4})[^\n]{0,80}\n"
    rb"(?:[^\n]{0,400}\n)?\s*traceback\s*:\s*([^\n]{0,300})"
)
_ORDINARY = re.compile(
    rb"(?m:^(?!wandb:|\[|[EWI]\d{4} |[\w.-]{1,60}:\d{1,9}:\d{1,9} |[\d-]{8,10} |\s)[^\n]{1,4096})"
)
_IGNORED = re.compile(rb"Exception ignored in|Exception in thread|During handling of")
_STEP = re.compile(rb"(?i:\b(?:global_)?(?:step|iter(?:ation)?)\b)[ =:#\[|]{0,6}(\d[\d,]{0,11})")
_TQDM = re.compile(rb"\| (\d{1,9})/(\d{1,9}) \[")


def scan(data: bytes, base: int = 0) -> list[Finding]:
    """All failures in a stretch of a log, in the order of the log.

    Args:
        data: The bytes; a first line that is cut off does no harm.
        base: Offset of `data` in the log.
    """
    found = _from_tracebacks(data, base)
    covered = [(f.offset - base, f.offset - base + f.length) for f in found]
    found += _from_lines(data, base, covered)
    root = _from_launcher(data, base)
    if root is not None:
        found.append(root)
    return sorted(found, key=lambda finding: finding.offset)


def failure(
    tail: bytes,
    base: int = 0,
    *,
    exit_code: int | None = None,
    signal: int | None = None,
    step: int | None = None,
    at_step: bool = True,
) -> Finding | None:
    """What ended a run, from the end of its log and how the process ended.

    Args:
        tail: The last bytes of the log (`WINDOW` of them, or all).
        base: Offset of `tail` in the log.
        exit_code: Of the leader, if it exited.
        signal: That ended the leader, if one did.
        step: The run's last step, if its metrics know it; else the log is asked.
        at_step: Whether the reason is to say the step.

    Returns:
        The failure, or None if neither the log nor the end says anything.
    """
    coded = signal is None and exit_code is not None and 1 < exit_code < 126
    chosen = _decisive(_last_burst(scan(tail, base), tail, base, coded))
    before = tail if chosen is None else tail[: max(0, chosen.offset - base)]
    if chosen is None:
        chosen = _from_end(tail, base, exit_code, signal)
    if chosen is None or not at_step:
        return chosen
    if step is None:
        step = last_step(before)
    if step is None or not chosen.clauses or chosen.kind is Kind.ARGUMENTS:
        return chosen
    at = f" at step {step:,}"
    clauses, chain = (
        (said[0] + at, *said[1:]) if said else said for said in (chosen.clauses, chosen.chain)
    )
    return replace(chosen, clauses=clauses, chain=chain)


def last_step(before: bytes) -> int | None:
    """The last step number that the log mentions before a failure, in the last 16 KiB of it."""
    text = before[-(16 << 10) :]
    best: tuple[int, int] | None = None
    for match in _STEP.finditer(text):
        digits = match.group(1).replace(b",", b"")
        if digits and len(digits) < 10:
            best = (match.end(), int(digits))
    for match in _TQDM.finditer(text):
        if best is None or match.end() > best[0]:
            best = (match.end(), int(match.group(1)))
    return best[1] if best is not None else None


def _shown(line: bytes) -> str:
    """A line as evidence: the last state of it, neutral, without its prefix."""
    text = plain(last_state(line[-4096:] if b"\r" in line else line))
    _, skip = said_by(text)
    return neutral(text[skip:4096].rstrip(b"\r")).text.strip()


def _from_tracebacks(data: bytes, base: int) -> list[Finding]:
    marks = (b'File "', b"(most recent call", b"File \x1b[")
    places = [
        place for mark in marks for place in (data.find(mark), data.rfind(mark)) if place >= 0
    ]
    if not places:
        return []
    # Three lines before the first (what a crash said), and all that may follow the last.
    begin = min(places)
    for _ in range(4):
        begin = data.rfind(b"\n", 0, max(0, begin))
    begin += 1
    lines = data[begin : max(places) + (64 << 10)].split(b"\n")
    starts, at = [], begin
    for line in lines:
        starts.append(at)
        at += len(line) + 1
    found: list[Finding] = []
    for traceback in parse(lines)[-DIAGNOSED:]:
        if traceback.raised is None and not _crashed(lines, traceback):
            continue
        made = _from_traceback(lines, starts, base, traceback)
        if traceback.chained and found and found[-1].rank == traceback.rank:
            made = _chain(found.pop(), made)
        found.append(made)
    return found


def _crashed(lines: Sequence[bytes], traceback: Traceback) -> bool:
    """Whether a stack without an exception is the dump of a crash."""
    before = lines[max(0, traceback.first - 3) : traceback.first]
    return any(b"Fatal Python error" in line for line in before)


def _from_traceback(
    lines: Sequence[bytes], starts: Sequence[int], base: int, traceback: Traceback
) -> Finding:
    first, last = traceback.first, traceback.last
    raised = traceback.raised
    if raised is None:
        raised = next(
            n for n in range(first - 1, first - 4, -1) if b"Fatal Python error" in lines[n]
        )
        first = min(first, raised)
        text = _shown(lines[raised])
    else:
        short = traceback.kind.rpartition(".")[2]
        text = f"{short}: {traceback.message}" if traceback.message else short
    known = diagnose(text) or _unknown(text)
    own = [frame for frame in traceback.frames if not frame.library]
    where = own[0] if own and traceback.raised is None else own[-1] if own else None
    clauses = known.clauses
    if where is not None and known.kind not in SECONDARY:
        clauses = (*clauses, f"{_tail(where.file)}:{where.line}")
    if traceback.rank is not None:
        clauses = (*clauses, f"rank {traceback.rank}")
    quiet = any(_IGNORED.search(line) for line in lines[max(0, first - 2) : first])
    return Finding(
        known.kind,
        base + starts[first],
        starts[last] + len(lines[last]) - starts[first],
        base + starts[raised],
        _shown(lines[raised]),
        clauses,
        known.happened,
        known.tries,
        traceback.frames,
        traceback.rank,
        known.kind in SECONDARY or (quiet and not traceback.chained),
    )


def _unknown(text: str) -> Diagnosis:
    """An exception that the table does not know says itself what is wrong."""
    return Diagnosis(Kind.EXCEPTION, (neutral(text.encode()).text[:200].strip() or "an exception",))


def _tail(path: str) -> str:
    """The last two parts of a path."""
    return "/".join(path.split("/")[-2:]) if path.count("/") > 1 else path


def _chain(cause: Finding, effect: Finding) -> Finding:
    """One finding of two chained exceptions: of the more telling kind, in the place of both."""
    plain_kinds = (Kind.EXCEPTION, Kind.ASSERTION)
    told = cause if effect.kind in plain_kinds and cause.kind not in plain_kinds else effect
    # As Python prints it, without the module of its type.
    raised = re.sub(r"^(?:\w+\.)+(?=\w+(?::|$))", "", cause.evidence)
    return replace(
        told,
        offset=cause.offset,
        length=effect.offset + effect.length - cause.offset,
        secondary=effect.secondary,
        chain=(f"{effect.clauses[0]} (from {raised})", *effect.clauses[1:]),
    )


def _from_lines(data: bytes, base: int, covered: Sequence[tuple[int, int]]) -> list[Finding]:
    """Failures that are told by a line of their own, outside of the stretches that are covered."""
    starts: set[int] = set()
    for literal in _LITERALS:
        at = data.find(literal)
        while at >= 0:
            starts.add(data.rfind(b"\n", 0, at) + 1)
            end = data.find(b"\n", at)
            at = data.find(literal, end) if end >= 0 else -1
    for low, high in covered:
        starts = {start for start in starts if not low <= start < high}
    found: list[Finding] = []
    seen: dict[tuple[Kind, tuple[str, ...]], int] = {}
    for start in sorted(starts)[-DIAGNOSED:]:
        end = data.find(b"\n", start)
        whole = data[start : end if end >= 0 else len(data)]
        line = last_state(whole[-4096:])
        if severity(line) is not Severity.ERROR and not _QUIET.search(line[:1024]):
            continue
        text = _shown(line)
        known = diagnose(text)
        if known is None:
            continue
        first = seen.setdefault((known.kind, known.clauses), len(found))
        if first < len(found):
            found[first] = replace(found[first], last=base + start)
            continue
        rank, _ = said_by(plain(line))
        found.append(
            Finding(
                known.kind,
                base + start,
                len(whole),
                base + start,
                text,
                known.clauses,
                known.happened,
                known.tries,
                rank=rank,
                secondary=known.kind in SECONDARY,
            )
        )
    return found


def _from_launcher(data: bytes, base: int) -> Finding | None:
    """The summary of torchrun: the rank that failed first, and how."""
    at = data.rfind(b"Root Cause (first observed failure):")
    match = _ROOT.match(data, at) if at >= 0 else None
    if match is None:
        return None
    rank, code = int(match.group(1)), int(match.group(2))
    note = neutral(match.group(3)).text.strip()
    how = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
    clauses: tuple[str, ...] = (f"rank {rank} {how}",)
    happened = f"Rank {rank} failed first; the others were stopped because of it."
    tries: tuple[Try, ...] = (Try(f"look at what rank {rank} said last"),)
    kind = Kind.LAUNCHER
    if code == -9:
        kind = Kind.KILLED
        happened += " KILL comes most often from the kernel when memory ran out."
        tries = (Try("look at the memory curve, and ask for more memory"),)
    elif code in (-11, -6, -7, -4):
        kind = Kind.CRASH
    elif note and not note.startswith(("To enable", "Signal")):
        clauses = (*clauses, note[:160])
    return Finding(
        kind,
        base + at,
        match.end() - at,
        base + match.start(2),
        _shown(match.group()[match.group().rfind(b"exitcode") :].partition(b"\n")[0]),
        clauses,
        happened,
        tries,
        (),
        rank,
        kind is Kind.LAUNCHER,
    )


# ------------------------------------------------------------------------------------- choosing


def _last_burst(found: Sequence[Finding], data: bytes, base: int, coded: bool) -> list[Finding]:
    """The findings that belong to the end: an error that the run went on from is not what ended
    it. What launchers, loggers and exit handlers say after one is not going on."""
    burst: list[Finding] = []
    after = len(data)
    for finding in sorted(found, key=_said_last, reverse=True):
        begin = _said_last(finding) - base
        end = begin + finding.length if finding.last is None else data.find(b"\n", begin)
        end = min(end, after) if end >= 0 else after
        if data.count(b"\n", end, after) > APART or _went_on(data, begin, end, after):
            break
        if coded and len(_ORDINARY.findall(data, end, min(after, end + AFTER))) > APART_CODED:
            break
        burst.append(finding)
        after = min(after, begin)
    return sorted(burst, key=lambda finding: finding.offset)


def _said_last(finding: Finding) -> int:
    return finding.offset if finding.last is None else finding.last


def _went_on(data: bytes, begin: int, end: int, after: int) -> bool:
    """Whether further steps were made between an error and what came next."""
    step, more = last_step(data[:begin]), 0
    text = data[end : min(after, end + AFTER)]
    for match in sorted((*_STEP.finditer(text), *_TQDM.finditer(text)), key=re.Match.start):
        number = int(match.group(1).replace(b",", b""))
        if step is None or number > step:
            step, more = number, more + 1
    return more >= WENT_ON


def _decisive(found: Iterable[Finding]) -> Finding | None:
    """The one of several failures at the end that the others follow from.

    What is only ever a consequence counts last, and a message that the table knows more than one
    it does not. Among equals: of several ranks the first to fail (by the launcher's word, else by
    the order of the log), of one process the last, for that is what it ended by.
    """
    found = list(found)
    best = max((_weight(finding) for finding in found), default=-1)
    equal = [finding for finding in found if _weight(finding) == best]
    if not equal:
        return None
    root = next((f.rank for f in found if f.kind is Kind.LAUNCHER and f.rank is not None), None)
    of_root = [finding for finding in equal if finding.rank == root and root is not None]
    if of_root:
        return of_root[0]
    return equal[0] if len({finding.rank for finding in equal}) > 1 else equal[-1]


def _weight(finding: Finding) -> int:
    if finding.kind in (Kind.LAUNCHER, Kind.INTERRUPT):
        return 0
    if finding.secondary:
        return 1
    return 2 if finding.kind in (Kind.EXCEPTION, Kind.ASSERTION) else 3


_SIGNALS = {
    1: "HUP: its terminal closed",
    2: "INT: interrupted",
    4: "ILL: an instruction this CPU does not have",
    6: "ABRT: it aborted itself",
    7: "BUS: shared memory ran out, or a mapped file was cut",
    8: "FPE",
    9: "KILL",
    11: "SEGV: native code of a package went wrong",
    15: "TERM: asked to end",
}


def _from_end(tail: bytes, base: int, exit_code: int | None, signal: int | None) -> Finding | None:
    """What the way a process ended says when its log does not."""
    if signal is None and exit_code is not None and 128 < exit_code < 160:
        signal = exit_code - 128  # a shell's way to say so
    if signal is None:
        return None
    end = len(tail.rstrip())
    start = tail.rfind(b"\n", 0, end) + 1
    name = _SIGNALS.get(signal, str(signal))
    kind = Kind.KILLED if signal in (1, 2, 9, 15) else Kind.CRASH
    happened, tries = "", tuple[Try, ...]()
    if signal == 9:
        happened = "KILL comes most often from the kernel when memory ran out, or from a scheduler."
        tries = (Try("look at the memory curve, and ask for more memory"),)
    elif kind is Kind.CRASH:
        tries = (Try("see the Python frames at the crash", "none", (("PYTHONFAULTHANDLER", "1"),)),)
    return Finding(
        kind,
        base + start,
        end - start,
        base + start,
        _shown(tail[start:end]),
        (f"ended by signal {signal} ({name.partition(':')[0]})", *_rest(name)),
        happened,
        tries,
    )


def _rest(name: str) -> tuple[str, ...]:
    _, _, meaning = name.partition(": ")
    return (meaning,) if meaning else ()
