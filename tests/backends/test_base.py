"""The encoding of the contract's data: what is written can be read, by older and newer readers."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traindeck.backends import base
from traindeck.backends.base import (
    Blob,
    Code,
    Facts,
    JobRef,
    Limits,
    Plan,
    Rank,
    Resources,
    RunSpec,
    State,
    Status,
    decode,
    encode,
    plan_digest,
)

DATA = [
    value
    for value in vars(base).values()
    if dataclasses.is_dataclass(value) and isinstance(value, type)
]
BINARY = {base.Done, base.FilePiece, base.LogChunk, base.Piece}

text = st.text(max_size=12)
names = st.dictionaries(text, text, max_size=3)
numbers = st.floats(allow_nan=False, allow_infinity=False)
blobs = st.builds(
    Blob, digest=text, size=st.integers(0, 9), mode=st.just(0o644), data=st.binary(max_size=4)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)
specs = st.builds(
    RunSpec,
    run_id=text,
    argv=st.lists(text, max_size=3).map(tuple),
    env=names,
    secrets=st.lists(text, max_size=2).map(tuple),
    resources=st.builds(Resources, gpus=st.integers(0, 8), nodes=st.integers(1, 4)),
    limits=st.builds(Limits, time=st.none() | numbers, grace=numbers),
    code=st.builds(Code, mode=text, commit=st.none() | text, omitted=names),
    files=st.dictionaries(text, blobs, max_size=2),
    recipe=st.none() | st.dictionaries(text, json_values, max_size=2),
    options=st.dictionaries(text, json_values, max_size=2),
    stall_after=st.none() | numbers,
    after=st.lists(text, max_size=3).map(tuple),
)
plans = st.builds(Plan, backend=text, spec=specs, argv=st.just(("x",)), env=names, digest=text)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(encode(value), allow_nan=False))


def test_what_is_waited_for_is_written_as_it_was_when_it_could_be_one_only() -> None:
    assert [encode(RunSpec(after=a))["after"] for a in ((), ("a",), ("a", "b"))] == [
        None, "a", ["a", "b"],
    ]  # fmt: skip
    assert decode(RunSpec, {"after": "a"}).after == ("a",)
    assert decode(RunSpec, {"after": None}).after == ()
    for wrong in (7, [7], {"a": 1}):
        with pytest.raises(ValueError, match="after"):
            decode(RunSpec, {"after": wrong})


def without_content(spec: RunSpec) -> RunSpec:
    """Bytes and local paths do not travel in the JSON."""
    files = {p: dataclasses.replace(b, data=None, path=None) for p, b in spec.files.items()}
    return dataclasses.replace(spec, files=files)


@given(specs)
@settings(deadline=None, max_examples=100)
def test_a_run_is_read_as_it_was_written(spec: RunSpec) -> None:
    assert decode(RunSpec, through_json(spec)) == without_content(spec)


def test_a_status_is_read_as_it_was_written() -> None:
    status = Status(state=State.FAILED, rank=Rank.RECORD, exit_code=3, evidence=("a", "b"))
    assert decode(Status, through_json(status)) == status


@pytest.mark.parametrize("kind", DATA, ids=lambda kind: kind.__name__)
def test_every_field_has_a_default_and_a_newer_writers_fields_are_ignored(kind: type) -> None:
    wire = {f.name for f in dataclasses.fields(kind) if f.metadata.get("wire", True)}
    written = {} if kind in BINARY else through_json(kind())
    assert kind in BINARY or set(written) == wire
    assert decode(kind, {**written, "a_field_of_2031": [1]}) == kind()
    assert decode(kind, {}) == kind()


@pytest.mark.parametrize("kind", DATA, ids=lambda kind: kind.__name__)
def test_data_cannot_be_changed_and_is_given_by_keyword(kind: type) -> None:
    value = kind()
    name = dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)
    assert not hasattr(value, "__dict__")
    with pytest.raises(TypeError):
        kind("positional")


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (RunSpec, {"argv": "python"}),
        (RunSpec, {"argv": ["python", 3]}),
        (RunSpec, {"env": ["A=1"]}),
        (RunSpec, {"env": {"A": 1}}),
        (RunSpec, {"name": None}),
        (RunSpec, {"attempt": True}),
        (RunSpec, {"attempt": 1.5}),
        (RunSpec, {"resources": 8}),
        (RunSpec, {"limits": {"time": "2h"}}),
        (RunSpec, {"limits": {"time": math.inf}}),
        (RunSpec, {"limits": {"grace": math.nan}}),
        (RunSpec, {"limits": {"grace": 10**400}}),
        (Status, {"state": "levitating"}),
        (Status, {"rank": 7}),
        (Facts, {"devices": {"0": "GPU-1"}}),
        (base.LogChunk, {"data": "text"}),
        (base.Health, {"checks": [[True]]}),
        (base.Health, {"checks": [[True, "a", "b"]]}),
    ],
)
def test_a_value_of_another_shape_is_refused_by_the_fields_name(
    kind: type, raw: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}.{next(iter(raw))}"):
        decode(kind, raw)


@given(st.sampled_from(DATA), st.data())
@settings(deadline=None, max_examples=200)
def test_whatever_a_field_holds_reading_it_raises_nothing_but_valueerror(
    kind: type, data: st.DataObject
) -> None:
    fields = sorted(get_type_hints(kind))
    raw = data.draw(st.dictionaries(st.sampled_from(fields), json_values, max_size=4))
    try:
        decode(kind, raw)
    except ValueError as error:
        assert kind.__name__ in str(error)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (math.nan, ValueError),
        (math.inf, ValueError),
        (b"bytes", TypeError),
        (object(), TypeError),
        ({"x": Limits(time=math.inf)}, ValueError),
    ],
)
def test_what_json_has_not_is_refused_when_it_is_written(
    value: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        encode(value)


def test_an_argument_that_is_not_utf8_travels_as_the_same_bytes() -> None:
    argument = b"d\xe9j\xe0.csv".decode("utf-8", "surrogateescape")
    spec = decode(RunSpec, through_json(RunSpec(argv=(argument,))))
    assert spec.argv[0].encode("utf-8", "surrogateescape") == b"d\xe9j\xe0.csv"
    assert len(plan_digest(Plan(spec=spec))) == 64


def test_a_blobs_bytes_and_place_never_stand_in_the_json() -> None:
    blob = Blob(digest="d", size=3, data=b"abc", path="/home/me/secret")
    assert encode(blob) == {"digest": "d", "size": 3, "mode": 0o600}
    assert decode(Blob, {"data": "abc", "path": "/etc/passwd"}) == Blob()


@given(plans, plans)
@settings(deadline=None, max_examples=100)
def test_plans_have_the_same_digest_only_if_they_say_the_same(one: Plan, other: Plan) -> None:
    def said(plan: Plan) -> Any:
        return encode(dataclasses.replace(plan, digest=""))

    same = json.dumps(said(one), sort_keys=True) == json.dumps(said(other), sort_keys=True)
    assert (plan_digest(one) == plan_digest(other)) == same
    assert plan_digest(dataclasses.replace(one, digest="x")) == plan_digest(one)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Plan) if f.name != "digest"])
def test_no_part_of_a_plan_can_change_under_its_digest(field: str) -> None:
    other: dict[str, Any] = {
        "backend": "b", "spec": RunSpec(name="n"), "files": {"f": Blob(digest="d")},
        "argv": ("a",), "body": {"k": 1}, "env": {"A": "1"}, "bound_late": {"port": "later"},
        "place": "p", "warnings": ("w",),
    }  # fmt: skip
    changed = dataclasses.replace(Plan(), **{field: other[field]})
    assert plan_digest(changed) != plan_digest(Plan())


def test_references_are_keys_and_survive_the_json() -> None:
    ref = JobRef(backend="local", run_id="0123456789ab", attempt=1)
    assert {ref: 1}[decode(JobRef, through_json(ref))] == 1


def test_the_contract_imports_nothing_of_traindeck_but_its_parts_and_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, traindeck.backends.base; print(sorted(m for m in sys.modules "
        "if m.startswith('traindeck') or m in {'json', 'hashlib', 'asyncio', 'numpy'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    parts = (
        "arrays",
        "base",
        "data",
        "encoding",
        "errors",
        "optional",
        "reaching",
        "spec",
        "states",
    )
    seen = {"traindeck", "traindeck.backends", *(f"traindeck.backends.{m}" for m in parts)}
    assert set(eval(done.stdout)) <= seen
