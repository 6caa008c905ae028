"""A tree's objects: the same for the same files, and few that change with one of them."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.backends.trees import Leaf, entries, objects

parts = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=5
).filter(lambda part: part not in (".", ".."))
leaves = st.builds(
    lambda data, executable: Leaf(hashlib.sha256(data).hexdigest(), len(data), executable),
    st.binary(max_size=5),
    st.booleans(),
)


@st.composite
def files(draw: st.DrawFn) -> dict[str, Leaf]:
    """Files of which none is a folder of another."""
    found = draw(st.dictionaries(st.lists(parts, min_size=1, max_size=4).map("/".join), leaves))
    folders = {path[:at] for path in found for at, sign in enumerate(path) if sign == "/"}
    return {path: leaf for path, leaf in found.items() if path not in folders}


@given(files())
def test_a_tree_holds_the_files_it_was_made_of(made: dict[str, Leaf]) -> None:
    top, folders = objects(made)
    found: dict[str, Leaf] = {}

    def look(digest: str, above: str) -> None:
        assert hashlib.sha256(folders[digest]).hexdigest() == digest
        for name, kind, inner, size in entries(folders[digest]):
            if kind == "tree":
                look(inner, f"{above}{name}/")
            else:
                found[above + name] = Leaf(inner, size, kind == "exec")

    look(top, "")
    assert found == made


@given(files(), st.randoms())
def test_the_order_of_files_makes_no_difference(made: dict[str, Leaf], chance: object) -> None:
    paths = list(made)
    chance.shuffle(paths)  # type: ignore[attr-defined]
    assert objects({path: made[path] for path in paths}) == objects(made)


def test_one_changed_file_changes_only_the_folders_above_it() -> None:
    made = {f"{a}/{b}/{n}.py": Leaf("0" * 64, 1) for a in range(5) for b in range(5) for n in "xy"}
    before = objects(made)
    after = objects({**made, "3/3/x.py": Leaf("1" * 64, 1)})
    assert len(after.folders.keys() - before.folders.keys()) == 3


def test_the_object_of_a_folder_is_these_bytes() -> None:
    top, folders = objects({"b.py": Leaf("1" * 64, 7), "a": Leaf("0" * 64, 0, True)}, ["c/d"])
    empty = hashlib.sha256(b'{"entries":[],"format":1}').hexdigest()
    inner = f'{{"entries":[["d","tree","{empty}",0]],"format":1}}'
    assert (
        folders[top]
        == (
            f'{{"entries":[["a","exec","{"0" * 64}",0],["b.py","file","{"1" * 64}",7],'
            f'["c","tree","{hashlib.sha256(inner.encode()).hexdigest()}",0]],"format":1}}'
        ).encode()
    )


@pytest.mark.parametrize("data", [b"", b"[]", b"5", b'{"format":2,"entries":[]}', b"\xff"])
def test_what_is_no_object_is_not_read(data: bytes) -> None:
    with pytest.raises(ValueError):
        entries(data)


def test_names_that_are_no_text_come_back_as_they_were() -> None:
    top, folders = objects({"\udcff\n": Leaf("0" * 64, 0)})
    assert json.loads(folders[top])["entries"][0][0] == "\udcff\n"
    assert folders[top].isascii()
