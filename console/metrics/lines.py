"""Lines of a log that name a step, iteration or epoch beside values: `step 10: loss 1.2, lr=1e-4`.

A number is a metric only if its name is a known one or if it is tied to its name (`:`, `=`) on a
line that names a step; never inside a version, date, address or path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from traindeck.console.metrics.names import FOLDED, canonical, mean_name, series_name
from traindeck.console.metrics.numerals import integer, is_metric, is_never, number
from traindeck.console.metrics.reading import Carry, Reading

EVALUATES = re.compile(
    r"(?<![\w./-])(valid(?:at(?:e|ing|ion))?|val|eval(?:uat(?:e|ing|ion))?|testing|test|dev)"
    r"(?![\w./-])",
    re.I,
)
"""A word that says that what follows was measured of evaluation data."""

_CONFIGURES = re.compile(
    r"(?:Namespace|Conf(?:ig|iguration)|Arg(?:ument)?s|Param(?:eter)?s|Options|Settings)\(\w+=",
    re.I,
)
"""`Namespace(lr=0.1, epochs=90)`, `TrainConfig(steps=900, lr=1e-3)`."""

_RESULT = re.compile(
    r"(?:^|[_/. -])(?:scores?|returns?|errors?|success\w*|mse|mae|rmse|[wc]er|fid|psnr|m?iou|map)$",
    re.I,
)
"""Names of results, beside those that `is_metric` knows: `Steps: 10000 | Score: 21`."""

_WITHIN = re.compile(
    EVALUATES.pattern + r"\)?[:\s]{0,3}(?:\[\d+\]\s?)?\[\s{0,8}\d+\s{0,3}(?:/\s{0,8}\d+\s?)?\]",
    re.I,
)
"""`Test: [ 10/196]`, `Epoch(val) [1][313/313]`: a place in an evaluation."""

MARK = re.compile(
    r"(?:(?<![\w./-])|(?<=\d/))(global[_ ]step|num[_ ]updates|step|iteration|iter\(train\)|iter|it"
    r"|batch|epoch|ep|episode)s?(?!\w)[\s:=#\[|]{0,12}"
    r"(\d(?:[\d,]{0,13}\d)?)"
    r"(?:\s{0,4}(?:/|of)\s{0,12}(\d(?:[\d,]{0,13}\d)?))?(?![\d.]*[\w%])",
    re.I,
)
OF_EPOCH = re.compile(
    r"(?:(?<![\w./-])(?:epoch(?:\(train\))?|train:)(?!\w)[\s:=#\[|]{0,6}"
    r"|^\[(?=\d{1,7}/\d{1,7}\]\s?\[))(\d{1,7})(?:\s{0,4}(?:/|of)\s{0,4}(\d{1,7}))?(?!\.?\d)"
    r"[\]\s:|,\[(-]{1,12}(\d[\d,]{0,14})\s{0,6}/\s{0,6}(\d[\d,]{0,14})(?![\d/])",
    re.I,
)
"""`Epoch: [0][ 100/5005]`, `Train Epoch: 1 [25600/60000 (43%)]`, `| epoch 1 | 200/2983 batches`,
`Train: 0 [ 50/1251 (4%)]`, `Epoch(train) [1][ 50/1509]`, `[0/5][50/1583]`."""

EPOCHS = ("epoch", "ep", "episode")
"""Words whose number counts what holds steps."""

_UNDER = re.compile(
    r"(?:(?=[\[\d]|.{0,20}?INFO).{0,120}?(?:[\]|>-]\s{1,4}|\bINFO(?::[\w.]{1,60})?:?\s{0,8}))?"
    r"\W{0,80}(?:(?:start(?:ing)?|begin(?:ning)?|train(?:ing)?) )?epoch\W{1,3}"
    r"(\d{1,7})(?:\s?(?:/|of)\s?(\d{1,7}))?(?!\.\d)(?: (?:started|starts|begins))?\W{0,80}",
    re.I,
)
"""`Epoch 2/10`, `===== Epoch 2 =====`, `INFO:root:Epoch 2`: what stands below is of that epoch."""

_ROUND = re.compile(r"\[?(\d{1,9})[\]:]\t")
"""`[10]<tab>train-rmse:0.1`, as boosted trees are told of."""

_NO_STEP = re.compile(
    r"(?<![\w./-])(?:global[_ ]step|step|iteration|iter)\s?[:=]\s?(?:-\d|\d{16})", re.I
)
"""What is called a step and cannot be one: its line has no place."""

_PAIR = re.compile(
    r"(?<![\w./@\\-])(?P<key>[^\W\d][\w./@-]{0,60}(?:'s [\w./@-]{1,60})?"
    r"(?: (?:loss|rate|norm|accuracy|acc|scale|ppl|bpb|reward)\b(?: (?:value|PPL)\b)?)?)"
    r"(?P<tie>\s{0,3}[:=]\s{0,8}|\s{1,8})"
    r"(?:(?:np\.float\d\d|tensor|array)\(\[?|(?P<only>\[))?"
    r"(?P<value>[-+]?(?:\d[\d,]{0,15}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][-+]?\d{1,4})?|[-+]?(?:nan|inf)\b)"
    r"(?:(?P<unit>[kKMG])(?![\w/.-]))?"
    r"(?P<after>\S{0,3})",
    re.I,
)
UNITS = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_AFTER = re.compile(r"[,;|)\]}%'\"]|[munµ]?s\b|[KMGT]i?B|x\b|/s|/sec\b|it/s|\.{1,3}\Z")
_AFTER_WORD = re.compile(r"[A-Za-z] \Z")
_SHARE = re.compile(r"acc(?:uracy)?", re.I)
_OF = re.compile(r"/(\d{1,12})\b")
_BESIDE_STEP = re.compile(
    r"mfu|lr|grad|g?norm|grad[_ ]?norm|acc@\d|tok(?:en)?s?/s(?:ec)?|tps", re.I
)
"""Names that are metrics where a step is named, though neither `=` nor `:` follows them."""

_TOTAL = re.compile(
    r"(?<![\w.-])(?:(?:max_(?:iters|steps)|num_train_steps|num_training_steps|total_steps|train_iters"
    r"|total (?:optimization |training |train )?steps)\s{0,3}[:=]\s{0,3}"
    r"|total steps (?=\d{1,12} \(warmup ))"  # torchtitan's
    r"(\d[\d,]{0,14})(?![\d.]*\w)",
    re.I,
)


AXES = ("step", "v_num")
"""Names that `pairs_of` gives too though they are no metrics: a bar is placed by them."""

GLOBAL = ("global step", "global_step", "num updates", "num_updates")
"""Words whose number is a step, whatever else the line counts."""

_MEAN = re.compile(r"\s?\(\s{0,4}([-+]?[\d.]{1,20}(?:[eE][-+]?\d{1,4})?)\)")
"""`Loss 6.9 (7.1)`: the last batch's, and the mean so far."""

_SAID = re.compile(r"(?:train|training|val|valid|validation|eval|evaluation|test) \w+", re.I)
"""A name that says enough for a number of decimals to be a metric, without anything else."""

_BEST = re.compile(r"(?<!new )\b(?:best|highest|lowest|prev|previous)[ _](?:\w+ )?\Z", re.I)
"""Before a value of another step than the line's. `new best` is of this one."""

_BEST_EPOCH = re.compile(r"\bbest (?:\w+ ){0,2}(?:epoch|step|iter\w*)\b[\s:=#]{0,3}\d", re.I)
"""`Best epoch: 4 with val loss 0.5`"""

_HEAD = re.compile(r"(?:\btrain(?:ing)?|" + EVALUATES.pattern + r")\W{1,4}\Z", re.I)
"""`| val: ` before `loss 0.5`: of what the values behind it were measured."""
_SHORTEST = 4
"""Characters between two values that may be such a word: `dev `."""
_BEFORE = 40
"""Characters before a name that are looked at for such words."""

BACK = re.compile(r"\b(?:(?:best|highest|lowest)(?:_|\b)|(?:load|restor)(?:ed|ing)\b)", re.I)
"""`Best val loss: 0.5 at epoch 4`: words before what was measured earlier, or of its name."""


class Placed(Enum):
    """How a line tells where its values belong."""

    NOT = 0
    HERE = 1
    """At the step that it names."""
    LAST = 2
    """It names an epoch among lines that name steps: it sums up what they said."""
    WITHIN = 3
    """It names a place in an evaluation, which happens at the last step."""
    NOWHERE = 4
    """At a step that is none."""


class Place(NamedTuple):
    """Where the values of a line belong: how, at which step, of how many, and the line without
    that."""

    how: Placed
    step: int | None
    total: int | None
    rest: str


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
        if ". " in key and not evaluated(key.partition(".")[0]):
            key = key.partition(". ")[2]  # `Epoch 1 done. Loss: 0.1`
        if "'" in key:
            key = key.replace("'s ", "-")
        tied = bool(found["tie"].strip())
        value = number(found["value"])
        shared = False
        if value is None or not key:
            value = None
        elif key.lower() in AXES and "=" in found["tie"]:
            key = key.lower()
        elif is_never(key) or (found["tie"] == ":" and _in_code(text, found, key)):
            value = None
        else:
            if found["unit"]:
                value *= UNITS.get(found["unit"], 1.0)
            after = found["after"]
            if after.startswith("/") and _SHARE.search(key):
                shared = True
                of = _OF.match(text, found.end() - len(after))
                value = value / int(of[1]) if of is not None and int(of[1]) else None
            elif (after and not _AFTER.match(after)) or (found["only"] and after[:1] != "]"):
                value = None
        yield Pair(key, value, tied, shared, found)


def _in_code(text: str, found: re.Match[str], key: str) -> bool:
    """Whether a name and a number are a place in code: `olmo.train:42`, `__main__:train:42`."""
    return ("." in key or text[: found.start()].endswith(":")) and not is_metric(key)


def read_line(text: str, offset: int, reading: Reading, of: str = "") -> None:
    """Enter the values of a line. `of`: `eval` or `test` if its heading says so."""
    carry = reading.carry
    began = bool(carry.get("named"))
    after = dict(carry)
    how, step, total, rest = place_of(text, after)
    if how is Placed.NOWHERE:
        return
    if summary := text.startswith("*") and "evaluated" in carry:
        how, of = Placed.WITHIN, carry["evaluated"]  # of an evaluation: ` * Acc@1 76.1 Acc@5 92.8`
    pairs = [
        pair
        for pair in matches_of(rest)
        if pair.value is not None
        and pair.key not in AXES
        and (counts(pair.key, pair.tied, how is not Placed.NOT) or _is_said(pair))
    ]
    # Most lines hold none of the words of `_BEST`, `_BEST_EPOCH` and `BACK`, which are dear.
    folded = text.lower()
    earlier = "est" in folded or "prev" in folded or "load" in folded
    if earlier and how is not Placed.NOT:
        pairs = [pair for pair in pairs if not _before(_BEST, pair)]
    # Nothing that comes later is of the step that a heading or a configuration names.
    keys = [pair.key for pair in pairs]
    if not pairs or (configures(text, keys) and not _advances(keys, step, carry)):
        if found := _TOTAL.search(text):
            reading.total = integer(found[1]) or reading.total
        begin_epoch(text, carry)
        return
    start = pairs[0].match.start()
    if earlier:
        if how is Placed.NOT and _BEST.search(rest, 0, start):
            return  # said before, or of another epoch
        last = int(carry.get("step") or 0)
        until = pairs[0].match.start("value")
        if how is Placed.HERE and _looks_back(rest[:until], step or 0, last):
            return
        if _BEST_EPOCH.search(text, 0, pairs[0].match.end()):
            return
    carry.update(after)
    of = of if summary else evaluated(rest[:start]) or of
    if how is Placed.WITHIN and not summary:
        of = carry["evaluated"] = evaluated(text)
    own = how is Placed.HERE
    counted = not own and not began
    values = list(_series(pairs, of, mean=not own and (began or how is Placed.WITHIN)))
    if counted:
        step, own = _counted(values, how, carry)
    elif not own and step is None:
        step = int(carry.get("step", 0))
    if own:
        values = [
            (reading.called(name, key) if is_metric(name) else name, key, value)
            for name, key, value in values
        ]
        reading.placed(tuple(name for name, _, _ in values))
    told = carry.get("placed", ())
    for name, _, value in values:
        if not own and name in told and is_metric(name):
            name = mean_name(name)
        reading.add(name, step or 0, math.nan, value, offset, counted=counted)
    if not counted and how is not Placed.WITHIN:
        carry["step"] = reading.step = step
        if total is not None:
            reading.total = total


def configures(text: str, names: list[str]) -> bool:
    """Whether a line tells a configuration: `lr=0.1 epochs=90` says how many there will be. Where
    a result stands beside it (`steps: 10 loss: 5.4`), that many are over."""
    if "(" in text and _CONFIGURES.search(text):
        return True
    if any(is_metric(name) or _RESULT.search(name) for name in names):
        return False
    marks = [found for found in MARK.finditer(text) if found[1].lower() != "batch"]
    return bool(marks) and all(text[found.end(1)] in "sS" for found in marks)


def _advances(keys: list[str], step: int | None, carry: Carry) -> bool:
    """Whether what looks like a configuration came before with a smaller number: `iterations: 20
    residual: 0.4` tells a place then, not how many there will be."""
    before, last = carry.get("configured", (None, 0))
    carry["configured"] = [keys[:50], step or 0]
    return bool(before == keys[:50] and (step or 0) > last)


def _looks_back(before: str, step: int, last: int) -> bool:
    """Whether values are those of an earlier step, by the words before and the step there."""
    found = BACK.search(before)
    return found is not None and (step < last or "stop" in before[: found.start()].lower())


def _counted(values: list[tuple[str, str, float]], how: Placed, carry: Carry) -> tuple[int, bool]:
    """The number of a line among those that name no step, and whether it begins: it does if a name
    comes again."""
    names = {name for name, _, _ in values}
    seen = set(carry.get("line_names", ()))
    begins = how is not Placed.WITHIN and ("lines" not in carry or bool(names & seen))
    if begins:
        carry["lines"] = int(carry.get("lines", -1)) + 1
        seen = set()
    carry["line_names"] = sorted(seen | names)[:50]
    return int(carry.get("lines", 0)), begins


def _series(pairs: list[Pair], of: str, *, mean: bool) -> Iterator[tuple[str, str, float]]:
    """The series of a line's values, with the names there. `val Loss: 0.3 Acc: 0.9` says once of
    what both are, and so does `train: loss 0.4 | val: loss 0.3`. `mean`: of a value beside a mean,
    the mean is meant."""
    here, said, end = "", set[str](), 0
    for pair in pairs:
        key, value = pair.key, pair.value
        wide = end and pair.match.start() - end >= _SHORTEST
        head = _before(_HEAD, pair) if wide else None
        end = pair.match.end("value")
        if head is not None:
            of, here = "", evaluated(head[0])
        name = series_name(key, of)
        if name is None or value is None:
            continue
        if " " in key and head is None:
            before = name.partition("/")[0]
            here = before if before in ("eval", "test") else ""
        elif here and (head or name in said or (is_metric(key) and canonical(key) in FOLDED)):
            name = series_name(key, here) or name
        said.add(name)
        if mean and (found := _MEAN.match(pair.match.string, pair.match.end("value"))):
            value = number(found[1])
        yield name, key, value if value is not None else math.nan


def _before(words: re.Pattern[str], pair: Pair) -> re.Match[str] | None:
    """Words that stand right before a name."""
    start = pair.match.start()
    return words.search(pair.match.string, max(0, start - _BEFORE), start)


@lru_cache(maxsize=4096)
def counts(key: str, tied: bool, placed: bool) -> bool:
    """Whether a named number is a metric."""
    if tied:
        return placed or is_metric(key)
    return placed and (is_metric(key) or _BESIDE_STEP.fullmatch(key) is not None)


def _is_said(pair: Pair) -> bool:
    """Whether a name alone makes its number a metric: `val loss 11.009`, `train loss nan`."""
    return (
        _SAID.fullmatch(pair.key) is not None
        and is_metric(pair.key)
        and not pair.match["value"].lstrip("+-").replace(",", "").isdecimal()
    )


def evaluated(text: str) -> str:
    """`eval` or `test` if a word of the text says that this is what follows."""
    found = EVALUATES.search(text)
    if found is None:
        return ""
    return "test" if found[1].lower().startswith("test") else "eval"


def place_of(text: str, carry: Carry) -> Place:
    """Where a line says that its values belong."""
    found = OF_EPOCH.search(text)
    if found is not None and "global" not in text and "num" not in text:  # of GLOBAL
        epoch, n, per_epoch = int(found[1]), integer(found[3]), integer(found[4])
        if n is not None and per_epoch and n <= per_epoch:
            rest = without(text, found)
            if carry.get("named") and EVALUATES.search(text, 0, found.start()):
                return Place(Placed.WITHIN, None, None, rest)
            total = int(found[2]) * per_epoch if found[2] else None
            carry["named"] = carry["of_epoch"] = True
            return Place(Placed.HERE, _passed(epoch, carry) * per_epoch + n, total, rest)
    elif "[" in text and (within := _WITHIN.search(text)):
        return Place(Placed.WITHIN, None, None, without(text, within))
    marks = list(MARK.finditer(text))
    main = next((mark for mark in marks if mark[1].lower() in GLOBAL), None)
    epochs = [
        mark
        for mark in marks
        if mark[1].lower() in EPOCHS
        and (mark[3] or not mark[0].lower().startswith("epochs") or _rises(mark, marks, carry))
    ]
    # `batch 32` alone may be its size, but for `batch 3:` and `batch 3/10` below `Epoch 2`.
    others = EPOCHS if epochs else (*EPOCHS, "batch")
    mark = main or next((mark for mark in marks if mark[1].lower() not in others), None)
    if (under := carry.get("under")) and mark is None and not epochs:
        mark = next((mark for mark in marks if mark[1].lower() == "batch" and _counts(mark)), None)
        evaluates = mark is not None and EVALUATES.search(text, 0, mark.start())
        if mark is not None and evaluates:
            return Place(Placed.WITHIN, None, None, without(text, mark))
        if mark is not None and _another_loop(under[0], mark, carry):
            return Place(Placed.NOWHERE, None, None, text)
    step = integer(mark[2]) if mark else None
    if mark is not None and step is not None:
        rest, total = without(text, mark), integer(mark[3])
        inside = total is not None or step < int(carry.get("step") or 0)
        if inside and carry.get("named") and EVALUATES.search(text, 0, mark.start()):
            return Place(Placed.WITHIN, None, None, rest)
        if main is not None:
            if found is not None:
                carry["of_epoch"] = True
            elif epochs and carry.get("of_epoch"):
                return Place(Placed.LAST, step, None, rest)
        elif epochs and not EVALUATES.search(text, 0, epochs[0].start()):
            epoch, of = integer(epochs[0][2]) or 0, integer(epochs[0][3])
            step, total = unrolled(epoch, of, step, total, carry)
        elif not epochs and under:
            step, total = unrolled(under[0], under[1], step, total, carry)
        carry["named"] = True
        return Place(Placed.HERE, step, total, rest)
    if epochs and (number_of := integer(epochs[0][2])) is not None:
        rest = without(text, epochs[0])
        if carry.get("named") and not carry.get("by_epoch"):
            return Place(Placed.LAST, None, None, rest)
        carry["named"] = carry["by_epoch"] = True
        return Place(Placed.HERE, number_of, integer(epochs[0][3]), rest)
    if found := _ROUND.match(text):
        carry["named"] = True
        return Place(Placed.HERE, int(found[1]), None, text[found.end() :])
    if _NO_STEP.search(text):
        return Place(Placed.NOWHERE, None, None, text)
    return Place(Placed.NOT, None, None, text)


def _rises(mark: re.Match[str], marks: list[re.Match[str]], carry: Carry) -> bool:
    """Whether `Epochs: 3` came after `Epochs: 2`, or began as the first one beside a step, so that
    it does not say how many there will be."""
    number_of = integer(mark[2]) or 0
    steps = any(other[1].lower() not in (*EPOCHS, "batch") for other in marks)
    last, rising = carry.get("epochs_said", (None, False))
    rising = rising or number_of - 1 == last or (steps and number_of <= 1)
    carry["epochs_said"] = [number_of, rising]
    return bool(rising)


def _counts(mark: re.Match[str]) -> bool:
    """Whether a number behind `batch` says which one, not how large."""
    tied = set(mark.string[mark.end(1) : mark.start(2)]) & {":", "="}
    return mark[3] is not None or (not tied and mark.string[mark.end() :].startswith(":"))


def _another_loop(epoch: int, mark: re.Match[str], carry: Carry) -> bool:
    """Whether batches are not those that an epoch began with, by how many they are or by beginning
    again: of its validation, below a heading that is not known."""
    last_epoch, _, last, per, *_ = carry.get("unroll") or (None, 0, -1, None)
    step, total = integer(mark[2]) or 0, integer(mark[3])
    return bool(per and total and total != per) or (epoch == last_epoch and step < last)


def without(text: str, found: re.Match[str]) -> str:
    return text[: found.start()] + " | " + text[found.end() :]


def begin_epoch(text: str, carry: Carry) -> None:
    """Note of which epoch the steps below a line are, if that is what it announces."""
    if found := _UNDER.fullmatch(text):
        carry["under"] = [int(found[1]), int(found[2]) if found[2] else None]


def unrolled(
    epoch: int, epochs: int | None, step: int, per: int | None, carry: Carry
) -> tuple[int, int | None]:
    """A step named beside or below an epoch. It counts within the epoch if it falls when the
    epoch rises, or if it is further than its epoch can be; until that is known the total is not."""
    began: list[Any] = carry.get("unroll") or _begun(epoch, epochs, step, per, carry)
    last_epoch, base, last, last_per, within, *more = began
    first, usual, regular = more or (1, None, False)  # not kept by a version before
    if epoch > last_epoch:
        if step <= last:
            within = True
            carry["per_epoch"] = last_per or _length(first, last, usual, regular)
            base += carry["per_epoch"]
        elif not carry.get("per_epoch"):
            within, base, carry["per_epoch"] = False, 0, 0
        first, regular = step, True
    elif epoch < last_epoch:  # begun anew
        base = _passed(epoch, carry) * carry.get("per_epoch", 0) if within else 0
        first = step
    elif step > last >= 0:
        usual = usual or step - last
        regular = step - last == usual
    if within is None and per and epochs and epochs > 1:
        passed = _passed(epoch, carry)
        if step * epochs > per * (passed + 1) * 1.0001:
            within, base = True, passed * per
    carry["unroll"] = [epoch, base, step, per, within, first, usual, regular]
    if per is None or within is None:
        return base + step, None
    if within:
        return base + step, per * epochs if epochs else None
    return step, per


def _begun(epoch: int, epochs: int | None, step: int, per: int | None, carry: Carry) -> list[Any]:
    """What `unrolled` begins with. A log may begin in a later epoch: that of a training that goes
    on. Its steps count within the epoch if an attempt before told so, or if the first one is too
    small or too large for one of the whole training. `per_epoch` of 0: they do not."""
    passed, per = _passed(epoch, carry), per or 0
    known: int | None = carry.get("per_epoch")
    share = step * (epochs or 0)
    within = step <= 1 or (epochs and not per * passed <= share <= per * (passed + 1) * 1.0001)
    if known == 0:
        return [epoch, 0, -1, None, False, step, None, True]
    base = passed * (known if known and step <= known else per if within else 0)
    return [epoch, base, -1, None, True if base else None, step, None, True]


def _passed(epoch: int, carry: Carry) -> int:
    """How many epochs lie before one: people count from 1, or from 0 if they have said so."""
    if epoch == 0:
        carry["from0"] = True
    return max(0, epoch - (0 if carry.get("from0") else 1))


def _length(first: int, last: int, usual: int | None, regular: bool) -> int:
    """Steps of an epoch of which the first and the last that were printed are known, and how many
    usually lie between two; `regular` if that held at its end, so that one more would come next."""
    if usual is None:
        return last or 1
    if regular:
        return last + usual - first
    return last + 1 - min(first, 1)  # its last step is printed as well
