"""Training rows: found, checked and brought into one shape, before anything heavy is imported.

A trainer that finds a bad record after minutes of loading wastes a person's time; here the first
one is named by file, line and field. Nothing is repaired or dropped in silence: what a row has and
the trainer would not use is either counted or refused. Standard library only; pyarrow is imported
for a Parquet file. Travels beside the trainers and imports nothing of Traindeck.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from traindeck_reporting import Refused

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
MESSAGES, PROMPT, TEXT = "messages", "prompt", "text"
SHAPES = "`messages` (a list of role and content), `prompt` and `completion`, or `text`"
MUST_NOT_VANISH = frozenset(
    {
        *("tool_calls", "tools", "functions", "function_call", "reasoning_content", "thinking"),
        *("images", "audio", "videos"),
    }
)
"""Fields that are part of what a model is trained on: left out, it would be something else."""

WEIGHTS = frozenset({"weight", "train"})
"""Fields of a message by which other trainers leave it out of the loss, unless 1 or true."""

KNOWN_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})

ROLES = {"human": "user", "gpt": "assistant"}
"""The words that ShareGPT's `from` uses for the roles."""


class BadRow(Refused):
    """A record that is not what was expected. Args: the field, what is wrong with it."""

    def __init__(self, where: str, name: str, problem: str) -> None:
        super().__init__(f"{where}: field {name}: {problem}" if name else f"{where}: {problem}")


@dataclass
class Rows:
    """Rows that were looked at.

    Attributes:
        source: As shown to a person.
        files: Where they lie; empty for a data set of the hub.
        kind: `messages`, `prompt` or `text`.
        chat: Whether they hold messages, so that a chat template is needed.
        digest: SHA-256 over the rows as they will be used.
        strange: Roles that are none of `KNOWN_ROLES`; a template may know them.
        keys: Hashes of the rows, for finding them again in another set.
    """

    source: str
    files: list[str] = field(default_factory=list)
    kind: str = ""
    chat: bool = False
    count: int = 0
    digest: str = ""
    empty: int = 0
    first_empty: str = ""
    unused: Counter[str] = field(default_factory=Counter)
    strange: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    keys: set[int] = field(default_factory=set)


def find_files(place: str, split: str) -> list[str]:
    """The data files of a path: itself, or those of a folder whose name begins with `split` (all
    of them if none does).

    Raises:
        Refused: Nothing readable is there, or it is of a kind that cannot be read.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
        if not found:
            raise Refused(f"{place}: no data file in this folder (looked for {_listed(SUFFIXES)}).")
        return [str(p) for p in found if p.stem.startswith(split)] or [str(p) for p in found]
    if not path.exists():
        raise Refused(f"{place}: no such file or folder.")
    if path.suffix not in SUFFIXES:
        raise Refused(f"{place}: expected a file ending in {_listed(SUFFIXES)}.")
    return [str(path)]


def is_path(place: str) -> bool:
    """Whether a name means something on this machine and not an id on the hub."""
    ends_like_a_file = Path(place).suffix in SUFFIXES
    return ends_like_a_file or place.startswith((".", "/", "~")) or Path(place).exists()


def read(path: str) -> Iterator[tuple[str, object]]:
    """The records of a file, each with its `file:line`.

    Raises:
        Refused: The file cannot be read or is not of the kind its name says.
    """
    try:
        yield from _READERS[Path(path).suffix](path)
    except OSError as error:
        raise Refused(f"{path}: {(error.strerror or str(error)).lower()}.") from None
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: byte {error.start:,} is not UTF-8 text.") from None


def _lines(path: str) -> Iterator[tuple[str, object]]:
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            where = f"{path}:{number}"
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if text:
                    yield where, json.loads(text)
            except UnicodeDecodeError:
                raise BadRow(where, "", "not UTF-8 text.") from None
            except json.JSONDecodeError as error:
                problem = f"not JSON: {error.msg.lower()}, at column {error.colno}."
                raise BadRow(where, "", problem) from None
            except RecursionError:
                raise BadRow(where, "", "nested too deeply.") from None


def _array(path: str) -> Iterator[tuple[str, object]]:
    text = Path(path).read_text("utf-8-sig")
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        raise Refused(f"{path}: expected a JSON list of records (one a line belongs in .jsonl).")
    decoder, line, counted = json.JSONDecoder(), 1, 0
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            record, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            problem = f"not JSON: {error.msg.lower()}, at column {error.colno}."
            raise BadRow(f"{path}:{error.lineno}", "", problem) from None
        except RecursionError:
            raise BadRow(f"{path}:{line}", "", "nested too deeply.") from None
        yield f"{path}:{line}", record
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            where = f"{path}:{text.count(chr(10), 0, at) + 1}"
            raise BadRow(where, "", "not JSON: expected a comma or the end of the list.")


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _table(path: str) -> Iterator[tuple[str, object]]:
    csv.field_size_limit(1 << 30)
    with open(path, encoding="utf-8-sig", newline="") as file:
        table = csv.reader(file)
        names = next(table, [])
        while True:
            line = table.line_num + 1
            try:
                cells = next(table, None)
            except csv.Error as error:
                raise BadRow(f"{path}:{line}", "", f"not CSV: {error}.") from None
            if cells is None:
                return
            if cells and len(cells) != len(names):
                problem = f"{len(cells)} cells where the first line names {len(names)} columns."
                raise BadRow(f"{path}:{line}", "", problem)
            if cells:
                yield f"{path}:{line}", dict(zip(names, cells, strict=True))


def _parquet(path: str) -> Iterator[tuple[str, object]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise Refused(f"{path}: reading Parquet needs pyarrow (it comes with datasets).") from None
    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1024):
            for record in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", record
    except pyarrow.ArrowException as error:
        raise Refused(f"{path}: not Parquet: {str(error).splitlines()[0]}") from None


_READERS = {
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".json": _array,
    ".csv": _table,
    ".parquet": _parquet,
}


# ------------------------------------------------------------------------------------- one record


def kind_of(record: dict[str, object], where: str) -> str:
    """Which of the three shapes a record has.

    Raises:
        BadRow: None, or a half of one.
    """
    if "messages" in record or "conversations" in record:
        return MESSAGES
    if "prompt" in record and "completion" in record:
        return PROMPT
    for one, other in (("prompt", "completion"), ("completion", "prompt")):
        if one in record:
            raise BadRow(where, other, f"is missing; a row with `{one}` needs it.")
    if "text" in record:
        return TEXT
    found = _listed(sorted(record)[:8], "`") or "nothing"
    raise BadRow(where, "", f"expected {SHAPES}; found {found}.")


def normal(record: object, where: str, rows: Rows, answers: bool) -> dict[str, object]:
    """A record in the shape that is trained on, checked in every field.

    Args:
        answers: Whether the loss is on the answers only, so that a row must have one.

    Raises:
        BadRow: It is not what the first row promised, or a field is wrong.
    """
    if not isinstance(record, dict):
        raise BadRow(where, "", f"expected an object with named fields, found {_what(record)}.")
    kind = kind_of(record, where)
    if rows.kind and kind != rows.kind:
        raise BadRow(where, "", f"has `{kind}`, but the first row has `{rows.kind}`.")
    used = {"messages", "conversations"} if kind == MESSAGES else {kind, "completion"}
    _count_unused(record, used, where, "", rows)
    row: dict[str, object]
    if kind == MESSAGES:
        name = "messages" if "messages" in record else "conversations"
        chat, row = True, {"messages": _messages(record[name], where, name, rows, answers)}
    elif kind == TEXT:
        chat, row = False, {"text": _text(record["text"], where, "text")}
        if not row["text"]:
            _note_empty(rows, where)
    else:
        prompt, completion = record["prompt"], record["completion"]
        chat = isinstance(prompt, list)
        if chat != isinstance(completion, list):
            problem = f"expected {'messages' if chat else 'text'} as in prompt, "
            raise BadRow(where, "completion", problem + f"found {_what(completion)}.")
        if chat:
            row = {
                "prompt": _messages(prompt, where, "prompt", rows, False),
                "completion": _messages(completion, where, "completion", rows, answers),
            }
        else:
            row = {
                "prompt": _text(prompt, where, "prompt"),
                "completion": _text(completion, where, "completion"),
            }
            if not row["completion"]:
                _note_empty(rows, where)
    if rows.kind and chat != rows.chat:
        raise BadRow(where, "prompt", "is messages in some rows and text in others.")
    rows.kind, rows.chat = kind, chat
    return row


def _messages(
    value: object, where: str, name: str, rows: Rows, answers: bool
) -> list[dict[str, str]]:
    if isinstance(value, str) and value.lstrip().startswith("["):  # a cell of a CSV
        try:
            value = json.loads(value)
        except ValueError:
            raise BadRow(where, name, "is text that is not a JSON list of messages.") from None
    if not isinstance(value, list):
        raise BadRow(where, name, f"expected a list of messages, found {_what(value)}.")
    if not value:
        raise BadRow(where, name, "is an empty list.")
    messages = []
    for index, message in enumerate(value):
        place = f"{name}[{index}]"
        if not isinstance(message, dict):
            problem = f"expected an object with role and content, found {_what(message)}."
            raise BadRow(where, place, problem)
        role_key = "from" if "from" in message and "role" not in message else "role"
        text_key = "value" if "value" in message and "content" not in message else "content"
        for key in (role_key, text_key):
            if key not in message:
                raise BadRow(where, f"{place}.{key}", "is missing.")
        role = _text(message[role_key], where, f"{place}.{role_key}")
        content = _text(message[text_key], where, f"{place}.{text_key}")
        role = ROLES.get(role, role)
        if not role:
            raise BadRow(where, f"{place}.{role_key}", "is empty.")
        if role not in KNOWN_ROLES:
            rows.strange[role] += 1
        if role == "assistant" and not content:
            _note_empty(rows, where)
        _count_unused(message, {role_key, text_key}, where, place + ".", rows)
        messages.append({"role": role, "content": content})
    if answers and not any(message["role"] == "assistant" for message in messages):
        problem = "has no assistant turn, so nothing in it would be learnt."
        raise BadRow(where, name, problem)
    return messages


def _count_unused(
    record: dict[str, object], used: set[str], where: str, prefix: str, rows: Rows
) -> None:
    for key in record.keys() - used:
        weighted = prefix and key in WEIGHTS and record[key] not in (None, 1)
        if weighted or (key in MUST_NOT_VANISH and record[key]):
            problem = "this trainer does not use it, and leaving it out would change the row."
            raise BadRow(where, f"{prefix}{key}", problem)
        rows.unused[f"messages[].{key}" if prefix else key] += 1


def _note_empty(rows: Rows, where: str) -> None:
    rows.empty += 1
    rows.first_empty = rows.first_empty or where


def _text(value: object, where: str, name: str) -> str:
    if isinstance(value, list):
        raise BadRow(where, name, "expected text, found a list (parts of a message, images).")
    if not isinstance(value, str):
        raise BadRow(where, name, f"expected text, found {_what(value)}.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            problem = f"character {error.start + 1:,} is half of a surrogate pair."
            raise BadRow(where, name, problem) from None
    return value


def _what(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"


def _listed(names: Iterable[str], quote: str = "") -> str:
    return ", ".join(f"{quote}{name}{quote}" for name in names)


# --------------------------------------------------------------------------------- a set of rows


def records(files: list[str]) -> Iterator[tuple[str, object]]:
    """The records of several files, one after the other."""
    for path in files:
        yield from read(path)


def look(
    source: str,
    found: Iterable[tuple[str, object]],
    *,
    answers: bool,
    keep: bool = False,
    against: Rows | None = None,
) -> Rows:
    """Go through all rows once.

    Args:
        source: What to call them.
        found: Pairs of a place and a record.
        answers: See `normal`.
        keep: Keep a hash of each row (8 bytes), for `against` of another set.
        against: Count the rows that are also in this set.

    Raises:
        Refused: Naming the first bad record, and how many others are bad too; or no row at all.
    """
    rows = Rows(source)
    whole = hashlib.sha256()
    bad: BadRow | None = None
    others = 0
    found = iter(found)
    while True:
        try:
            where, record = next(found)
        except StopIteration:
            break
        except BadRow as error:  # the file cannot be read on from here
            bad = bad or error
            break
        try:
            row = normal(record, where, rows, answers)
        except BadRow as error:
            others += bad is not None
            bad = bad or error
            continue
        packed = json.dumps(row, sort_keys=True, ensure_ascii=True).encode()
        whole.update(packed + b"\n")
        rows.count += 1
        if keep or against is not None:
            key = int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "big")
            if keep:
                rows.keys.add(key)
            if against is not None and key in against.keys:
                rows.repeated += 1
    if bad is not None:
        more = f" ({others:,} more of {rows.count + others + 1:,} rows are bad.)" if others else ""
        raise Refused(f"{bad}{more}")
    if not rows.count:
        raise Refused(f"{source}: holds no rows.")
    rows.digest = whole.hexdigest()
    return rows


def look_at_files(
    place: str, split: str, *, answers: bool, keep: bool = False, against: Rows | None = None
) -> Rows:
    """`look` for a file or folder of this machine."""
    files = find_files(place, split)
    source = files[0] if len(files) == 1 else f"{place} ({len(files)} files)"
    rows = look(source, records(files), answers=answers, keep=keep, against=against)
    rows.files = [os.path.abspath(path) for path in files]
    return rows


def again(files: list[str], answers: bool, digest: str) -> Iterator[dict[str, object]]:
    """The rows of files that were looked at, in the shape that is trained on.

    `digest` is not read here: it makes a cache of these rows one for these very rows.

    Raises:
        Refused: A file has changed since and does not hold what it held.
    """
    rows = Rows("")
    for where, record in records(files):
        yield normal(record, where, rows, answers)
