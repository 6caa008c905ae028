"""YAML files that people edit: read with the line of every value, changed without other changes.

Settings, themes and recipes are such files. Reading says where in the file a wrong value stands;
writing replaces the characters of one value, so that comments, order and layout stay as their owner
wrote them. Importing this module is cheap: the YAML library is imported by the functions.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traindeck.backends import files
from traindeck.backends.data import dataclass
from traindeck.backends.errors import UsageError

if TYPE_CHECKING:
    import yaml

Key = tuple[str | int, ...]
"""Where a value stands: `("backends", "gpu1", "kind")`; list items by their index."""

MAX_BYTES = 1_000_000
"""A file of a person's own settings is smaller by far; more is a mistake (a log, a model)."""


class DocumentError(UsageError):
    """A file that a person edits does not hold what was expected there.

    Attributes:
        path: The file.
        line: Counted from 1; None if the whole file is meant.
        problem: What is wrong there, without the place.
    """

    def __init__(self, path: Path, line: int | None, problem: str, fix: str = "") -> None:
        where = f"{path}, line {line}" if line else str(path)
        super().__init__(f"{where}: {problem}", fix)
        self.path = path
        self.line = line
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: plain values, and the line (from 1) of each.

    Attributes:
        data: The top-level mapping; empty for an empty file.
        lines: Key -> line of its value.
    """

    path: Path
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[Key, int] = field(default_factory=dict)

    def line(self, key: Key) -> int | None:
        """The line of a value, or of the nearest thing around it that has one."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key)

    def error(self, key: Key, problem: str, fix: str = "") -> DocumentError:
        """An error that names this file and the line of `key`."""
        return DocumentError(self.path, self.line(key), problem, fix)


def read(path: Path) -> Document:
    """Read and parse a file whose top level is a mapping.

    Raises:
        DocumentError: It cannot be read, is no UTF-8, no YAML, has a key twice, or holds something
            other than a mapping of names at the top.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DocumentError(path, None, f"cannot be read: {reason}.") from None
    if len(raw) > MAX_BYTES:
        raise DocumentError(path, None, "is larger than 1 MB, so it is not a settings file.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DocumentError(path, line, "is not UTF-8 text.") from None
    return parse(text, path)


def parse(text: str, path: Path) -> Document:
    """`read` for text that is already here."""
    root = _compose(text, path)
    if root is None:
        return Document(path, text)
    lines: dict[Key, int] = {}
    data = _Builder(path, lines).build(root, ())
    if not isinstance(data, dict):
        found = "a list" if isinstance(data, list) else "a single value"
        problem = f"expected `name: value` lines at the top, found {found}."
        raise DocumentError(path, root.start_mark.line + 1, problem)
    return Document(path, text, data, lines)


def _compose(text: str, path: Path) -> yaml.Node | None:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or "is not valid"
        raise DocumentError(
            path, mark.line + 1 if mark else None, f"not YAML: {problem}."
        ) from None
    except yaml.YAMLError as error:
        raise DocumentError(path, None, f"not YAML: {str(error).splitlines()[0]}.") from None
    except (RecursionError, ValueError):
        raise DocumentError(path, None, "is nested too deeply.") from None
    return node


class _Builder:
    """Turns nodes into plain values and notes where each stands."""

    def __init__(self, path: Path, lines: dict[Key, int]) -> None:
        from yaml.constructor import SafeConstructor

        self._path = path
        self._lines = lines
        self._scalars = SafeConstructor()
        self._open: list[int] = []
        self._left = 20_000  # values; a few nested aliases can mean billions

    def build(self, node: yaml.Node, key: Key) -> Any:
        import yaml

        line = node.start_mark.line + 1
        self._lines.setdefault(key, line)
        self._left -= 1
        if id(node) in self._open or self._left < 0 or len(self._open) > 50:
            raise DocumentError(self._path, line, "refers to itself, or is nested too deeply.")
        if isinstance(node, yaml.ScalarNode):
            try:
                return self._scalars.construct_object(node)
            except (yaml.YAMLError, ValueError, OverflowError):
                problem = f"{node.value!r} is not a value of the kind it is marked as."
                raise DocumentError(self._path, line, problem) from None
        self._open.append(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*key, i)) for i, item in enumerate(node.value)]
            return self._mapping(node, key)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.Node, key: Key) -> dict[str, Any]:
        import yaml

        result: dict[str, Any] = {}
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            # `on:` and `1:` would be a boolean and a number in YAML 1.1; as a name they are text.
            if not isinstance(name_node, yaml.ScalarNode) or name_node.value == "<<":
                raise DocumentError(self._path, line, "expected a plain name before the colon.")
            name = str(name_node.value)
            if name in result:
                first = self._lines[(*key, name)]
                problem = f"`{name}` stands here a second time (first on line {first})."
                raise DocumentError(self._path, line, problem)
            self._lines[(*key, name)] = line
            result[name] = self.build(value_node, (*key, name))
        return result


# ---------------------------------------------------------------------------------------- writing


def change(document: Document, key: tuple[str, ...], value: Any) -> str:
    """The file's text with one value set, everything else character for character as it was.

    Args:
        key: Names from the top; mappings that are missing on the way are added.
        value: A plain value (text, number, bool, None, a list or mapping of those).

    Raises:
        DocumentError: The place cannot be edited safely (an alias, a value where a mapping would
            have to be); nothing is returned then, so nothing can be half-written.
    """
    return _checked(document, _set(document, key, value), key, value, present=True)


def remove(document: Document, key: tuple[str, ...]) -> str:
    """The file's text without one value. The mapping around it stays, even if empty."""
    if _lookup(document.data, key)[1] is False:
        return document.text
    return _checked(document, _unset(document, key), key, None, present=False)


def _lookup(data: Any, key: Iterable[str]) -> tuple[Any, bool]:
    for name in key:
        if not isinstance(data, Mapping) or name not in data:
            return None, False
        data = data[name]
    return data, True


def _checked(
    document: Document, text: str, key: tuple[str, ...], value: Any, *, present: bool
) -> str:
    """`text`, if reading it back gives exactly what was meant."""
    import copy

    wanted: Any = copy.deepcopy(dict(document.data))
    inner = wanted
    for name in key[:-1]:
        if not isinstance(inner.get(name), dict):
            inner[name] = {}
        inner = inner[name]
    if present:
        inner[key[-1]] = value
    else:
        inner.pop(key[-1], None)
    try:
        got: Any = parse(text, document.path).data
    except DocumentError:
        got = None
    if _normal(got) != _normal(wanted) or _lookup(got, key)[1] is not present:
        name = ".".join(key)
        problem = f"`{name}` cannot be changed here without touching something else."
        raise document.error(key, problem, "Edit the file by hand.")
    return text


def _normal(data: Any) -> Any:
    """An empty mapping and none at all are the same to a reader of settings."""
    if isinstance(data, Mapping):
        return {k: _normal(v) for k, v in data.items() if v is not None and v != {}}
    return [_normal(v) for v in data] if isinstance(data, list) else data


def _dump(value: Any) -> str:
    """A value on one line."""
    import yaml

    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=1_000_000, sort_keys=False
    )
    return str(text).removesuffix("\n").removesuffix("\n...")


def _name(name: str) -> str:
    return _dump(name)


def _find(node: yaml.Node | None, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    if node is not None:
        for pair in node.value:
            if pair[0].value == name:
                return pair[0], pair[1]
    return None


def _set(document: Document, key: tuple[str, ...], value: Any) -> str:
    import yaml

    text = document.text
    node = _compose(text, document.path)
    if node is None:
        return _joined(text, _nested(key, value, 0))
    for depth, name in enumerate(key):
        if isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~"):
            break  # `backends:` with nothing below it
        if not isinstance(node, yaml.MappingNode):
            raise document.error(key[:depth], f"`{'.'.join(key[:depth])}` is not a mapping.")
        found = _find(node, name)
        if found is None:
            return _add(text, node, key[depth:], value)
        name_node, node = found
        if depth == len(key) - 1:
            return _replace(text, name_node, node, value)
    # An empty value takes what is missing as a flow mapping in its place.
    for name in reversed(key[depth:]):
        value = {name: value}
    return _replace(text, name_node, node, value)


def _replace(text: str, name_node: yaml.Node, node: yaml.Node, value: Any) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    after_name = text.index(":", name_node.end_mark.index) + 1
    if start < after_name or text[after_name:start].strip():
        start = max(start, after_name)
    body = text[start:end]
    kept = body.rstrip()
    if node.start_mark.line != name_node.start_mark.line and not body.startswith(("{", "[")):
        start, kept = after_name, text[after_name:end].rstrip()  # a block becomes one line
    new = _dump(value)
    lead = "" if text[start - 1 : start].isspace() else " "
    return text[:start] + lead + new + text[start + len(kept) :]


def _add(text: str, node: yaml.Node, key: tuple[str, ...], value: Any) -> str:
    """A new entry at the end of a mapping."""
    if getattr(node, "flow_style", False):
        for name in reversed(key[1:]):
            value = {name: value}
        close = node.end_mark.index - 1
        inside = text[node.start_mark.index + 1 : close].rstrip()
        comma = "" if not node.value else " " if inside.endswith(",") else ", "
        entry = f"{comma}{_name(key[0])}: {_dump(value)}"
        return text[: node.start_mark.index + 1] + inside + entry + text[close:]
    indent = node.value[0][0].start_mark.column
    last = node.value[-1][1]
    # The end of the last line that belongs to the mapping: comments below it are left below.
    end = last.start_mark.index if last.start_mark.index >= last.end_mark.index else None
    stop = len(text[: last.end_mark.index].rstrip()) if end is None else end
    stop = max(stop, node.value[-1][0].end_mark.index)
    line_end = text.find("\n", stop)
    head, tail = (text, "") if line_end < 0 else (text[:line_end], text[line_end + 1 :])
    return head + "\n" + _nested(key, value, indent) + "\n" + tail


def _nested(key: tuple[str, ...], value: Any, indent: int) -> str:
    lines = [" " * (indent + 2 * depth) + _name(name) + ":" for depth, name in enumerate(key)]
    lines[-1] += " " + _dump(value)
    return "\n".join(lines)


def _joined(text: str, addition: str) -> str:
    gap = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{gap}{addition}\n"


def _unset(document: Document, key: tuple[str, ...]) -> str:
    text = document.text
    node = _compose(text, document.path)
    for name in key[:-1]:
        found = _find(node, name)
        node = found[1] if found else None
    found = _find(node, key[-1])
    if node is None or found is None:
        return text
    name_node, value_node = found
    start, end = name_node.start_mark.index, value_node.end_mark.index
    if getattr(node, "flow_style", False):
        rest = text[end:]
        if rest.lstrip().startswith(","):
            end += rest.index(",") + 1
            end += len(text[end:]) - len(text[end:].lstrip(" "))
        else:
            before = text[:start].rstrip()
            start = len(before) - 1 if before.endswith(",") else len(before)
        return text[:start] + text[end:]
    kept = len(text[:end].rstrip())
    start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", max(kept, name_node.end_mark.index))
    return text[:start] + ("" if line_end < 0 else text[line_end + 1 :])


def write(path: Path, text: str) -> None:
    """Replace a file as a whole, 0600, through a link if it is one. The folder is made if needed.

    Raises:
        DocumentError: It cannot be written; the old content is still there.
    """
    target = Path(os.path.realpath(path))
    try:
        files.replace(target, text.encode())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DocumentError(path, None, f"cannot be written: {reason}.") from None


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant, if one is close."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(names), n=1, cutoff=0.6)), None)
