"""Lines of a log that name a step, iteration or epoch beside values: `step 10: loss 1.2, lr=1e-4`.

A number is a metric only if its name is a known one or if it is tied to its name (`:`, `=`) on a
line that names a step; never inside a version, date, address or path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from traindeck.console.metrics.names import FOLDED, canonical, mean_name, series_name
from traindeck.console.metrics.numerals import NEVER, integer, is_metric, number
from traindeck.console.metrics.reading import Carry, Reading

EVALUATES = re.compile(
    r"(?<![\w./-])(validation|validating|valid|val|evaluation|evaluating|eval|testing|test|dev)"
    r"(?![\w./-])",
    re.I,
)
"""A word that says that what follows was measured of evaluation data."""

MARK = re.compile(
    r"(?<![\w./-])(global[_ ]step|step|iteration|iter|it|batch|epoch|ep)s?\b[\s:=#\[|]{0,12}"
    r"(\d(?:[\d,]{0,13}\d)?)"
    r"(?:\s{0,4}(?:/|of)\s{0,12}(\d(?:[\d,]{0,13}\d)?))?(?![\d.]*[\w%])",
    re.I,
)
OF_EPOCH = re.compile(
    r"(?<![\w./-])epoch\b[\s:=#\[|]{0,6}(\d{1,7})(?:\s{0,4}(?:/|of)\s{0,4}(\d{1,7}))?(?!\.?\d)"
    r"[\]\s:|,\[(-]{1,12}(\d[\d,]{0,14})\s{0,6}/\s{0,6}(\d[\d,]{0,14})(?![\d/])",
    re.I,
)
"""`Epoch: [0][ 100/5005]`, `Train Epoch: 1 [25600/60000 (43%)]`, `| epoch 1 | 200/2983 batches`."""

_PAIR = re.compile(
    r"(?<![\w./@\\-])(?P<key>[A-Za-z_][\w./@-]{0,60}"
    r"(?: (?:loss|rate|norm|accuracy|acc|scale)\b(?: (?:value|PPL)\b)?)?)"
    r"(?P<tie>\s{0,3}[:=]\s{0,8}|\s{1,8})"
    r"(?:(?:np\.float\d\d|tensor|array)\(\[?)?"
    r"(?P<value>[-+]?(?:\d[\d,]{0,15}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][-+]?\d{1,4})?|[-+]?(?:nan|inf)\b)"
    r"(?:(?P<unit>[kKMG])(?![\w/.-]))?"
    r"(?P<after>\S{0,3})",
    re.I,
)
UNITS = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_AFTER = re.compile(r"[,;|)\]}%'\"]|[munµ]?s\b|[KMGT]i?B|x\b|/s|/sec\b|it/s")
_AFTER_WORD = re.compile(r"[A-Za-z] \Z")
_SHARE = re.compile(r"acc(?:uracy)?", re.I)
_OF = re.compile(r"/(\d{1,12})\b")
_BESIDE_STEP = re.compile(
    r"mfu|lr|grad|g?norm|grad[_ ]?norm|acc@\d|tok(?:en)?s?/s(?:ec)?|tps", re.I
)
"""Names that are metrics where a step is named, though neither `=` nor `:` follows them."""

_TOTAL = re.compile(
    r"(?<![\w.-])(?:max_(?:iters|steps)|num_train_steps|num_training_steps|total_steps|train_iters"
    r"|total (?:optimization |training |train )?steps)\s{0,3}[:=]\s{0,3}"
    r"(\d[\d,]{0,14})(?![\d.]*\w)",
    re.I,
)


_LAST = -1

AXES = ("step", "v_num")
"""Names that `pairs_of` gives too though they are no metrics: a bar is placed by them."""


class Pair(NamedTuple):
    """A name beside a number. `value` is None if it is none of either kind; `tied` if `:` or `=`
    stands between them, `shared` if another number divides it (`acc 12/50`)."""

    key: str
    value: float | None
    tied: bool
    shared: bool
    match: re.Match[str]


def pairs_of(text: str) -> Iterator[tuple[str, float, bool]]:
    """Names and numbers of a text: (name, number, whether `:` or `=` ties them)."""
    for pair in matches_of(text):
        if pair.value is not None:
            yield pair.key, pair.value, pair.tied


def matches_of(text: str) -> Iterator[Pair]:
    """All that looks like a name beside a number."""
    for found in _PAIR.finditer(text):
        key = found["key"].rstrip(".-/@")
        if " " in key and "=" in found["tie"] and _AFTER_WORD.search(text, 0, found.start()):
            key = key.partition(" ")[2]  # `RUN two loss=0.1`: text, then `name=value`
        tied = bool(found["tie"].strip())
        value = number(found["value"])
        shared = False
        if value is None or not key:
            value = None
        elif key.lower() in AXES and "=" in found["tie"]:
            key = key.lower()
        elif NEVER.fullmatch(key):
            value = None
        else:
            if found["unit"]:
                value *= UNITS.get(found["unit"], 1.0)
            after = found["after"]
            if after.startswith("/") and _SHARE.search(key):
                shared = True
                of = _OF.match(text, found.end() - len(after))
                value = value / int(of[1]) if of is not None and int(of[1]) else None
            elif after and not _AFTER.match(after):
                value = None
        yield Pair(key, value, tied, shared, found)


def read_line(text: str, offset: int, reading: Reading, of: str = "") -> None:
    """Enter the values of a line. `of`: `eval` or `test` if its heading says so."""
    carry = reading.carry
    began = bool(carry.get("named"))
    after = dict(carry)
    step, total, rest = _place(text, after)
    # `eval step 5/50` within training: a place in the evaluation, which happens at the last step.
    within = began and total is not None and bool(EVALUATES.search(text.partition("/")[0]))
    # `epoch 3: train loss 0.4` among lines that name steps sums up what they said.
    sums_up = step == _LAST
    if within or sums_up:
        step, total = int(carry.get("step", 0)), None
    pairs = [
        (key, value)
        for key, value, tied in pairs_of(rest)
        if key not in AXES and counts(key, tied, step is not None)
    ]
    if not pairs:  # a heading, a configuration: no later value is of the step that it names
        if found := _TOTAL.search(text):
            reading.total = integer(found[1]) or reading.total
        return
    carry.update(after)
    of = evaluated(rest[: rest.find(pairs[0][0])]) or of
    own = not (within or sums_up)
    counted = False
    if step is None and carry.get("named"):
        step, own = int(carry.get("step", 0)), False
    elif step is None:
        counted = True
        names = {key for key, _ in pairs}
        own = not of and (bool(names & set(carry.get("line_names", ()))) or "lines" not in carry)
        if own:  # a name comes again: this is the next time
            carry["lines"] = int(carry.get("lines", -1)) + 1
            carry["line_names"] = []
        carry["line_names"] = sorted({*carry.get("line_names", ()), *names})[:50]
        step = int(carry.get("lines", 0))
    values = list(_series(pairs, of))
    if own:
        reading.placed(tuple(name for name, _ in values))
    told = carry.get("placed", ())
    for name, value in values:
        if not own and name in told and is_metric(name):
            name = mean_name(name)
        reading.add(name, step, math.nan, value, offset, counted=counted)
    if not counted and not within:
        carry["step"] = reading.step = step
        if total is not None:
            reading.total = total


def _series(pairs: list[tuple[str, float]], of: str) -> Iterator[tuple[str, float]]:
    """The series of a line's values. `val Loss: 0.3 Acc: 0.9` says once of what both are."""
    here = ""
    for key, value in pairs:
        name = series_name(key, of)
        if name is None:
            continue
        if " " in key:
            before = name.partition("/")[0]
            here = before if before in ("eval", "test") else ""
        elif here and is_metric(key) and canonical(key) in FOLDED:
            name = f"{here}/{canonical(key)}"
        yield name, value


def counts(key: str, tied: bool, placed: bool) -> bool:
    """Whether a named number is a metric."""
    if tied:
        return placed or is_metric(key)
    return placed and (is_metric(key) or _BESIDE_STEP.fullmatch(key) is not None)


def evaluated(text: str) -> str:
    """`eval` or `test` if a word of the text says that this is what follows."""
    found = EVALUATES.search(text)
    if found is None:
        return ""
    return "test" if found[1].lower().startswith("test") else "eval"


def _place(text: str, carry: Carry) -> tuple[int | None, int | None, str]:
    """The step that a line names, how many there will be, and the line without that. `_LAST` for
    the last one that was named."""
    found = OF_EPOCH.search(text)
    if found is not None:
        epoch, n, per_epoch = int(found[1]), integer(found[3]), integer(found[4])
        if n is not None and per_epoch and n <= per_epoch:
            if epoch == 0:
                carry["from0"] = True
            passed = max(0, epoch - (0 if carry.get("from0") else 1))
            total = int(found[2]) * per_epoch if found[2] else None
            carry["named"] = True
            return passed * per_epoch + n, total, without(text, found)
    marks = list(MARK.finditer(text))
    epochs = [mark for mark in marks if mark[1].lower() in ("epoch", "ep")]
    # `batch 32` alone may be its size.
    others = ("epoch", "ep") if epochs else ("epoch", "ep", "batch")
    steps = [mark for mark in marks if mark[1].lower() not in others]
    step = integer(steps[0][2]) if steps else None
    if step is not None:
        rest = without(text, steps[0])
        total = integer(steps[0][3])
        epoch_mark = epochs[0] if epochs else None
        if epoch_mark is not None and not EVALUATES.search(text[: epoch_mark.start()]):
            step, total = _unrolled(epoch_mark, step, total, carry)
        carry["named"] = True
        return step, total, rest
    if epochs and (number_of := integer(epochs[0][2])) is not None:
        rest = without(text, epochs[0])
        if carry.get("named") and not carry.get("by_epoch"):
            return _LAST, None, rest
        carry["named"] = carry["by_epoch"] = True
        return number_of, integer(epochs[0][3]), rest
    return None, None, text


def without(text: str, found: re.Match[str]) -> str:
    return text[: found.start()] + " | " + text[found.end() :]


def _unrolled(
    epoch_mark: re.Match[str], step: int, per: int | None, carry: Carry
) -> tuple[int, int | None]:
    """A step named beside an epoch. It counts within the epoch if it falls when the epoch rises,
    or if it is further than its epoch can be; until that is known the total is not."""
    epoch, epochs = integer(epoch_mark[2]) or 0, integer(epoch_mark[3])
    last_epoch, base, last, last_per, within, *more = carry.get(
        "unroll", (epoch, 0, -1, None, None, step, None, True)
    )
    first, usual, regular = more or (1, None, False)  # not kept by a version before
    if epoch > last_epoch:
        if step <= last:
            within = True
            base += last_per or _length(first, last, usual, regular)
        elif within is None:
            within = False
        first, regular = step, True
    elif epoch < last_epoch:  # begun anew
        base, first = 0, step
    elif step > last >= 0:
        usual = usual or step - last
        regular = step - last == usual
    if within is None and per and epochs and epochs > 1:
        passed = epoch + (1 if carry.get("from0") or epoch == 0 else 0)
        if step * epochs > per * passed * 1.0001:
            within = True
    carry["unroll"] = [epoch, base, step, per, within, first, usual, regular]
    if per is None or within is None:
        return base + step, None
    if within:
        return base + step, per * epochs if epochs else None
    return step, per


def _length(first: int, last: int, usual: int | None, regular: bool) -> int:
    """Steps of an epoch of which the first and the last that were printed are known, and how many
    usually lie between two; `regular` if that held at its end, so that one more would come next."""
    if usual is None:
        return last or 1
    if regular:
        return last + usual - first
    return last + 1 - min(first, 1)  # its last step is printed as well
