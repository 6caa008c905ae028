"""Metrics out of what scripts print, without any change to them.

Understood are: the dictionaries of HF's Trainer and TRL (version 5 prints quoted strings of 4
digits and no step) and of others, JSON objects, tqdm, Keras and Lightning bars with their values
(`bars`), tables (`tables`), and lines that name a step, iteration or epoch beside `key value`,
`key: value` or `key=value` pairs (`lines`: nanoGPT, torchtitan, Megatron, most scripts of one's
own). Values have the digits that were printed. What is read of which program stands in a table of
the tests, tests/metrics/data/programs.yaml.

This is a reading of text that may be anything: a line is looked at in time linear in its length, at
most `LINE` bytes of it, and what is not clearly a metric is left alone.

Where the step of a dictionary comes from. With a progress bar: the bar that is drawn again right
after it (the outer one comes first). Without: dictionaries are counted, one logging interval each.
How many steps that is, is known from the caller (`logging_steps` among the run's parameters) or
from the Trainer's last line (run time × steps a second ÷ epochs gives the steps of an epoch, two
epochs their distance); until then the points are `counted`, and once it is known the log is read
again. A run that was resumed begins at the count its first epoch stands for.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from traindeck.console.metrics.bars import read_bar, read_keras
from traindeck.console.metrics.lines import Placed, begin_epoch, evaluated, place_of, read_line
from traindeck.console.metrics.names import MEAN_LOSS, mean_name, series_name
from traindeck.console.metrics.numerals import is_metric, is_never, real, whole
from traindeck.console.metrics.reading import LONGEST, Carry, Reading
from traindeck.console.metrics.tables import read_row, rows_in
from traindeck.console.metrics.templates import consider, read_known

OF_THE_PROGRAM = ("from0", "per_epoch", "called")
"""What the state keeps that is true of the next attempt's log as well."""

LINE = 4096
"""Bytes of a line (or of one state of a progress bar) that are looked at."""

_FOLDED = bytes(range(256)).lower().replace(b"\r", b"\n")
_WORDS = tuple(
    word.encode()
    for word in (
        *("loss", "acc", "ppl", "perplex", "reward", "step", "iter", "epoch", "bleu", "rouge"),
        *("f1", "auc", "bpb", "kl", "max_", "it ", "it=", "it:", "%|", "{", "]\t", "\tlearn:"),
    )
)
"""A line is looked at if it holds one of these: most lines of most logs do not."""

_RANK = re.compile(
    r"\[?(?:[Rr]ank|default|GPU|gpu|cuda:)[\s_:=#]{0,2}(\d{1,5})(?!\w)|\[\d+,(\d{1,5})\]<std"
)
"""How the lines of one of several processes begin."""
_RANK_WITHIN = re.compile(r"(?<![\w./-])(?<![a-z] )\[?rank[\s_]?(\d{1,5})\]?(?![\w%]|\.\d)", re.I)
"""`step 4 rank 1 loss 0.5`, `10:00:00 - rank1 - INFO`: a process' rank further on. What is tied to
its name, or is a `mean rank`, may be a measure."""

_HEAD = 90
"""Characters in which it stands."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")
_BANNER = re.compile(rb"\W{3,}[A-Za-z][^\n]{0,80}?\W{3,}")
"""`***** Eval results *****`"""
_KERAS_EPOCH = re.compile(r"Epoch (\d{1,6})/(\d{1,6})\s*$")

_ITEM = r"'([^'\\]{1,120})': (?:'([^'\\]{0,60})'|([-+\w.]{1,40}))"
_FLAT = re.compile(rf"\{{{_ITEM}(?:, {_ITEM}){{0,200}}\}}")
_ITEMS = re.compile(_ITEM)
_WRAPPED = re.compile(r"(?:np\.float\d\d|tensor|array)\(\[?([-+\d.eE]+|nan|inf)\]?[^()<>]{0,60}\)")
_BARE = re.compile(r"(?<=[\s:\[,])([-+]?(?:nan|inf))(?=[\s,}\]])")
_STEPS = ("global_step", "step", "current_steps", "iteration", "iter")
_TOTALS = ("max_steps", "total_steps")
_SUMMARY = "train_runtime"
_BELOW = 8
"""Lines that a heading is looked for above."""
_EXACT = 400
"""Steps up to which an epoch of 4 digits names one."""
_FIRST = 2.5
"""Epochs of the second dictionary over the first one's: 2 if both end an interval."""
_WAITING = 12
"""Dictionaries kept back until their place is known."""


def read_stdout(
    data: bytes, carry: Carry, *, final: bool = False, cadence: int = 0, resumed: bool = False
) -> Reading:
    """Points in a stretch of a log.

    Args:
        data: Bytes from where the last read ended.
        final: The log is complete: its last line counts though nothing ends it.
        cadence: Steps between two dictionaries without a step, if it is known.
        resumed: The run may not have begun at step 0.
    """
    reading = Reading(carry=dict(carry))
    if cadence and "cadence" not in reading.carry:
        reading.carry["cadence"] = cadence
    end = len(data) if final else max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    if end == 0 and len(data) > LONGEST:
        end = len(data)
    reading.consumed = end
    for start, stop in _worth_a_look(data[:end], carry):
        of = _heading(data, start, carry) if data[start : start + 1] in (b" ", b"\t") else ""
        line = data[start : min(stop, start + LINE)]
        if start + LINE < stop:  # no word is read as its beginning: of 12345 that would be 12
            line = line[: max(line.rfind(b" "), line.rfind(b"\t")) + 1]
        _line(line.decode("utf-8", "replace"), start, reading, resumed, of)
    if end:
        reading.carry["heading"] = _heading(data, end, carry)
    if final:
        _settle(reading, resumed, last=True)
    return reading


def _worth_a_look(data: bytes, carry: Carry) -> list[tuple[int, int]]:
    """Where lines (or states of a bar) begin and end that hold one of the words, or belong to a
    table."""
    folded = data.translate(_FOLDED)
    found: dict[int, int] = {}
    for word in _WORDS:
        at = folded.find(word)
        while at >= 0:
            end = folded.find(b"\n", at)
            end = len(folded) if end < 0 else end
            found[folded.rfind(b"\n", 0, at) + 1] = end
            at = folded.find(word, end)
    found.update(rows_in(folded, carry))
    return sorted(found.items())


def _heading(data: bytes, at: int, carry: Carry) -> str:
    """`eval` or `test` if that is what an indented line here stands below: `Test Error:`."""
    for _ in range(_BELOW):
        if not at:
            return str(carry.get("heading", ""))
        start = data.rfind(b"\n", 0, at - 1) + 1
        line = data[start : at - 1][:LINE].rstrip()
        if line.endswith(b":") or _BANNER.fullmatch(line):
            return evaluated(line.decode("utf-8", "replace"))
        if data[start : start + 1] not in (b" ", b"\t"):
            return ""
        at = start
    return ""


def _line(text: str, offset: int, reading: Reading, resumed: bool, of: str) -> None:
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    text = text.rstrip("\b").strip()  # Keras goes back over what it drew
    rank, said = _rank(text)
    if rank is not None:
        # Of processes that say the same, each of its own share, the first one counts.
        first = reading.carry.get("rank", math.inf)
        if rank <= first:
            before = reading.size() if rank < first else 0
            _line(said, offset, reading, resumed, of)
            if rank < first and reading.size() > before:
                reading.carry["rank"] = rank
        return
    if not of and "keras" not in reading.carry and read_known(text, offset, reading):
        return
    opened = text.find("{")
    if opened >= 0 and text.endswith("}"):
        values = _dictionary(text[opened:])
        if values is not None:
            # A bar on stderr that was not ended stands before it on the same line.
            head = text[:opened]
            if opened and _bar(head, offset, reading):
                head = ""
            _logged(values, offset, reading, resumed, head)
            return
    if read_row(text, offset, reading) or _bar(text, offset, reading):
        return
    if found := _KERAS_EPOCH.match(text):
        reading.carry["keras"] = [int(found[1]), int(found[2])]
        begin_epoch(text, reading.carry)
        return
    if not read_keras(text, offset, reading):
        read_line(text, offset, reading, of)
        if not of:
            consider(text)


def _rank(text: str) -> tuple[int | None, str]:
    """Which of several processes says a line, None if it does not tell, and what it says."""
    if text[:1] in "[rRdgGc" and (found := _RANK.match(text)):
        return int(found[1] or found[2]), text[found.end() :]
    if "ank" in text and (found := _RANK_WITHIN.search(text, 0, _HEAD)):
        return int(found[1]), text[: found.start()] + text[found.end() :]
    return None, text


def _bar(text: str, offset: int, reading: Reading) -> bool:
    """A progress bar. One without a name and without values may be the trainer's own: it says at
    which step the dictionary before it was printed."""
    bar = read_bar(text, offset, reading)
    if bar is None:
        return False
    if bar.total and not bar.name and not bar.values:
        carry = reading.carry
        carry.setdefault("bars", "seen")
        expected = carry.get("outer")
        if carry["bars"] and carry.get("waiting") and expected in (None, bar.total):
            carry["bars"] = "matched"
            carry["outer"] = reading.total = bar.total
            _place(reading, bar.n, counted=False)
        elif expected == bar.total:
            carry["step"] = reading.step = bar.n
            reading.total = bar.total
    return True


# ------------------------------------------------------------------------------------ dictionaries


def _dictionary(text: str) -> dict[str, float] | None:
    """The numbers of a dictionary or JSON object, None if it is neither."""
    raw: Any
    if _FLAT.fullmatch(text):
        raw = {key: quoted or bare for key, quoted, bare in _ITEMS.findall(text)}
    else:
        try:
            raw = json.loads(text) if '"' in text else None
        except (ValueError, RecursionError):
            raw = None
        if raw is None:
            text = _BARE.sub(r"'\1'", _WRAPPED.sub(r"\1", text))
            try:
                raw = ast.literal_eval(text)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                return None
    if not isinstance(raw, dict):
        return None
    values = {}
    items = list(raw.items())
    if any(key in raw for key in _STEPS):  # else a configuration may have been printed
        nested = [(key, value) for key, value in items if isinstance(value, dict)]
        items += [(f"{key}/{inner}", v) for key, value in nested for inner, v in value.items()]
    for key, value in items:
        found = real(value)
        if found is not None and isinstance(key, str) and len(key) <= 120:
            values[key] = found
    return values


def _logged(
    values: dict[str, float], offset: int, reading: Reading, resumed: bool, before: str
) -> None:
    """Enter a dictionary. `before`: what stands before it on its line."""
    if not values:
        return
    named = next((values[key] for key in _STEPS if key in values), None)
    step, of = whole(named), evaluated(before)
    if named is not None and step is None:
        return  # at a step that is none
    if step is None and before:
        place = place_of(before, carry := dict(reading.carry))
        if place.how is Placed.HERE:
            reading.carry, step = carry, place.step
            reading.total = place.total or reading.total
    epoch = values.get("epoch")
    if step is None and epoch is None and not any(map(is_metric, values)):
        return  # a configuration that was printed
    total = next((whole(values[key]) for key in _TOTALS if key in values), None)
    if total:
        reading.total = total
    summary = _SUMMARY in values
    carry = reading.carry
    # Without a step among lines that name one: it sums up what they said.
    told = carry.get("placed", ()) if carry.get("named") and not carry.get("bars") else ()
    sums_up = step is None and any(series_name(key) in told for key in values)
    kept: dict[str, float] = {}
    for key, value in values.items():
        name = MEAN_LOSS if summary and key == "train_loss" else series_name(key, of)
        if name is None or (name != "epoch" and is_never(key)):
            continue
        if not sums_up:
            name = reading.called(name, key)
        elif name in told and is_metric(name):
            name = mean_name(name)
        kept[name] = value
    _settle(reading, resumed)
    evaluates = all(name.startswith(("eval/", "test/")) or name == "epoch" for name in kept)
    counts = bool(kept) and not evaluates and not summary
    carry["waiting"] = [
        *carry.get("waiting", ()),
        [kept, offset if offset >= 0 else 0, counts],
    ]
    if step is not None:
        reading.placed(tuple(kept))
        _place(reading, step, counted=False)
        return
    if sums_up:
        _place(reading, int(carry.get("step", 0)), counted=False)
        return
    if summary and not carry.get("bars"):
        _settle(reading, resumed, last=True)
        _cadence(values, reading)
        return
    if counts and epoch is not None:
        carry.setdefault("epochs", [epoch, epoch])
        carry["epochs"] = [carry["epochs"][0], epoch]
    if not carry.get("bars"):
        _settle(reading, resumed)


def _settle(reading: Reading, resumed: bool, last: bool = False) -> None:
    """Place dictionaries that no bar followed: at the last step that bars told, else counted."""
    carry = reading.carry
    waiting = carry.get("waiting")
    if not waiting:
        return
    if carry.get("bars") == "seen":
        carry["bars"] = ""  # those that were seen are somebody else's
    if carry.get("bars"):
        carry.pop("outer", None)  # perhaps another training began, with a bar of its own
        _place(reading, int(carry.get("step", 0)), counted=False)
        return
    if "base" not in carry:
        base = _base(waiting) if resumed else 0
        if base is None and not last and len(waiting) < _WAITING:
            return
        carry["base"] = base or 0
        carry["number"] = base or 0
    interval = int(carry.get("cadence") or 1)
    waiting = carry.pop("waiting")
    for values, offset, counts in waiting:
        if counts:
            _past_the_first(values.get("epoch"), carry)
            carry["number"] = int(carry.get("number", 0)) + 1
            carry["counted"] = int(carry.get("counted", 0)) + 1
        step = int(carry.get("number", 0)) * interval
        if counts and "epoch" in values:
            carry["at"] = [step, values["epoch"]]
        elif carry.get("cadence"):
            step = _between(step, values.get("epoch"), carry.get("at"))
        carry["waiting"] = [[values, offset, counts]]
        _place(reading, step, counted=not carry.get("cadence"))


def _past_the_first(epoch: float | None, carry: Carry) -> None:
    """`logging_first_step`: the first dictionary is of step 1, and no interval lies before it, if
    its epoch is much less than half of the second one's."""
    first = carry.get("epochs", (0.0,))[0]
    if carry.get("counted") == 1 and not carry.get("base") and epoch and epoch > _FIRST * first:
        carry["counted"] = 0
        carry["epochs"] = [epoch, epoch]
        if carry.get("cadence"):
            carry["number"] = 0


def _between(step: int, epoch: float | None, last: list[Any] | None) -> int:
    """The step of an evaluation some way after the last training line, by both epochs, as far as
    their 4 digits tell single steps apart; else the last line's."""
    if epoch is None or last is None or not 0 < last[1] < epoch < math.inf:
        return step
    found = float(last[0]) * epoch / float(last[1])
    return round(found) if found < _EXACT else step


def _base(waiting: list[Any]) -> int | None:
    """How many dictionaries lie before the first, judged by two epochs and their distance; None
    as long as there is one epoch only."""
    epochs = [
        float(values["epoch"]) for values, _, counts in waiting if counts and "epoch" in values
    ]
    if len(epochs) < 2 or not epochs[0] < epochs[1] < math.inf:
        return None
    return max(0, round(epochs[0] / (epochs[1] - epochs[0])) - 1)


def _place(reading: Reading, step: int, *, counted: bool) -> None:
    for values, offset, _ in reading.carry.pop("waiting"):
        for key, value in values.items():
            reading.add(key, step, math.nan, value, offset, counted=counted)
    reading.carry["step"] = step
    if not counted:
        reading.carry["named"] = True
        reading.step = step


def _cadence(values: Mapping[str, float], reading: Reading) -> None:
    """From the Trainer's last line: how many steps lie between two dictionaries.

    The line has 4 digits, so the number of steps is known to a thousandth; an interval is believed
    if that tells it from its neighbours or if it is a round number.
    """
    carry = reading.carry
    count = int(carry.get("counted", 0))
    runtime, pace = values.get(_SUMMARY), values.get("train_steps_per_second")
    end = values.get("epoch")
    if carry.get("cadence") or count < 2 or not runtime or not pace or not end:
        return
    if carry.get("base"):
        return  # of a resumed training, some versions tell all steps there, others their own
    first, last = carry.get("epochs", (0.0, 0.0))
    steps = runtime * pace
    if not (0 < first < last < math.inf and 0 < steps < 1e12 and 0 < end < math.inf):
        return
    interval = steps / end * (last - first) / (count - 1)
    doubt = interval * 1.5e-3
    nearest = round(interval) if doubt < 0.3 else round(float(f"{interval:.1e}"))
    if nearest >= 1 and abs(nearest - interval) <= max(doubt, 0.05):
        reading.carry = {"cadence": nearest}
        reading.again = True
