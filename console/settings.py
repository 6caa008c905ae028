"""The user's settings: one YAML file, environment variables over it, defaults below it.

Every value knows where it came from. A wrong file is refused with its line and what was expected,
by every command: half a configuration is worse than none. Without a file nothing is parsed and the
YAML library is not imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from traindeck.backends.data import dataclass
from traindeck.backends.errors import UsageError
from traindeck.console.durations import seconds_of, write_duration

if TYPE_CHECKING:
    from traindeck.console.documents import Document

PREFIX = "TRAINDECK_"


# ----------------------------------------------------------------------------------------- schema


@dataclass(frozen=True, slots=True)
class Setting:
    """One value a person can set.

    Attributes:
        name: As in the file and, in capitals behind TRAINDECK_, in the environment.
        default: What holds if nobody says anything.
        help: One sentence for the settings screen and the README.
        expected: What a right value looks like, for errors.
        parse: Text or YAML value -> value; raises ValueError.
        show: Value -> what stands in the file.
        choices: All right values, if they can be listed.
    """

    name: str
    default: Any
    help: str
    expected: str
    parse: Callable[[Any], Any]
    show: Callable[[Any], Any] = lambda value: value
    choices: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """The environment variable that goes before the file."""
        return PREFIX + self.name.upper()


def _one_of(*choices: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError
        return value

    return parse


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError
    return value


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "yes", "on", "1"):
        return True
    if isinstance(value, str) and value.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError


def _duration(least: float, most: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        seconds = seconds_of(value) if isinstance(value, str) else None
        if seconds is None or not least <= seconds <= most:
            raise ValueError
        return seconds

    return parse


def _window(value: Any) -> float | None:
    return None if value == "all" else _duration(60, 10 * 365 * 86400)(value)


def _show_window(seconds: float | None) -> str:
    return "all" if seconds is None else write_duration(seconds)


GLYPHS = ("auto", "best", "plain", "ascii")

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "theme",
        "dark",
        "Colours: dark, light, high, ansi16, or a file of your own in themes/.",
        "the name of a theme",
        _text,
    ),
    Setting(
        "glyphs",
        "auto",
        "Signs on screen; auto asks the terminal at the start.",
        f"one of {', '.join(GLYPHS)}",
        _one_of(*GLYPHS),
        choices=GLYPHS,
    ),
    Setting("mouse", True, "Whether clicks and the wheel work.", "true or false", _flag),
    Setting(
        "refresh",
        2.0,
        "How old the state of an active run may get before its place is asked again.",
        "a time from 500ms to 10m, like 2s",
        _duration(0.5, 600),
        write_duration,
    ),
    Setting(
        "window",
        86400.0,
        "How long finished runs stay in the list.",
        "a time like 24h or 7d, or all",
        _window,
        _show_window,
    ),
    Setting(
        "grace",
        10.0,
        "Time between asking a run to end and killing it.",
        "a time from 0s to 1d, like 30s",
        _duration(0, 86400),
        write_duration,
    ),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
SECTIONS = ("backends", "keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a value came from. `kind` is `default`, `file` or `environment`."""

    kind: str = "default"
    where: str = "default"


DEFAULT = Source()


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """A place to run things, as configured. Its options are checked by the backend's own schema."""

    name: str = "local"
    kind: str = "process"
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = "default"

    def local_root(self) -> Path | None:
        """Where its run directories lie, if that is on this machine (and is a folder's name)."""
        if self.kind not in ("process", "slurm") or self.options.get("via"):
            return None
        root = self.options.get("root")
        if not root:
            base = Path.home() / ".traindeck"
            # A place of its own: from files alone nothing could tell whose runs they are.
            return base if self.kind == "process" else base / "slurm" / self.name
        from traindeck.backends.files import folder_named  # most have none

        return folder_named(root)


LOCAL = BackendSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, checked. Durations are in seconds; `window` is None for all runs.

    Attributes:
        backends: Name -> place; `local` is always among them, first unless the file says otherwise.
        keys: Action -> keys, as the user set them (`runs.stop: x`).
        sources: Setting, `backends.NAME` or `keys.ACTION` -> where it came from.
        path: The file, whether it exists or not.
    """

    theme: str = "dark"
    glyphs: str = "auto"
    mouse: bool = True
    refresh: float = 2.0
    window: float | None = 86400.0
    grace: float = 10.0
    backends: Mapping[str, BackendSettings] = field(default_factory=lambda: {"local": LOCAL})
    keys: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    path: Path | None = None

    def source(self, name: str) -> Source:
        """Where a setting's value came from."""
        return self.sources.get(name, DEFAULT)

    def local_roots(self) -> dict[str, Path]:
        """Backend -> root of its run directories, of those on this machine."""
        found = ((name, entry.local_root()) for name, entry in self.backends.items())
        return {name: root for name, root in found if root is not None}

    def refuse_shared_root(self, new: BackendSettings) -> None:
        """Raises UsageError if another backend keeps its runs where a new one would: nothing could
        tell whose they are."""
        root = new.local_root()
        for name, other in self.local_roots().items():
            if name != new.name and root is not None and root.resolve() == other.resolve():
                raise UsageError(
                    f"The runs of backend {name} lie in {other} already.",
                    "Give another folder: --option root=FOLDER",
                )

    def error(self, name: str, problem: str, fix: str = "") -> UsageError:
        """An error about a value that only its user could judge, naming where it stands."""
        return UsageError(f"{self.source(name).where}: {problem}", fix)


# ---------------------------------------------------------------------------------------- loading


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings that hold now.

    Args:
        path: The file; it need not exist.
        environ: Instead of the process's own.

    Raises:
        DocumentError: The file is wrong: which line, and what was expected; all that is wrong.
        UsageError: An environment variable is wrong.
    """
    env = os.environ if environ is None else environ
    document: Document | None = None
    if os.path.lexists(path):
        from traindeck.console.documents import read

        document = read(path)
    return _build(path, document, env)


def _build(path: Path, document: Document | None, environ: Mapping[str, str]) -> Settings:
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    wrong: list[UsageError] = []
    if document is not None:
        _check_names(document, wrong)
        for setting in SETTINGS:
            if document.data.get(setting.name) is not None:
                values[setting.name] = _from_file(document, setting, wrong)
                line = document.line((setting.name,))
                sources[setting.name] = Source(kind="file", where=f"{path}, line {line}")
        values["backends"] = _backends(document, sources, wrong)
        values["keys"] = _keys(document, sources, wrong)
    for setting in SETTINGS:
        text = environ.get(setting.variable)
        if text:
            try:
                values[setting.name] = setting.parse(text)
            except ValueError:
                problem = f"{setting.variable} is {text[:60]!r}: expected {setting.expected}."
                wrong.append(UsageError(problem))
            sources[setting.name] = Source(kind="environment", where=setting.variable)
    if wrong:
        raise _together(wrong)
    return Settings(path=path, sources=MappingProxyType(sources), **values)


def _together(wrong: list[UsageError]) -> UsageError:
    """All that is wrong in one error, by line, what is wrong outside the file last."""
    if len(wrong) == 1:
        return wrong[0]
    from traindeck.console.documents import DocumentError

    def place(error: UsageError) -> tuple[bool, int]:
        return (False, error.line or 0) if isinstance(error, DocumentError) else (True, 0)

    first, *others = sorted(wrong, key=place)
    if not isinstance(first, DocumentError):
        return UsageError(first.what, " ".join([first.fix, *map(str, others)]).strip())
    also = [str(error).removeprefix(f"{first.path}, ") for error in others]
    fix = " ".join([first.fix, *(f"Also {text}" for text in also)]).strip()
    return DocumentError(first.path, first.line, first.problem, fix)


def _check_names(document: Document, wrong: list[UsageError]) -> None:
    from traindeck.console.documents import nearest

    allowed = (*BY_NAME, *SECTIONS)
    for name in document.data:
        if name not in allowed:
            close = nearest(name, allowed)
            hint = f"Did you mean `{close}`?" if close else f"There are: {', '.join(allowed)}."
            wrong.append(document.error((name,), f"there is no setting `{name}`.", hint))


def _from_file(document: Document, setting: Setting, wrong: list[UsageError]) -> Any:
    value = document.data[setting.name]
    try:
        return setting.parse(value)
    except ValueError:
        shown = str(value).replace("\n", " ")[:60]
        problem = f"`{setting.name}` is {shown!r}: expected {setting.expected}."
        wrong.append(document.error((setting.name,), problem))


_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,39}\Z")


def _backends(
    document: Document, sources: dict[str, Source], wrong: list[UsageError]
) -> Mapping[str, BackendSettings]:
    section = document.data.get("backends") or {}
    if not isinstance(section, Mapping):
        problem = "`backends` is no mapping: expected a name and, below it, `kind: …`."
        wrong.append(document.error(("backends",), problem))
        return {}
    found: dict[str, BackendSettings] = {} if "local" in section else {"local": LOCAL}
    for name, raw in section.items():
        key = ("backends", name)
        where = f"{document.path}, line {document.line(key)}"
        if not _NAME.match(name):
            problem = (
                f"`{name[:40]}` cannot name a backend: expected letters, digits, - _ and dots."
            )
            wrong.append(document.error(key, problem))
            continue
        content = {} if raw is None else raw
        if not isinstance(content, Mapping):
            problem = f"`backends.{name}` is no mapping: expected `kind: …` and options below it."
            wrong.append(document.error(key, problem))
            continue
        options = {option: value for option, value in content.items() if option != "kind"}
        kind = content.get("kind", "process" if name == "local" else None)
        if not isinstance(kind, str) or not kind:
            problem = f"`backends.{name}` has no kind: expected one like `kind: process`."
            wrong.append(document.error((*key, "kind"), problem))
            continue
        for option, value in options.items():
            if not isinstance(value, (str, int, float, bool, list, type(None))):
                problem = f"`backends.{name}.{option}`: expected one value or a list."
                wrong.append(document.error((*key, option), problem))
            line = document.line((*key, option))
            sources[f"backends.{name}.{option}"] = Source(
                kind="file", where=f"{document.path}, line {line}"
            )
        sources[f"backends.{name}"] = Source(kind="file", where=where)
        found[name] = BackendSettings(
            name=name, kind=kind, options=MappingProxyType(options), where=where
        )
    return MappingProxyType(found)


def _keys(
    document: Document, sources: dict[str, Source], wrong: list[UsageError]
) -> Mapping[str, str]:
    section = document.data.get("keys") or {}
    expected = "expected lines like `runs.stop: x`."
    if not isinstance(section, Mapping):
        wrong.append(document.error(("keys",), f"`keys` is no mapping: {expected}"))
        return {}
    found: dict[str, str] = {}
    for action, keys in section.items():
        # `keys: {mark: 1}`: a digit is a key, not a number.
        if isinstance(keys, int) and not isinstance(keys, bool) and 0 <= keys <= 9:
            keys = str(keys)
        if not isinstance(keys, str) or not keys.strip() or len(keys) > 60:
            problem = f"`keys.{action}` is no key: {expected}"
            wrong.append(document.error(("keys", action), problem))
            continue
        found[action] = keys.strip()
        line = document.line(("keys", action))
        sources[f"keys.{action}"] = Source(kind="file", where=f"{document.path}, line {line}")
    return MappingProxyType(found)


# ---------------------------------------------------------------------------------------- changing


def set_value(
    path: Path, name: str, value: Any, environ: Mapping[str, str] | None = None
) -> Settings:
    """Write one value into the file, comments and order kept, and return what holds then.

    Args:
        name: A setting, `keys.ACTION`, `backends.NAME.kind` or `backends.NAME.OPTION`.
        value: As a person would write it (`"2s"`), or the plain value.

    Raises:
        UsageError: There is no such setting, or the value is wrong.
        DocumentError: The file is wrong already, or cannot be written. It is unchanged then.
    """
    from traindeck.console import documents

    key = _split(name)
    if len(key) == 1:
        setting = BY_NAME[name]
        try:
            value = setting.show(setting.parse(_plain(setting, value)))
        except ValueError:
            shown = str(value)[:60]
            raise UsageError(f"`{name}` is {shown!r}: expected {setting.expected}.") from None
    document = documents.read(path) if os.path.lexists(path) else documents.Document(path, "")
    text = documents.change(document, key, value)
    settings = _build(path, documents.parse(text, path), os.environ if environ is None else environ)
    documents.write(path, text)
    return settings


def unset(path: Path, name: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Take one value out of the file: what lies below it holds again."""
    from traindeck.console import documents

    key = _split(name)
    if os.path.lexists(path):
        document = documents.read(path)
        text = documents.remove(document, key)
        if text != document.text:
            documents.write(path, text)
    return load(path, environ)


def _plain(setting: Setting, value: Any) -> Any:
    """A value already in the form that `Settings` holds is as good as its text."""
    if isinstance(value, float) or (value is None and setting.name == "window"):
        return setting.show(value)
    return value


def _split(name: str) -> tuple[str, ...]:
    if name in BY_NAME:
        return (name,)
    section, _, rest = name.partition(".")
    if section == "keys" and rest:
        return ("keys", rest)
    if section == "backends" and rest:
        # A backend's name may hold dots, an option's may not.
        place, dot, option = rest.rpartition(".")
        return ("backends", place, option) if dot else ("backends", rest)
    from traindeck.console.documents import nearest

    close = nearest(name, BY_NAME)
    hint = f"Did you mean `{close}`?" if close else f"There are: {', '.join(BY_NAME)}."
    raise UsageError(f"There is no setting `{name}`.", hint)
