"""Themes: which colour each token has. Loaded from one YAML file a theme, ours in `themes/`, the
user's own in the configuration folder; checked so that a wrong one names its file and line.

View functions only name tokens. `Theme.paint` turns a span's style into colours and attributes;
`for_depth` fits a theme to what the terminal can show. Reading YAML costs the start of a program
some 20 ms, so parsed themes are kept as JSON in the cache folder, good as long as the file's time
and size are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traindeck.backends.data import dataclass
from traindeck.backends.errors import UsageError

from .color import is_hex, luminance, mix, nearest_256

if TYPE_CHECKING:
    from traindeck.console.settings import Settings

GROUNDS = ("bg", "surface", "raised", "track", "select", "select_dim", "match")
INKS = ("strong", "text", "muted", "faint", "rule", "grid", "on_accent", "on_match")
STATES = ("running", "queued", "done", "failed", "warn", "stale")
DELTAS = ("good", "bad", "unresolved")
SERIES = 8

_SECTIONS = {"ground": GROUNDS, "ink": INKS, "state": STATES, "delta": DELTAS}

COLOR_NAMES = (
    "default", "black", "red", "green", "yellow", "blue", "magenta", "cyan", "white",
    "bright_black", "bright_red", "bright_green", "bright_yellow", "bright_blue",
    "bright_magenta", "bright_cyan", "bright_white",
)  # fmt: skip
ATTRIBUTES = ("bold", "dim", "italic", "underline", "reverse")

_CACHE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Paint:
    """How a piece of text is to look. A colour is `#rrggbb`, a name of `COLOR_NAMES`, a palette
    number as text (`"234"`), or None for the terminal's own."""

    ink: str | None = None
    ground: str | None = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    reverse: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Theme:
    """A checked theme.

    Attributes:
        tokens: Token -> value as written: `#rrggbb`, or a colour or attribute name.
        band: Share of a series' colour in the background of a band; None draws edges instead.
        native: Whether the values are the terminal's own colours by name.
    """

    name: str
    tokens: Mapping[str, str] = field(default_factory=dict)
    band: float | None = None
    native: bool = False
    depth: str = "truecolor"

    @property
    def dark(self) -> bool:
        """Whether the ground is darker than the ink. Terminals with names are taken for dark."""
        ground = self.tokens["bg"]
        return not is_hex(ground) or luminance(ground) < 0.5

    def paint(self, style: str, ground: str = "bg") -> Paint:
        """The look of a span's style (see `cells.Span`) on a ground token."""
        return _paint(self, style, ground)

    def blend(self, token: str, share: float, ground: str = "bg") -> str | None:
        """The colour of a token mixed into a ground, None if the theme has no mixable colours."""
        one, other = self.tokens[ground], self.tokens[token]
        return mix(one, other, share) if is_hex(one) and is_hex(other) else None


@lru_cache(maxsize=4096)
def _paint(theme: Theme, style: str, ground: str) -> Paint:
    ink: str | None = None
    attributes: set[str] = set()
    tokens = theme.tokens
    marked = False
    for word in style.split():
        if word.startswith("@"):
            ground, marked = word[1:], True
        elif word in ATTRIBUTES:
            attributes.add(word)
        else:
            value = tokens.get(word, tokens["text"])
            if value in ATTRIBUTES:
                attributes.add(value)
            else:
                ink = value
    back: str | None
    if ground.startswith("band"):  # `@band3`: the third series' share of the ground
        share = theme.blend(f"s{ground[4:]}", theme.band) if theme.band else None
        back = share or tokens["bg"]
    else:
        back = tokens[ground]
    if back in ATTRIBUTES:
        attributes.add(str(back))
        if back == "reverse":
            ink = None  # black on the terminal's ink; a state's colour would vanish there
        back = None
    if ground == "bg" and not marked and theme.native:
        back = None
    return Paint(
        ink=_fitted(ink, theme.depth),
        ground=_fitted(back, theme.depth, ground=True),
        **dict.fromkeys(attributes, True),
    )


def _fitted(color: str | None, depth: str, *, ground: bool = False) -> str | None:
    if color is None or color == "default" or depth == "none":
        return None
    return str(nearest_256(color, ground=ground)) if depth == "256" and is_hex(color) else color


def for_depth(theme: Theme, depth: str, ansi16: Theme) -> Theme:
    """A theme as far as a terminal can show it.

    Args:
        depth: `truecolor`, `256`, `16`, or `none` (attributes only, as NO_COLOR asks for).
        ansi16: The theme to take where there are no more than 16 colours.
    """
    if depth == "none":
        # Without colour, what is only decoration steps back and what is strong comes forward; what
        # stands on the accent (a cursor, a button) is reversed, or it would not be seen.
        grounds = {"accent": "bold", "on_accent": "reverse",
                   **dict.fromkeys(("faint", "rule", "grid"), "dim")}  # fmt: skip
        plain = {name: value if value in ATTRIBUTES else "default"
                 for name, value in ansi16.tokens.items()}  # fmt: skip
        return replace(
            ansi16, name="no colour", tokens={**plain, **grounds}, band=None, depth="none"
        )
    if depth == "16" and not theme.native:
        return replace(ansi16, depth="16")
    return replace(theme, depth=depth)


# ---------------------------------------------------------------------------------------- loading


def builtin_folder() -> Path:
    """Where the themes of this program lie."""
    from traindeck import themes

    return Path(str(themes.__file__)).parent


def available(user_folder: Path | None) -> dict[str, Path]:
    """Theme name -> file. A user's file goes before ours of the same name."""
    found: dict[str, Path] = {}
    for folder in (builtin_folder(), user_folder):
        if folder is not None and folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix in (".yaml", ".yml") and not path.name.startswith("."):
                    found[path.stem] = path
    return found


def load(name: str, user_folder: Path | None = None, cache: Path | None = None) -> Theme:
    """A theme by name.

    Args:
        name: A file's name without its ending.
        user_folder: The `themes` folder in the user's configuration.
        cache: A JSON file in the cache folder that may be written.

    Raises:
        UsageError: There is no such theme.
        DocumentError: Its file is wrong; the message names the line and what was expected.
    """
    path = _path(name, user_folder)
    stamp = _stamp(path)
    kept = _read_cache(cache)
    entry = kept.get(str(path))
    if isinstance(entry, dict) and entry.get("stamp") == stamp:
        theme = _from_cache(name, entry)
        if theme is not None:
            return theme
    theme = parse_file(path, user_folder)
    if not _has_base(path):
        _write_cache(cache, kept, path, stamp, theme)
    return theme


def of_settings(settings: Settings, user_folder: Path | None, cache: Path | None = None) -> Theme:
    """The theme that the settings ask for; one that there is not is said of where it was asked for.

    Raises:
        UsageError, DocumentError: As `load`.
    """
    try:
        return load(settings.theme, user_folder, cache)
    except UsageError as error:
        raise _of_setting(settings, error) from None


def to_open_with(
    settings: Settings, user_folder: Path | None, cache: Path | None = None
) -> tuple[Theme, UsageError | None]:
    """As `of_settings`; but a theme whose file is wrong keeps nobody out: it is `dark` then, and
    what is wrong is returned with it.

    Raises:
        UsageError: The settings name a theme that there is not.
    """
    try:
        return of_settings(settings, user_folder, cache), None
    except UsageError as error:
        from traindeck.console.documents import DocumentError

        if not isinstance(error, DocumentError):
            raise
        return load("dark", None, cache), error


def check(settings: Settings, user_folder: Path | None) -> None:
    """Refuse what `of_settings` would refuse. Of ours, which are right, no file is read."""
    try:
        ours = _path(settings.theme, user_folder).parent == builtin_folder()
    except UsageError as error:
        raise _of_setting(settings, error) from None
    if not ours:
        of_settings(settings, user_folder)


def _of_setting(settings: Settings, error: UsageError) -> UsageError:
    """An error that names a line of a theme's file says where already."""
    from traindeck.console.documents import DocumentError

    if isinstance(error, DocumentError):
        return error
    return settings.error("theme", error.what, error.fix)


def _path(name: str, user_folder: Path | None) -> Path:
    # The usual case touches one file, not every file of two folders.
    if name.replace("-", "").replace("_", "").isalnum():
        for folder in (user_folder, builtin_folder()):
            for ending in (".yaml", ".yml"):
                if folder is not None and (folder / f"{name}{ending}").is_file():
                    return folder / f"{name}{ending}"
    from traindeck.console.documents import nearest

    names = available(user_folder)
    if name in names:
        return names[name]
    close = nearest(name, names)
    raise UsageError(
        f"There is no theme `{name}`.",
        f"Did you mean `{close}`?" if close else f"There are: {', '.join(sorted(names))}.",
    )


def parse_file(path: Path, user_folder: Path | None = None) -> Theme:
    """Read and check one theme file. `base: NAME` in it takes what is missing from that theme."""
    return _parse_file(path, user_folder, ())


def _parse_file(path: Path, user_folder: Path | None, above: tuple[Path, ...]) -> Theme:
    from traindeck.console.documents import Document, nearest, read

    document: Document = read(path)
    data = dict(document.data)
    tokens: dict[str, str] = {}
    band: float | None = None
    base = data.pop("base", None)
    if base is not None:
        line = ("base",)
        if not isinstance(base, str):
            raise document.error(line, "`base` is not a name: expected the name of a theme.")
        if len(above) > 4:
            raise document.error(line, "`base` leads from theme to theme and back.")
        try:
            below = _path(base, None if base == path.stem else user_folder)
        except UsageError as error:
            raise document.error(line, f"`base`: {error.what}", error.fix) from None
        parent = _parse_file(below, user_folder, (*above, path))
        tokens.update(parent.tokens)
        band = parent.band
    allowed = (*_SECTIONS, "accent", "series", "band", "base")
    for key in data:
        if key not in allowed:
            close = nearest(key, allowed)
            hint = f"Did you mean `{close}`?" if close else f"Expected: {', '.join(allowed)}."
            raise document.error((key,), f"`{key}` is not part of a theme.", hint)
    for section, names in _SECTIONS.items():
        tokens.update(_section(document, data, section, names))
    if "accent" in data:
        tokens["accent"] = _value(document, ("accent",), data["accent"], ground=False)
    if "series" in data:
        tokens.update(_series(document, data["series"]))
    if "band" in data:
        band = _band(document, data["band"])
    elif base is None:
        raise document.error((), "`band` is missing: expected a share like 0.26, or none.")
    _complete(document, tokens, based=base is not None)
    return Theme(path.stem, tokens, band, native=_native(document, tokens))


def _section(
    document: Any, data: Mapping[str, Any], section: str, names: tuple[str, ...]
) -> dict[str, str]:
    from traindeck.console.documents import nearest

    content = data.get(section, {})
    if not isinstance(content, Mapping):
        raise document.error((section,), f"`{section}` is not a list of `name: colour` lines.")
    found: dict[str, str] = {}
    for name, value in content.items():
        if name not in names:
            close = nearest(name, names)
            hint = f"Did you mean `{close}`?" if close else f"Expected: {', '.join(names)}."
            raise document.error((section, name), f"`{section}.{name}` is unknown.", hint)
        found[name] = _value(document, (section, name), value, ground=section == "ground")
    return found


def _value(document: Any, key: tuple[str | int, ...], value: Any, *, ground: bool) -> str:
    name = ".".join(str(part) for part in key)
    text = str(value).strip()
    if isinstance(value, str) and (is_hex(text) or text in COLOR_NAMES):
        return text.lower()
    allowed = ("reverse", "underline", "dim") if ground else ATTRIBUTES
    if isinstance(value, str) and text in allowed:
        return text
    if value is None:  # an unquoted #rrggbb is a comment
        hint = 'A colour needs quotes: "#10141a"; without them it is a comment.'
        raise document.error(key, f"`{name}` is empty.", hint)
    hint = 'Expected "#rrggbb", or a terminal colour such as bright_cyan or default.'
    raise document.error(key, f"`{name}` is not a colour: {text[:40]!r}.", hint)


def _series(document: Any, value: Any) -> dict[str, str]:
    if not isinstance(value, list) or len(value) != SERIES:
        count = f"{len(value)}" if isinstance(value, list) else "no list"
        raise document.error(("series",), f"`series` needs {SERIES} colours, found {count}.")
    return {
        f"s{number + 1}": _value(document, ("series", number), color, ground=False)
        for number, color in enumerate(value)
    }


def _band(document: Any, value: Any) -> float | None:
    if value in (None, "none"):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1:
        return float(value)
    raise document.error(
        ("band",), f"`band` is {value!r}: expected a share between 0 and 1, or none."
    )


def _complete(document: Any, tokens: Mapping[str, str], *, based: bool) -> None:
    for section, names in _SECTIONS.items():
        missing = [name for name in names if name not in tokens]
        if missing:
            what = ", ".join(f"{section}.{name}" for name in missing)
            raise document.error((section,), f"missing: {what}.", "Or add `base: dark`.")
    for name in ("accent", "s1"):
        if name not in tokens:
            shown = "series" if name == "s1" else name
            raise document.error((), f"missing: {shown}.", "Or add `base: dark`.")


def _native(document: Any, tokens: Mapping[str, str]) -> bool:
    """Names or numbers, not both: a contrast between the two cannot be known."""
    hexes = {name for name, value in tokens.items() if is_hex(value)}
    names = {name for name, value in tokens.items() if value in COLOR_NAMES}
    if hexes and names:
        name = sorted(names)[0]
        section = next((s for s, members in _SECTIONS.items() if name in members), "accent")
        problem = f'`{tokens[name]}` and "#rrggbb" are mixed.'
        hint = "A theme takes all its colours from the terminal, or none."
        raise document.error((section, name), problem, hint)
    return bool(names)


# ------------------------------------------------------------------------------------------ cache


def _has_base(path: Path) -> bool:
    try:
        return "base:" in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return True


def _stamp(path: Path) -> list[int]:
    try:
        stat = path.stat()
    except OSError:
        return []
    return [_CACHE_FORMAT, stat.st_mtime_ns, stat.st_size, stat.st_ino]


def _read_cache(cache: Path | None) -> dict[str, Any]:
    import json

    if cache is None:
        return {}
    try:
        kept = json.loads(cache.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}  # a cache that is not there, or not whole, is one that is made anew
    return kept if isinstance(kept, dict) else {}


def _from_cache(name: str, entry: Mapping[str, Any]) -> Theme | None:
    tokens, band = entry.get("tokens"), entry.get("band")
    wanted = {*GROUNDS, *INKS, *STATES, *DELTAS, "accent", *(f"s{n + 1}" for n in range(SERIES))}
    if not isinstance(tokens, dict) or set(tokens) != wanted:
        return None
    values: Iterable[Any] = tokens.values()
    known = (*COLOR_NAMES, *ATTRIBUTES)
    if not all(isinstance(value, str) and (is_hex(value) or value in known) for value in values):
        return None
    if band is not None and not isinstance(band, float):
        return None
    return Theme(name, tokens, band, native=any(v in COLOR_NAMES for v in tokens.values()))


def _write_cache(
    cache: Path | None, kept: dict[str, Any], path: Path, stamp: list[int], theme: Theme
) -> None:
    import json

    from traindeck.backends import files

    if cache is None:
        return
    kept = {name: entry for name, entry in kept.items() if name != str(path)}
    while len(kept) >= 16:
        kept.pop(next(iter(kept)))
    kept[str(path)] = {"stamp": stamp, "tokens": dict(theme.tokens), "band": theme.band}
    try:
        files.replace(cache, json.dumps(kept).encode(), sync=False)
    except OSError:
        return  # the next start reads the YAML again; nothing else depends on it
