"""A person's own theme: how it is found, extended, and told what is wrong with it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from traindeck.backends.base import UsageError
from traindeck.console.documents import DocumentError
from traindeck.console.present import theme as themes
from traindeck.console.present.theme import Paint, available, builtin_folder, for_depth, load

DARK = (builtin_folder() / "dark.yaml").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "themes").mkdir()
    return tmp_path / "themes"


def test_a_theme_may_change_one_colour_of_another(folder: Path) -> None:
    (folder / "mine.yaml").write_text('base: dark\naccent: "#FFAA00"\n')
    mine = load("mine", folder)
    assert mine.tokens["accent"] == "#ffaa00"
    assert mine.tokens["bg"] == load("dark").tokens["bg"]
    assert available(folder)["mine"] == folder / "mine.yaml"


def test_a_persons_theme_goes_before_ours_and_may_build_on_it(folder: Path) -> None:
    (folder / "dark.yaml").write_text('base: dark\nstate: {failed: "#ff0000"}\n')
    assert load("dark", folder).tokens["failed"] == "#ff0000"
    assert load("dark").tokens["failed"] != "#ff0000"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("base: dark\nacent: red\n", 2, "Did you mean `accent`?"),
        ("base: dark\nstate:\n  runing: '#ffffff'\n", 3, "Did you mean `running`?"),
        ("base: dark\nstate:\n  running: '#fff'\n", 3, 'Expected "#rrggbb"'),
        ("base: dark\nstate:\n  running: #ffffff\n", 3, "needs quotes"),
        ("base: dark\nstate: 5\n", 2, "not a list of `name: colour` lines"),
        ("base: dark\nseries: ['#ffffff']\n", 2, "needs 8 colours, found 1"),
        ("base: dark\nband: 7\n", 2, "between 0 and 1"),
        ("base: drak\n", 1, "Did you mean `dark`?"),
        ("base: [dark]\n", 1, "expected the name of a theme"),
        ("base: bad\n", 1, "from theme to theme"),
        ("base: dark\naccent: bright_cyan\n", 2, "are mixed"),
        (DARK.replace("  muted:", "  # muted:"), 13, "missing: ink.muted. Or add `base: dark`"),
        (DARK.replace("band:", "# band:"), None, "`band` is missing"),
        (DARK.replace("\naccent:", "\n# accent:"), None, "missing: accent"),
        ("base: dark\nground: [\n", 3, "not YAML"),
    ],
    ids=lambda value: value[-24:] if isinstance(value, str) else None,
)
def test_a_wrong_theme_names_file_line_and_what_was_expected(
    folder: Path, text: str, line: int | None, words: str
) -> None:
    file = folder / "bad.yaml"
    file.write_text(text)
    (folder / "loop.yaml").write_text("base: bad\n")
    if text == "base: bad\n":
        file.write_text("base: loop\n")
        with pytest.raises(DocumentError, match="from theme to theme"):
            load("bad", folder)
        return
    with pytest.raises(DocumentError) as caught:
        load("bad", folder)
    assert str(file) in str(caught.value)
    assert words in str(caught.value)
    if line is not None:
        assert caught.value.line == line


@pytest.mark.parametrize("name", ["nope", "../secret", "", "dark\0", "drak"])
def test_an_unknown_theme_is_refused_by_name(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="There is no theme"):
        load(name, folder)


def test_a_second_start_reads_no_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache" / "themes.json"
    first = load("dark", None, cache)
    monkeypatch.setattr(themes, "parse_file", lambda *_: pytest.fail("parsed again"))
    again = load("dark", None, cache)
    assert (again.tokens, again.band, again.native) == (first.tokens, first.band, first.native)
    assert cache.stat().st_mode & 0o777 == 0o600


def test_an_edited_theme_is_seen_at_once(tmp_path: Path, folder: Path) -> None:
    cache = tmp_path / "themes.json"
    file = folder / "mine.yaml"
    file.write_text(DARK)
    load("mine", folder, cache)
    os.utime(file, ns=(1, 1))
    file.write_text(DARK.replace("#6fb1ff", "#00ff00"))
    assert load("mine", folder, cache).tokens["accent"] == "#00ff00"


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"x": 1}', "\x00", '{"FILE": 5}',
    '{"FILE": {"stamp": STAMP, "tokens": {"bg": "evil"}, "band": 0.2}}',
    '{"FILE": {"stamp": STAMP, "tokens": ["bg"], "band": 0.2}}'])  # fmt: skip
def test_a_damaged_cache_is_no_more_than_a_slower_start(tmp_path: Path, content: str) -> None:
    file = builtin_folder() / "dark.yaml"
    cache = tmp_path / "themes.json"
    stamp = json.dumps(themes._stamp(file))
    cache.write_text(content.replace("FILE", str(file)).replace("STAMP", stamp))
    assert load("dark", None, cache).tokens["accent"] == "#6fb1ff"


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert load("dark", None, tmp_path / "file" / "themes.json").name == "dark"


def test_a_style_is_painted_in_each_depth() -> None:
    dark, ansi = load("dark"), load("ansi16")
    assert dark.paint("running bold") == Paint("#3ed6a4", "#10141a", bold=True)
    assert dark.paint("text", "select").ground == "#1d3048"
    assert dark.paint("on_accent @accent").ground == "#6fb1ff"
    assert for_depth(dark, "256", ansi).paint("text").ink == "253"
    sixteen = for_depth(dark, "16", ansi)
    assert sixteen.paint("failed").ink == "bright_red"
    assert sixteen.paint("failed", "select") == Paint(reverse=True)
    assert sixteen.paint("strong") == Paint(bold=True)
    none = for_depth(dark, "none", ansi)
    for token in (*themes.INKS, *themes.STATES, "accent", "s1"):
        for ground in themes.GROUNDS:
            paint = none.paint(token, ground)
            assert paint.ink is None
            assert paint.ground is None
    assert none.paint("accent") == Paint(bold=True)
    assert none.paint("text", "select") == Paint(reverse=True)
    assert none.paint("on_accent @accent").reverse  # a cursor can be seen
