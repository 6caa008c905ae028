"""JSON in and out: what is not JSON is said to be none, on every interpreter."""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.payload.harness import Agent, Refusal, Served

from traindeck.backends.payload.agent import wire

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip


@given(VALUES)
def test_a_value_comes_back(value: Any) -> None:
    text = wire.dumps(value)
    assert text.isascii()
    assert json.loads(text) == value
    assert wire.loads(text) == value


@given(st.text() | st.text('{}[]",:0123456789.eE-+truefalsn\\ u', max_size=20))
def test_what_json_reads_is_what_is_read(text: str) -> None:
    def reject(name: str) -> None:
        raise ValueError(name)

    try:
        expected = json.loads(text, parse_constant=reject)
    except ValueError:
        with pytest.raises(ValueError):
            wire.loads(text)
    else:
        assert wire.loads(text) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_not_written(value: float) -> None:
    with pytest.raises(ValueError):
        wire.dumps({"x": value})


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b'{"a"',
        b'{"a":',
        b'{"a":1',
        b'{"a":1,',
        b"[",
        b'"',
        b'{"a":NaN}',
        b"{}x",
        b"[" * 100_000,
    ],
    ids=lambda text: text[:9].decode(),
)
def test_broken_requests_are_refused_on_every_python(every_agent: Agent, text: bytes) -> None:
    done = subprocess.run([*every_agent.argv, "poll"], input=text, capture_output=True, check=False)
    assert done.stderr == b""
    assert done.returncode == 1
    assert "JSON" in json.loads(done.stdout)["error"]


def test_serve_survives_whatever_a_request_does(agent: Agent) -> None:
    link = Served(agent)
    for verb in (
        "start",
        "poll",
        "cancel",
        "find",
        "ls",
        "read",
        "rm",
        "put",
        "adopt",
        "unwatch",
        "follow",
    ):
        for words in ({}, {"run_id": {}}, {"runs": [[]]}, {"run": 5, "run_id": "0" * 12}):
            with contextlib.suppress(Refusal):
                link.call(verb, words)
    assert link.call("ping", {}) == ({}, b"")
    assert link.close() == 0
