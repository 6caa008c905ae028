"""Commands as lines: a shell reads back what was meant, a terminal acts on nothing."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traindeck.console.present.words import command_line, quoted

BASH = shutil.which("bash")


def test_what_cannot_be_seen_is_spelled() -> None:
    assert quoted("plain") == "plain"
    assert quoted("it's a word") == "'it'\"'\"'s a word'"
    assert quoted("a\nb") == r"$'a\nb'"
    assert quoted("it's\t\x1b[2J\\") == r"$'it\'s\t\x1b[2J\\'"
    assert quoted("\u202e\U000e0001\udcff\x85") == r"$'\u202e\U000e0001\xff\u0085'"
    assert command_line(["python", "-c", "x\ny"]) == r"python -c $'x\ny'"


@pytest.mark.skipif(BASH is None, reason="needs bash")
@given(words=st.lists(st.binary(max_size=12).filter(lambda raw: b"\0" not in raw), max_size=4))
@settings(max_examples=60, deadline=None)
def test_bash_reads_back_the_same_words(words: list[bytes]) -> None:
    line = command_line(word.decode("utf-8", "surrogateescape") for word in words)
    assert line.isprintable()
    script = f"for word in {line}; do printf '%s\\0' \"$word\"; done"
    done = subprocess.run(
        [BASH or "", "-c", script], capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=True
    )
    assert done.stdout == b"".join(word + b"\0" for word in words)
