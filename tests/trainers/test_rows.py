"""The first bad record is named by file, line and field before anything heavy is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st


def look(path: Path, **options: Any) -> Any:
    import traindeck_rows

    return traindeck_rows.look_at_files(str(path), "train", **({"answers": True} | options))


def refusal(path: Path, **options: Any) -> str:
    from traindeck_reporting import Refused

    with pytest.raises(Refused) as error:
        look(path, **options)
    return str(error.value)


GOOD = {
    "messages": [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Hello!"},
    ]
}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": [{"role": "user"}]}, "field messages[0].content: is missing"),
        ({"messages": [{"content": "a"}]}, "field messages[0].role: is missing"),
        (
            {"messages": [*GOOD["messages"], {"role": "user", "content": 3}]},
            "field messages[2].content: expected text, found the number 3",
        ),
        (
            {"messages": [{"role": None, "content": "a"}]},
            "messages[0].role: expected text, found null",
        ),
        ({"messages": "hello"}, "field messages: expected a list of messages, found text"),
        ({"messages": []}, "field messages: is an empty list"),
        ({"messages": ["hello"]}, "field messages[0]: expected an object with role and content"),
        ({"messages": [{"role": "user", "content": "a"}]}, "field messages: has no assistant turn"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages[0].content: expected text, found a list (parts of a message, images)",
        ),
        (
            {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"f": 1}]}]},
            "field messages[0].tool_calls: this trainer does not use it",
        ),
        (
            {"messages": [{"role": "assistant", "content": "a", "weight": 0}]},
            "field messages[0].weight: this trainer does not use it",
        ),
        ({**GOOD, "tools": [{"name": "f"}]}, "field tools: this trainer does not use it"),
        ({"conversations": [{"from": "human"}]}, "field conversations[0].content: is missing"),
        ({"prompt": "a"}, "field completion: is missing; a row with `prompt` needs it"),
        ({"completion": "a"}, "field prompt: is missing"),
        ({"prompt": "a", "completion": "b"}, "has `prompt`, but the first row has `messages`"),
        ({"instruction": "a", "output": "b"}, "found `instruction`, `output`"),
        ({}, "found nothing"),
        ([1, 2], "expected an object with named fields, found a list"),
        (None, "found null"),
        (
            {"messages": [{"role": "assistant", "content": "half \ud800"}]},
            "messages[0].content: character 6 is half of a surrogate pair",
        ),
    ],
)
def test_a_bad_record_is_named_by_file_line_and_field(
    tmp_path: Path, row: object, says: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n\n{json.dumps(row)}\n{json.dumps(GOOD)}\n")
    message = refusal(path)
    assert message.startswith(f"{path}:3: ")
    assert says in message


@pytest.mark.parametrize(
    ("name", "content", "where", "says"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"\n', ":2:", "not JSON: expecting ',' delimiter"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', ":2:", "not UTF-8 text"),
        pytest.param("a.jsonl", b"[" * 100_000, ":1:", "nested too deeply", id="deep"),
        ("a.jsonl", b"", "", "holds no rows"),
        ("a.json", b'[{"text": "a"},\n {"text": "b"}\n {"text": "c"}]', ":3:", "expected a comma"),
        ("a.json", b'[{"text": "a"},\n\n {"text": 5}]', ":3:", "field text: expected text"),
        ("a.json", b'{"text": "a"}', "", "expected a JSON list of records"),
        ("a.json", b'[{"text": "a"}', "", "not JSON"),
        (
            "a.csv",
            b'prompt,completion\na,b\n"x\ny"\n',
            ":3:",
            "1 cells where the first line",
        ),
        ("a.csv", b"question,answer\na,b\n", ":2:", "found `answer`, `question`"),
        ("a.csv", b"text\n\xff\n", "", "is not UTF-8"),
        ("a.parquet", b"PAR1", "", "not Parquet"),
        ("a.txt", b"hello", "", "expected a file ending in .jsonl"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_one_line(
    tmp_path: Path, name: str, content: bytes, where: str, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path}{where}") and says in message
    assert "\n" not in message


def test_how_many_others_are_bad_is_said_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [GOOD, {"messages": []}, GOOD, {"text": "a"}, {}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    message = refusal(path)
    assert message.startswith(f"{path}:2: ")
    assert message.endswith("(2 more of 5 rows are bad.)")


def test_a_first_bad_row_is_named_even_if_the_file_breaks_later(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"text": 1}\n{broken\n')
    assert refusal(path).startswith(f"{path}:2: ")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.jsonl").endswith("no such file or folder.")
    assert "no data file in this folder" in refusal(tmp_path)


def test_the_four_forms_of_a_file_hold_the_same_rows(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"prompt": "a", "completion": "b, c"}, {"prompt": "d\ne", "completion": "é"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(rows, indent=2))
    (tmp_path / "a.csv").write_text('prompt,completion\na,"b, c"\n"d\ne",é\n')
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = [look(tmp_path / f"a.{suffix}") for suffix in ("jsonl", "json", "csv", "parquet")]
    assert {rows.digest for rows in found} == {found[0].digest}
    assert all(rows.count == 2 and rows.kind == "prompt" and not rows.chat for rows in found)


def test_sharegpt_and_messages_are_the_same_rows(tmp_path: Path) -> None:
    old = [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "Hello!"}]
    (tmp_path / "new.jsonl").write_text(json.dumps(GOOD))
    (tmp_path / "old.jsonl").write_text(json.dumps({"conversations": old}))
    assert look(tmp_path / "new.jsonl").digest == look(tmp_path / "old.jsonl").digest


def test_what_is_not_used_and_what_is_empty_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    silent = {"messages": [{"role": "assistant", "content": "", "weight": 1}], "id": 7}
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps(silent)}\n")
    rows = look(path)
    assert dict(rows.unused) == {"id": 1, "messages[].weight": 1}
    assert (rows.empty, rows.first_empty) == (1, f"{path}:2")


def test_rows_that_are_in_both_sets_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n')
    other = tmp_path / "eval.jsonl"
    other.write_text('{"text": "c"}\n{"text": "d"}\n')
    held_out = look(other, keep=True)
    assert look(path, against=held_out).repeated == 1


def test_a_folder_gives_the_files_of_the_split(tmp_path: Path) -> None:
    for name in ("train-1.jsonl", "train-2.jsonl", "test.jsonl"):
        (tmp_path / name).write_text('{"text": "a"}\n')
    rows = look(tmp_path)
    assert [Path(path).name for path in rows.files] == ["train-1.jsonl", "train-2.jsonl"]
    assert rows.count == 2


def test_a_name_is_a_path_if_it_looks_like_one_or_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from traindeck_rows import is_path

    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert is_path("here") and is_path("./a") and is_path("~/a") and is_path("a.jsonl")
    assert not is_path("org/name") and not is_path("name")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
rows_like = st.dictionaries(
    st.sampled_from(["messages", "conversations", "prompt", "completion", "text", "tools"]),
    json_values
    | st.lists(st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), json_values)),
)


@given(json_values | rows_like, st.booleans())
def test_any_record_is_either_rows_of_text_or_refused_in_a_sentence(
    record: Any, answers: bool
) -> None:
    from traindeck_rows import BadRow, Rows, normal

    try:
        row = normal(record, "f:1", Rows("f"), answers)
    except BadRow as error:
        assert str(error).startswith("f:1: ")
        return
    for value in row.values():
        texts = (
            [m[k] for m in value for k in ("role", "content")]
            if isinstance(value, list)
            else [value]
        )
        assert all(isinstance(text, str) for text in texts)
