"""What is typed into the Launch form, and what it asks for."""

from __future__ import annotations

import pytest

from traindeck.backends.base import Blob, Limits, Resources, RunSpec, UsageError
from traindeck.console.runs.drafting import Draft, draft_of, read_fields, without_default
from traindeck.console.runs.request import shell_signs


def test_a_whole_form_is_what_the_command_line_would_give() -> None:
    fields = {
        "command": "python 'my train.py' --lr 3e-4", "name": "big", "env": "A=1 B='x y'",
        "secrets": "TOKEN, OTHER", "tags": "sft lr=3e-4", "gpus": "2", "nodes": "3", "time": "2h",
        "grace": "1m", "retries": "3", "on_exit": "notify done", "on_stall": "10m:notify stalled",
        "pty": "yes", "code": "snapshot",
    }  # fmt: skip
    found, problems = read_fields(Draft(fields=fields))
    assert problems == {}
    assert found["argv"] == ("python", "my train.py", "--lr", "3e-4")
    assert found["env"] == {"A": "1", "B": "x y"}
    assert found["secrets"] == ("TOKEN", "OTHER")
    assert found["tags"] == {"sft": "", "lr": "3e-4"}
    assert (found["gpus"], found["nodes"]) == (2, 3)
    assert (found["time"], found["grace"], found["retries"]) == (7200, 60, 3)
    assert (found["stall_after"], found["on_stall"]) == (600, ("notify", "stalled"))
    assert (found["pty"], found["code"], found["name"]) == (True, "snapshot", "big")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("command", ""), ("command", "python 'open"), ("env", "no-equals"), ("gpus", "-1"),
        ("gpus", "many"), ("gpus", "9" * 400), ("time", "banana"), ("time", "30"),
        ("retries", "101"), ("cwd", "/no/such/folder"), ("on_stall", "10m"), ("name", "x" * 200),
        ("nodes", "0"), ("nodes", "two"),
        ("array", "0-x"), ("array", "7-0"), ("array", "0-1000"), ("array", "1,1"),
        ("array", "0-3%0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_field(key: str, text: str) -> None:
    _, problems = read_fields(Draft(fields={"command": "true", key: text}))
    assert list(problems) == [key]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("~/bin/train ~ ~/'my data'", ("/h m/bin/train", "/h m", "/h m/my data")),
        ("python '~/x' \"~\" \\~/x a~/x --data=~/x ~you/x",
         ("python", "~/x", "~", "~/x", "a~/x", "--data=~/x", "~you/x")),
    ],
)  # fmt: skip
def test_the_home_is_meant_where_a_shell_would_put_it_in(
    monkeypatch: pytest.MonkeyPatch, text: str, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HOME", "/h m")
    found, problems = read_fields(Draft(fields={"command": text}))
    assert found["argv"] == words and not problems


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("python t.py | tee log", "|"),
        ("a > b < c && d || e ; f & g *.py `h` $HOME ${X} $(y)", "> < && || ; & * ` $HOME ${ $("),
        ("python '|' \"> $HOME\" \\* 'a'\\;\"b && c\" --lr=3e-4 x$", ""),
        ("bash -c 'a | b > $C'", ""),
    ],
)
def test_what_a_shell_would_act_on_is_known_by_its_quoting(text: str, signs: str) -> None:
    assert " ".join(shell_signs(text)) == signs


def test_launching_again_asks_for_what_the_run_was_made_from() -> None:
    spec = RunSpec(
        run_id="0k", name="old", argv=("python", "a b.py"), cwd="/tmp",
        env={"MODE": "x y", "PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1"}, secrets=("TOKEN",),
        tags={"sft": "", "lr": "1"}, resources=Resources(gpus=1, nodes=2),
        limits=Limits(time=5400, grace=30.0, retries=2), on_stall=("say", "it"), stall_after=600.0,
    )  # fmt: skip
    found, problems = read_fields(draft_of(spec, "local", {"PATH": "/usr/bin"}))
    assert problems == {}
    assert found["argv"] == spec.argv
    assert found["env"] == {"MODE": "x y", "CUDA_VISIBLE_DEVICES": "1"}
    assert found["tags"] == spec.tags
    assert (found["time"], found["grace"], found["retries"]) == (5400, 30, 2)
    assert (found["secrets"], found["gpus"], found["nodes"]) == (("TOKEN",), 1, 2)
    assert (found["on_stall"], found["stall_after"]) == (("say", "it"), 600)


def test_an_adopted_run_cannot_be_launched_again() -> None:
    with pytest.raises(UsageError, match="adopted"):
        draft_of(RunSpec(run_id="0k", name="old"), "local", {})
    known = RunSpec(run_id="0k", name="old", argv=("python", "t.py"), adopted=True)
    with pytest.raises(UsageError, match="adopted"):  # its environment is not known
        draft_of(known, "local", {})


def test_a_run_whose_files_are_not_here_cannot_be_launched_again() -> None:
    files = {"plan/demo.py": Blob(digest="0" * 64, size=1)}
    spec = RunSpec(run_id="0k", name="old", argv=("python", "plan/demo.py"), files=files)
    with pytest.raises(UsageError, match="files of its own"):
        draft_of(spec, "local", {})


def test_a_field_that_says_what_holds_anyhow_is_not_changed() -> None:
    draft = without_default(Draft(), "retries", "2")
    assert draft.fields == {"retries": "2"}
    assert without_default(draft, "retries", "0").fields == {}
