"""Files that people edit: where an error stands, and that writing a value touches nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.console.documents import (
    Document,
    DocumentError,
    change,
    nearest,
    parse,
    read,
    remove,
    write,
)

HERE = Path("/etc/traindeck/settings.yaml")

FILE = """\
# My settings. Do not reorder!
theme: dark   # until the projector is fixed

refresh: 2.0
backends:      # where things run
  gpu1:
    kind: process    # the big one
    options: {root: /scratch/me, nice: 5}
  # gpu2: broken since May
keys:
  runs.stop: "x"   # like in my other tools

# the end
"""


def test_the_line_of_every_value_is_known() -> None:
    document = parse(FILE, HERE)
    assert document.line(("theme",)) == 2
    assert document.line(("backends", "gpu1", "kind")) == 7
    assert document.line(("backends", "gpu1", "options", "nice")) == 8
    assert document.line(("backends", "gpu1", "missing")) == 6
    assert str(document.error(("keys", "runs.stop"), "no.")) == f"{HERE}, line 11: no."


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("theme: dark\nrefresh: [1\n", 3, "not YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "second time (first on line 1)"),
        ("- a\n- b\n", 1, "found a list"),
        ("just text\n", 1, "found a single value"),
        ("a: !!python/object:os.system {}\n", None, ""),
        ("a: &a [*a]\n", 1, "refers to itself"),
        ("a: 2024-99-99\n", 1, "is not a value of the kind"),
        ("theme: dark\n  bad: indent\n", 2, "not YAML"),
        ("? [x]\n: y\n", 1, "plain name"),
        ("a: *nowhere\n", 1, "not YAML"),
        ("a: \x01\n", None, "not YAML"),
        ("a:\tb\n\tc: 1\n", 2, "not YAML"),
    ],
)
def test_a_broken_file_is_named_with_its_line(text: str, line: int | None, words: str) -> None:
    if "python" in text:
        assert parse(text, HERE).data == {"a": {}}  # a tag is never obeyed
        return
    with pytest.raises(DocumentError) as caught:
        parse(text, HERE)
    assert caught.value.line == line
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(HERE))
    assert "\n" not in str(caught.value)


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    text = "a: &a [1,1,1,1,1,1,1,1,1]\n"
    for here, before in zip("bcdefgh", "abcdefg", strict=True):
        text += f"{here}: &{here} [{','.join(['*' + before] * 9)}]\n"
    with pytest.raises(DocumentError, match="nested"):
        parse(text, HERE)
    with pytest.raises(DocumentError, match="nest"):
        parse("a: " + "[" * 4000 + "]" * 4000, HERE)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="no such file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(DocumentError, match="is a directory"):
        read(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xff\xfe\n")
    with pytest.raises(DocumentError, match=r"line 2: is not UTF-8"):
        read(tmp_path / "latin.yaml")
    (tmp_path / "big.yaml").write_bytes(b"#" * 1_000_002)
    with pytest.raises(DocumentError, match="larger than 1 MB"):
        read(tmp_path / "big.yaml")


def _set(text: str, *key: str, to: Any) -> str:
    return change(parse(text, HERE), key, to)


def test_changing_a_value_keeps_its_comment() -> None:
    assert _set(FILE, "theme", to="light") == FILE.replace("theme: dark ", "theme: light ")
    assert _set(FILE, "keys", "runs.stop", to="k") == FILE.replace('"x"', "k")
    nested = _set(FILE, "backends", "gpu1", "options", "root", to="/data")
    assert nested == FILE.replace("/scratch/me", "/data")


def test_a_new_value_goes_to_the_end_of_its_section() -> None:
    assert _set(FILE, "keys", "runs.mark", to="m") == FILE.replace(
        "other tools\n", "other tools\n  runs.mark: m\n"
    )
    assert _set(FILE, "backends", "gpu1", "options", "x", to=True) == FILE.replace(
        "nice: 5}", "nice: 5, x: true}"
    )
    assert _set(FILE, "glyphs", to="ascii").startswith(FILE.split("\n\n# the end")[0])
    assert _set("", "a", "b", to=1) == "a:\n  b: 1\n"
    assert _set("# only a comment", "theme", to="light") == "# only a comment\ntheme: light\n"
    assert _set("backends:\ntheme: dark\n", "backends", "a", to={"kind": "x"}) == (
        "backends: {a: {kind: x}}\ntheme: dark\n"
    )
    assert _set("a: {}\n", "a", "b", to="c") == "a: {b: c}\n"


def test_a_value_can_be_taken_out_again() -> None:
    assert remove(parse(FILE, HERE), ("theme",)) == FILE.replace(
        "theme: dark   # until the projector is fixed\n", ""
    )
    assert remove(parse("a: {b: 1, c: 2}\n", HERE), ("a", "b")) == "a: {c: 2}\n"
    assert remove(parse("a: {b: 1, c: 2}\n", HERE), ("a", "c")) == "a: {b: 1}\n"
    assert remove(parse("a: {b: 1}\n", HERE), ("a", "b")) == "a: {}\n"
    assert remove(parse(FILE, HERE), ("nothing", "here")) == FILE


def test_what_cannot_be_changed_safely_is_refused() -> None:
    with pytest.raises(DocumentError, match="not a mapping"):
        _set("theme: dark\n", "theme", "inner", to=1)
    with pytest.raises(DocumentError, match="cannot be changed"):
        _set("a: &x {k: 1}\nb: *x\n", "b", "k", to=2)


NAMES = st.sampled_from(["theme", "keys", "backends", "a", "b c", "ü", "x.y", "on", "1", "#no", ""])
SCALARS = st.one_of(
    st.text(alphabet="ab \"'#:-{}[],&*!|>%@\n\\é実", max_size=12),
    st.integers(-1000, 1000),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.sampled_from(["a", "b: c", "- d"]), max_size=3),
)
TREES = st.dictionaries(
    NAMES,
    st.one_of(SCALARS, st.dictionaries(NAMES, st.one_of(SCALARS, st.dictionaries(NAMES, SCALARS)))),
    max_size=4,
)


def _written(tree: Any, style: bool | None) -> str:
    """A tree as a person's file, with a comment after every line that can carry one."""
    import yaml

    text = yaml.safe_dump(tree, default_flow_style=style, allow_unicode=True, sort_keys=False)
    lines = ["# top"]
    for number, line in enumerate(text.splitlines()):
        safe = line and not line.endswith(("'", '"', "\\")) and "'" not in line and '"' not in line
        plain = safe and ("|" not in text and ">" not in text and "\\" not in text)
        lines.append(f"{line}  # note {number}" if plain and _parses(text) else line)
    result = "\n".join(lines) + "\n# end\n"
    return result if _parses(result) == tree else text


def _parses(text: str) -> Any:
    try:
        return parse(text, HERE).data
    except DocumentError:
        return None


@given(TREES, st.sampled_from([False, None]), st.lists(NAMES, min_size=1, max_size=3), SCALARS)
def test_any_change_is_exactly_that_change(
    tree: dict[str, Any], style: bool | None, path: list[str], value: Any
) -> None:
    text = _written(tree, style)
    document = parse(text, HERE)
    try:
        after = change(document, tuple(path), value)
    except DocumentError:
        return  # refused: then nothing was written
    got: Any = parse(after, HERE).data
    for name in path:
        got = got[name]
    assert got == value
    # Every comment is still there, except those inside the value that was replaced.
    inside = document.data
    for name in path:
        inside = inside.get(name, {}) if isinstance(inside, dict) else {}
    if not isinstance(inside, (dict, list)):
        for line in text.splitlines():
            if "#" in line and line.startswith("#"):
                assert line in after


@given(TREES, st.sampled_from([False, None]), st.lists(NAMES, min_size=1, max_size=3))
def test_any_removal_is_exactly_that_removal(
    tree: dict[str, Any], style: bool | None, path: list[str]
) -> None:
    document = parse(_written(tree, style), HERE)
    try:
        after = remove(document, tuple(path))
    except DocumentError:
        return
    got: Any = parse(after, HERE).data
    for name in path[:-1]:
        got = got.get(name) if isinstance(got, dict) else None
    assert not isinstance(got, dict) or path[-1] not in got


def test_a_file_is_replaced_as_a_whole_and_through_a_link(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "settings.yaml"
    write(real, "a: 1\n")
    link = tmp_path / "config" / "settings.yaml"
    link.parent.mkdir()
    link.symlink_to(real)
    write(link, "a: 2\n")
    assert link.is_symlink()
    assert real.read_text() == "a: 2\n"
    assert real.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in real.parent.iterdir()] == ["settings.yaml"]
    with pytest.raises(DocumentError, match="cannot be written"):
        write(real / "below-a-file.yaml", "x")


def test_the_nearest_name_is_offered() -> None:
    assert nearest("them", ["theme", "glyphs"]) == "theme"
    assert nearest("zzz", ["theme", "glyphs"]) is None
    assert Document(HERE, "").data == {}
