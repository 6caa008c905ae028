"""Metrics out of what scripts print, without any change to them.

Understood are: the dictionaries of HF's Trainer and TRL (version 5 prints quoted strings of 4
digits and no step), tqdm and Keras and Lightning bars with their postfixes, and lines that name a
step, iteration or epoch beside `key value`, `key: value` or `key=value` pairs (nanoGPT, torchtitan,
Megatron, most scripts of one's own). Values have the digits that were printed.

A dictionary without a step gets it from the progress bar that is drawn again right after it (the
outer bar comes first); where there are no bars, from counting: its step is then the number of the
dictionary. This is a reading of text that may be anything: a line is looked at in time linear in
its length, at most `LINE` bytes of it, and what is not clearly a metric is left alone.
"""

from __future__ import annotations

import ast
import math
import re

from traindeck.console.metrics.names import canonical
from traindeck.console.metrics.reading import LONGEST, Carry, Reading

LINE = 4096
"""Bytes of a line (or of one state of a progress bar) that are looked at."""

_BAR = re.compile(r"(\d{1,12})/(\d{1,12}) \[([^\]\n]{0,2000})\]?")
_BAR_EPOCH = re.compile(r"[Ee]poch[ :=#]{0,3}(\d{1,6})")
_KERAS = re.compile(r"(?:^|\s)(\d{1,9})/(\d{1,9}) \S{0,60} ?.{0,60}? - (.*)")
_KERAS_EPOCH = re.compile(r"Epoch (\d{1,6})/(\d{1,6})\s*$")
_MARK = re.compile(
    r"(?<![\w./-])(global[_ ]step|step|iteration|iter|it|epoch)s?\b[\s:=#\[|]{0,12}(\d[\d,]{0,14})"
    r"(?:\s{0,4}(?:/|of)\s{0,12}(\d[\d,]{0,14}))?(?![\d.]*[\w%])",
    re.I,
)
_PAIR = re.compile(
    r"(?P<key>[A-Za-z_][\w./-]{0,60}(?: (?:loss|rate|norm|accuracy|scale)\b)?)"
    r"\s{0,3}(?:[:=]\s{0,8}|\s)"
    r"(?P<value>[-+]?(?:\d[\d,]{0,15}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][-+]?\d{1,4})?|[-+]?(?:nan|inf)\b)"
    r"(?P<after>\S{0,3})",
    re.I,
)
_NEVER = re.compile(
    r"v_num|version|port|host|pid|rank|seed|epoch|global_?step|step|iter|iteration|it|eta|date|time"
    r"|line|exit|code|id|gpu|device|cuda|node|world_size|batch|batch_size|elapsed|http|https|samples"
    r"|consumed|skipped|number|num|total|max_steps|memory|size|of|in|at|for|took|after|and|to"
    r"|ms|per|the|from|ep|iterations|loss scale",
    re.I,
)
_KNOWN = re.compile(r"loss|acc|accuracy|ppl|perplexity|reward|bleu|rouge\w*|f1|auc|bpb|kl", re.I)
"""Names that are metrics even on a line that names no step."""
_BESIDE_STEP = re.compile(r"mfu|lr|grad|grad_norm", re.I)
"""Names that are metrics where a step is named, though neither `=` nor `:` follows them."""
_WORDS = re.compile(r"(?:^|[_/. -])(?:loss|acc|accuracy|ppl|perplexity|reward|f1|auc|bpb)$", re.I)
_AFTER = re.compile(r"[,;|)\]}%'\"]|[munk]?s\b|[KMGT]i?B|[kMGB]\b|x\b|/s")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")
_SUMMARY = "train_runtime"
_NOT_SERIES = frozenset(
    {"epoch", "step", "global_step", "total_flos", "num_input_tokens_seen"}
    | {f"{w}_{x}" for w in ("eval", "train") for x in ("runtime", "samples_per_second")}
    | {f"{w}_steps_per_second" for w in ("eval", "train")}
)


def read_stdout(data: bytes, carry: Carry, *, final: bool = False) -> Reading:
    """Points in a stretch of a log.

    Args:
        data: Bytes from where the last read ended.
        final: The log is complete: its last line counts though it has no newline.
    """
    reading = Reading(carry=dict(carry))
    end = len(data) if final else data.rfind(b"\n") + 1
    if end == 0 and len(data) > LONGEST:
        end = len(data)
    reading.consumed = end
    offset = 0
    for line in data[:end].split(b"\n"):
        if line:
            _line(line, offset, reading)
        offset += len(line) + 1
    if final:
        _settle(reading)
    return reading


def _line(line: bytes, offset: int, reading: Reading) -> None:
    if b"\r" in line:
        states = line.split(b"\r")
        # A bar that was drawn a thousand times says the same with its last few states.
        for state in states[:2] + states[max(2, len(states) - 3) :]:
            if state:
                _state(state, offset, reading)
    else:
        _state(line, offset, reading)


def _state(state: bytes, offset: int, reading: Reading) -> None:
    text = state[:LINE].decode("utf-8", "replace").strip()
    if "\x1b" in text:
        text = _ESCAPES.sub("", text).strip()
    if not text:
        return
    if text.startswith("{") and text.endswith("}"):
        _dictionary(text, offset, reading)
        return
    bar = _BAR.search(text)
    if bar is not None and "|" in text:
        _bar(text, bar, offset, reading)
        return
    if found := _KERAS_EPOCH.match(text):
        reading.carry["epoch"] = int(found[1])
        reading.carry["epochs"] = int(found[2])
        return
    if " - " in text and (found := _KERAS.search(text)):
        if found[1] == found[2]:
            _keras(found[3], int(found[2]), offset, reading)
        return
    _free(text, offset, reading)


# ------------------------------------------------------------------------------------ dictionaries


def _dictionary(text: str, offset: int, reading: Reading) -> None:
    try:
        raw = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return
    if not isinstance(raw, dict):
        return
    values: dict[str, float] = {}
    for key, value in raw.items():
        number = _float(value)
        if isinstance(key, str) and len(key) <= 120 and number is not None:
            values[key] = number
    if not values:
        return
    _settle(reading)
    step = values.get("global_step", values.get("step"))
    if step is None and "epoch" not in values and not any(map(_is_metric, values)):
        return  # a configuration that was printed
    kept = {
        ("train/mean_loss" if k == "train_loss" and _SUMMARY in values else k): v
        for k, v in values.items()
        if k not in _NOT_SERIES
    }
    waiting: dict[str, object] = {"values": kept, "offset": offset}
    if step is not None and 0 <= step < 1 << 53:
        reading.carry["waiting"] = waiting
        _place(reading, int(step))
        return
    evaluates = all(k.startswith(("eval_", "test_")) for k in kept)
    waiting["counts"] = bool(kept) and not evaluates and _SUMMARY not in values
    reading.carry["waiting"] = waiting


def _settle(reading: Reading) -> None:
    """A dictionary that no bar followed: its step is its number, unless bars told one before."""
    waiting = reading.carry.get("waiting")
    if waiting is None:
        return
    if reading.carry.get("bars"):
        _place(reading, int(reading.carry.get("step", 0)))
        return
    number = int(reading.carry.get("lines", 0))
    if waiting.get("counts"):
        number += 1
        reading.carry["lines"] = number
    _place(reading, number)


def _place(reading: Reading, step: int) -> None:
    waiting = reading.carry.pop("waiting")
    offset = waiting["offset"] if waiting["offset"] >= 0 else 0
    for key, value in waiting["values"].items():
        reading.add(canonical(key), step, math.nan, value, offset)
    reading.carry["step"] = reading.step = step


# -------------------------------------------------------------------------------------------- bars


def _bar(text: str, bar: re.Match[str], offset: int, reading: Reading) -> None:
    n, total = int(bar[1]), int(bar[2])
    if total < 2 or n > total:
        return
    if "waiting" in reading.carry:
        reading.carry["bars"] = True
        reading.carry["total"] = reading.total = total
        _place(reading, n)
    epoch = _BAR_EPOCH.search(text[: bar.start()])
    step = n
    if epoch is not None:
        step += int(epoch[1]) * total
    elif reading.carry.get("bars") and total == reading.carry.get("total"):
        reading.carry["step"] = reading.step = n
    pairs = [
        (m["key"], number)
        for part in bar[3].split(",")[1:]
        for m in [_PAIR.search(part)]
        if m is not None
        and "=" in part
        and not _NEVER.fullmatch(m["key"])
        and (number := _value(m["value"])) is not None
    ]
    last = reading.carry.get("bar")
    if pairs and last != [step, total]:
        reading.carry["bar"] = [step, total]
        for key, number in pairs:
            reading.add(canonical(key), step, math.nan, number, offset)
        reading.carry["step"] = reading.step = step
        if epoch is None:
            reading.total = total


def _keras(rest: str, per_epoch: int, offset: int, reading: Reading) -> None:
    epoch = int(reading.carry.get("epoch", 1))
    step = epoch * per_epoch
    for part in rest.split(" - "):
        key, colon, value = part.partition(":")
        number = _value(value.strip())
        if colon and number is not None and re.fullmatch(r"[A-Za-z_]\w{0,60}", key.strip()):
            reading.add(canonical(key.strip()), step, math.nan, number, offset)
    reading.carry["step"] = reading.step = step
    if epochs := reading.carry.get("epochs"):
        reading.total = int(epochs) * per_epoch


# ----------------------------------------------------------------------------------- lines of text


def _free(text: str, offset: int, reading: Reading) -> None:
    if not any(char.isdigit() for char in text) and "nan" not in text.lower():
        return
    marks = list(_MARK.finditer(text))
    mark = next((m for m in marks if m[1].lower() != "epoch"), marks[0] if marks else None)
    step = _integer(mark[2]) if mark is not None else None
    rest = text if mark is None else text[: mark.start()] + " | " + text[mark.end() :]
    pairs = []
    for m in _PAIR.finditer(rest):
        key, number = m["key"].rstrip(".-/"), _value(m["value"])
        if number is None or _NEVER.fullmatch(key) or not _ends(m, rest):
            continue
        joined = any(sign in m[0][len(m["key"]) :][:8] for sign in ":=")
        if step is None and not (joined and _is_metric(key)):
            continue
        if not joined and not _is_metric(key) and not _BESIDE_STEP.fullmatch(key):
            continue
        pairs.append((key, number))
    if not pairs:
        return
    if step is None:
        step = int(reading.carry.get("free", -1)) + 1
        reading.carry["free"] = step
    for key, number in pairs:
        reading.add(canonical(key), step, math.nan, number, offset)
    reading.carry["step"] = reading.step = step
    if mark is not None and mark[3] is not None and mark[1].lower() != "epoch":
        reading.total = _integer(mark[3])


def _ends(found: re.Match[str], text: str) -> bool:
    """Whether a number ends where it should: not inside a version, date, address or path."""
    after = found["after"]
    before = text[found.start() - 1 : found.start()]
    if before and before in "./-@\\":
        return False
    return not after or _AFTER.match(after) is not None


def _is_metric(key: str) -> bool:
    return _WORDS.search(key) is not None or _KNOWN.fullmatch(key) is not None


def _float(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value) if abs(value) < 1e300 or value != value else math.inf
    if isinstance(value, str):
        return _value(value)
    return None


def _value(text: str) -> float | None:
    """A number as printed; thousands separators are taken out only where they stand right."""
    if "," in text:
        text = text.rstrip(",")
        if "," in text:
            if not re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?", text):
                return None
            text = text.replace(",", "")
    try:
        return float(text)
    except ValueError:
        return None


def _integer(text: str) -> int | None:
    value = _value(text)
    return int(value) if value is not None and 0 <= value < 1 << 53 else None
