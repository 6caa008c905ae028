"""Tracebacks as interpreters really print them, and whatever else may stand in a log."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.console.logs.tracebacks import is_library, package_of, parse

EVIDENCE = Path(__file__).parent / "evidence"


def said(program: str, tmp_path: Path, *arguments: str, **env: str) -> list[bytes]:
    """What this interpreter prints when a program fails."""
    script = tmp_path / "train.py"
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, *arguments, str(script)],
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        check=False,
    )
    return done.stdout.split(b"\n")


def test_own_and_library_frames_are_told_apart(tmp_path: Path) -> None:
    lines = said(
        "import json\ndef load(text):\n    return json.loads(text)\nprint('go')\nload('{')\n",
        tmp_path,
    )
    (found,) = parse(lines)
    assert lines[found.first].startswith(b"Traceback")
    assert found.raised == found.last and lines[found.last].startswith(b"json.decoder.JSON")
    assert found.kind == "json.decoder.JSONDecodeError"
    assert [(f.function, f.library) for f in found.frames] == [
        ("<module>", False),
        ("load", False),
        ("loads", True),
        ("decode", True),
        ("raw_decode", True),
    ]
    assert found.frames[2].package == "json"
    for frame in found.frames:
        assert b"File " in lines[frame.first] and frame.last >= frame.first


def test_chained_exceptions_are_two_that_belong_together(tmp_path: Path) -> None:
    lines = said(
        "def f():\n    try:\n        1 / 0\n    except ZeroDivisionError as e:\n"
        "        raise ValueError('outer') from e\n"
        "try:\n    f()\nexcept ValueError:\n    {}['text']\n",
        tmp_path,
    )
    first, second, third = parse(lines)
    assert [t.kind for t in (first, second, third)] == [
        "ZeroDivisionError",
        "ValueError",
        "KeyError",
    ]
    assert [t.chained for t in (first, second, third)] == [False, True, True]
    assert second.message == "outer"


def test_exception_groups_are_read_with_their_parts(tmp_path: Path) -> None:
    lines = said(
        "def f():\n    raise TypeError('b')\ntry:\n    f()\nexcept TypeError as e:\n"
        "    raise ExceptionGroup('two', [ValueError('a'), e])\n",
        tmp_path,
    )
    kinds = {t.kind for t in parse(lines)}
    assert "ExceptionGroup" in kinds and "TypeError" in kinds


def test_a_recursion_and_a_syntax_error(tmp_path: Path) -> None:
    (found,) = parse(said("def r(n):\n    return r(n + 1)\nr(0)\n", tmp_path))
    assert found.kind == "RecursionError"
    (found,) = parse(said("x = foo(\n", tmp_path))
    assert found.kind == "SyntaxError" and not found.whole
    assert [frame.line for frame in found.frames] == [1]


def test_a_crash_dump_has_frames_and_no_exception(tmp_path: Path) -> None:
    lines = said(
        "import os, signal\ndef f():\n    os.kill(os.getpid(), signal.SIGSEGV)\nf()\n",
        tmp_path,
        "-X",
        "faulthandler",
    )
    (found,) = parse(lines)
    assert found.raised is None
    assert [frame.function for frame in found.frames] == ["f", "<module>"]


@pytest.mark.parametrize("beyond", range(-9, 14))
def test_a_traceback_of_rich_is_one_too(tmp_path: Path, beyond: int) -> None:
    # The box is 80 columns wide: which part of a frame's line goes to the next hangs on its path.
    room = 80 - len("│ /train.py:4 in │") + beyond - len(str(tmp_path)) - 1
    folder = tmp_path / ("d" * max(1, room))
    folder.mkdir()
    lines = said(
        "import rich.traceback\nrich.traceback.install(width=100)\n"
        "def g():\n    raise ValueError('x is bad')\ng()\n",
        folder,
        COLUMNS="80",
    )
    (found,) = parse(lines)
    assert (found.kind, found.message) == ("ValueError", "x is bad")
    assert [(frame.line, frame.function) for frame in found.frames] == [(5, "<module>"), (4, "g")]
    assert {frame.file for frame in found.frames} == {str(folder / "train.py")}


def test_colours_do_not_hide_a_traceback() -> None:
    lines = [
        b"Traceback (most recent call last):",
        b'  File \x1b[35m"/home/ada/t.py"\x1b[0m, line \x1b[35m3\x1b[0m, in \x1b[35mmain\x1b[0m',
        b"    \x1b[31mg\x1b[0m\x1b[1;31m()\x1b[0m",
        b"    \x1b[31m~\x1b[0m\x1b[1;31m^^\x1b[0m",
        b"\x1b[1;35mValueError\x1b[0m: \x1b[35mx is bad\x1b[0m",
    ]
    (found,) = parse(lines)
    assert (found.kind, found.message, found.last) == ("ValueError", "x is bad", 4)
    assert found.frames[0].function == "main"


def test_interleaved_ranks_are_read_apart() -> None:
    lines = (EVIDENCE / "oom-two-ranks.log").read_bytes().split(b"\n")
    zero, one = parse(lines)
    assert (zero.rank, one.rank) == (0, 1)
    assert zero.kind == "torch.OutOfMemoryError"
    assert [frame.function for frame in zero.frames if not frame.library] == [
        "main",
        "step",
        "forward",
    ]
    assert [frame.package for frame in zero.frames if frame.library] == [
        "torch/nn/modules",
        "torch/_dynamo",
    ]
    assert one.kind == "torch.distributed.DistBackendError"


def test_a_logger_s_stamp_before_every_line_is_looked_through() -> None:
    stamp = b"(EngineCore_DP0 pid=152) ERROR 12-25 01:10:28 [core.py:229] "
    lines = [
        stamp + line
        for line in (
            b"Traceback (most recent call last):",
            b'  File "/opt/venv/lib/python3.12/site-packages/vllm/engine/core.py", line 8, in run',
            b"    raise ValueError('no room')",
            b"ValueError: no room",
        )
    ]
    (found,) = parse(lines)
    assert (found.kind, found.message) == ("ValueError", "no room")


def test_a_message_of_several_lines_is_kept_whole() -> None:
    lines = [
        b"Traceback (most recent call last):",
        b'  File "/home/ada/train.py", line 3, in main',
        b"    model.load_state_dict(state)",
        b"RuntimeError: Error(s) in loading state_dict for Llama:",
        b'\tMissing key(s) in state_dict: "a".',
        b"\tsize mismatch for b: copying a param",
        b"step 12",
    ]
    (found,) = parse(lines)
    assert found.last == 5 and "size mismatch for b" in found.message


def test_lines_of_others_in_between_do_not_end_it() -> None:
    lines = [
        b"Traceback (most recent call last):",
        b'  File "/home/ada/train.py", line 3, in main',
        b"step 330 | loss 3.2 | somebody else speaks",
        b"    f()",
        b"ValueError: x",
    ]
    (found,) = parse(lines)
    assert found.kind == "ValueError" and found.last == 4


def test_the_end_of_one_whose_beginning_was_not_seen() -> None:
    (found,) = parse([b'  File "/home/ada/a.py", line 3, in main', b"    f()", b"KeyError: 'x'"])
    assert not found.whole and found.kind == "KeyError"


@pytest.mark.parametrize(
    ("file", "library", "package"),
    [
        ("/home/ada/train.py", False, ""),
        ("nanogpt/trainer.py", False, ""),
        ("<string>", False, ""),
        (
            "/opt/venv/lib/python3.11/site-packages/torch/nn/modules/linear.py",
            True,
            "torch/nn/modules",
        ),
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", True, "yaml"),
        ("/usr/lib/python3.12/asyncio/base_events.py", True, "asyncio"),
        ("/usr/lib/python3.12/runpy.py", True, "runpy"),
        ("<frozen importlib._bootstrap>", True, "importlib"),
        ("/tmp/torchinductor_ada/ab/cab.py", True, ""),
        ("/opt/venv/bin/torchrun", True, "torchrun"),
        ("/opt/venv/lib/python3.11/site-packages/six.py", True, "six"),
    ],
)
def test_whose_file_it_is(file: str, library: bool, package: str) -> None:
    assert is_library(file) is library
    if package:
        assert package_of(file) == package


PIECES = [
    b"Traceback (most recent call last):",
    b'  File "/a/b.py", line 3, in f',
    b'  File "x.py", line 99999999999999',
    b"    source()",
    b"ValueError: x",
    b"",
    b"During handling of the above exception, another exception occurred:",
    b"  + Exception Group Traceback (most recent call last):",
    b'  |   File "a", line 1, in <module>',
    b"  +-+---------------- 1 ----------------",
    b"[rank1]: Traceback (most recent call last):",
    b'[rank1]:   File "/a/b.py", line 3, in f',
    b"[rank1]: KeyError",
    b"\tindented",
    "│ /a/b.py:3 in f │".encode(),
    b"Current thread 0x00007f (most recent call first):",
    b"step 1 | loss 2",
]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=40), max_size=40))
def test_any_lines_at_all_are_read_without_harm(lines: list[bytes]) -> None:
    for found in parse(lines):
        assert 0 <= found.first <= found.last < len(lines)
        assert all(found.first <= f.first <= f.last <= found.last for f in found.frames)
        assert found.raised is None or found.first <= found.raised <= found.last


def test_hostile_lines_cost_in_proportion_to_their_length() -> None:
    rng = random.Random(2)
    big = [piece * (200_000 // max(1, len(piece))) for piece in PIECES]
    parse([rng.choice(big) for _ in range(40)])
    parse([rng.choice(PIECES) for _ in range(100_000)])
