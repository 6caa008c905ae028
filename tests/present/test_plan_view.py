"""The plan in words: everything that is sent stands in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from traindeck.backends.base import ArrayTask, Blob, Code, Limits, Plan, Resources, RunSpec
from traindeck.console.durations import write_duration
from traindeck.console.present.plan_view import plan_lines
from traindeck.console.present.words import command_line, plain_or_quoted, quoted
from traindeck.console.runs.captured import PACKAGES
from traindeck.console.store.records import iso

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
some = text.filter(bool)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
several = st.lists(some, max_size=3).map(tuple)
scalars = some | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
blobs = st.builds(
    Blob,
    digest=st.text("0123456789abcdef", min_size=64, max_size=64),
    size=st.integers(0, 1 << 30),
    mode=st.sampled_from([0o600, 0o700]),
)

specs = st.builds(
    RunSpec,
    run_id=st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=12, max_size=12),
    attempt=st.integers(0, 9),
    name=some,
    argv=st.lists(text, min_size=1, max_size=4).map(tuple),
    cwd=some,
    env=st.dictionaries(names, text, max_size=3),
    env_names=several,
    secrets=st.lists(names, max_size=3).map(tuple),
    resources=st.builds(Resources, gpus=st.integers(0, 8), nodes=st.integers(1, 4)),
    limits=st.builds(
        Limits,
        time=st.none() | st.integers(1, 10**6).map(float),
        grace=st.integers(1, 1000).map(float),
        retries=st.integers(0, 9),
    ),
    code=st.builds(
        Code,
        mode=st.sampled_from(["here", "snapshot"]),
        root=text,
        commit=st.none() | st.text("0123456789abcdef", min_size=40, max_size=40),
        branch=st.none() | names,
        dirty=st.booleans(),
        untracked=several,
        omitted=st.dictionaries(some, names, max_size=2),
    ),
    array=st.none()
    | st.builds(
        ArrayTask,
        index=st.integers(0, 9999),
        indices=st.text("0123456789-,:%", min_size=1, max_size=40),
    ),
    after=st.lists(st.text("0123456789ab", min_size=12, max_size=12), max_size=3).map(tuple),
    after_any=st.booleans(),
    pty=st.booleans(),
    keep_background=st.booleans(),
    on_exit=several,
    on_stall=several,
    stall_after=st.none() | st.integers(1, 10**5).map(float),
    environment=st.just("") | some,
    environment_found=st.just("") | some,
    needs=st.lists(some, max_size=2).map(tuple),
    reads=st.lists(some, max_size=2).map(tuple),
    python=st.none() | some,
    python_version=st.none() | names,
    packages=st.none() | st.integers(0, 999),
    host=text,
    driver=st.none() | names,
    files=st.dictionaries(names, blobs, max_size=3),
    recipe=st.none()
    | st.fixed_dictionaries({"recipe": names, "values": st.dictionaries(names, scalars)}),
    tags=st.dictionaries(names, text, max_size=3),
    labels=st.dictionaries(names, some, max_size=2),
    options=st.dictionaries(names, scalars, max_size=2),
    created=st.floats(0, 2e9),
)


def when(asked: object, *words: str) -> Iterable[str]:
    return words if asked else ()


def words_of_code(code: Code) -> Iterable[str]:
    if code.root:
        yield plain_or_quoted(code.root)
    yield "a snapshot of" if code.mode == "snapshot" else "in place"
    if code.commit:
        yield from (f"git {code.commit[:10]}", *when(code.branch, f"on {code.branch}"))
        yield from when(code.dirty, "+ uncommitted changes")
    yield from when(code.untracked, f"{len(code.untracked)} untracked")
    yield from map(plain_or_quoted, code.untracked)
    yield from (f"{plain_or_quoted(path)}: {why}" for path, why in code.omitted.items())


def words_of_recipe(recipe: Mapping[str, Any] | None) -> Iterable[str]:
    if recipe:
        yield f"recipe {recipe['recipe']}"
        for key, value in recipe["values"].items():
            shown = value if isinstance(value, str) else json.dumps(value)
            yield f"values.{key} {plain_or_quoted(shown)}"


WORDS: Mapping[str, Callable[[RunSpec], Iterable[str]]] = {
    "run_id": lambda s: (s.run_id,),
    "attempt": lambda s: when(s.attempt, f"attempt {s.attempt}"),
    "name": lambda s: (s.name,),
    "argv": lambda s: (command_line(s.argv),),
    "cwd": lambda s: (plain_or_quoted(s.cwd),),
    "env": lambda s: (f"{k}={plain_or_quoted(v)}" for k, v in s.env.items()),
    "env_names": lambda s: map(plain_or_quoted, s.env_names),
    "secrets": lambda s: s.secrets,
    "resources": lambda s: (
        *when(s.resources.gpus, f"gpus      {s.resources.gpus}"),
        *when(s.resources.nodes > 1, f"nodes     {s.resources.nodes}"),
    ),
    "limits": lambda s: (
        f"time {'none' if s.limits.time is None else write_duration(s.limits.time)} ·",
        f"grace {write_duration(s.limits.grace)} · {s.limits.retries} retr",
    ),
    "code": lambda s: words_of_code(s.code),
    "after": lambda s: s.after,
    "after_any": lambda s: when(
        s.after and s.after_any, "whatever its end" if len(s.after) == 1 else "whatever their"
    ),
    "pty": lambda s: when(s.pty, "a pty for its output"),
    "keep_background": lambda s: when(s.keep_background, "those it leaves behind go on"),
    "on_exit": lambda s: when(s.on_exit, command_line(s.on_exit)),
    "on_stall": lambda s: when(s.on_stall, command_line(s.on_stall)),
    "stall_after": lambda s: when(
        s.on_stall and s.stall_after, f"after {write_duration(s.stall_after or 0)}"
    ),
    "environment": lambda s: when(s.environment, plain_or_quoted(s.environment)),
    "environment_found": lambda s: when(
        s.environment_found and not s.environment,
        f"{plain_or_quoted(s.environment_found)} · found there",
    ),
    "needs": lambda s: map(plain_or_quoted, s.needs),
    "reads": lambda s: map(plain_or_quoted, s.reads),
    "python": lambda s: when(s.python, plain_or_quoted(s.python or "")),
    "python_version": lambda s: when(s.python, s.python_version or "version not known"),
    "packages": lambda s: when(s.packages, f"{s.packages}, listed in {PACKAGES}"),
    "host": lambda s: when(s.host, plain_or_quoted(s.host)),
    "driver": lambda s: when(s.driver, f"NVIDIA driver {s.driver}"),
    "files": lambda s: (f"{path} · " for path in s.files),
    "recipe": lambda s: words_of_recipe(s.recipe),
    "tags": lambda s: (quoted(f"{k}={v}" if v else k) for k, v in s.tags.items()),
    "labels": lambda s: (plain_or_quoted(f"{k}={v}") for k, v in s.labels.items()),
    "array": lambda s: () if s.array is None else (f"task {s.array.index} of {s.array.indices}",),
    "options": lambda s: (plain_or_quoted(f"{k}={v}") for k, v in s.options.items()),
    "created": lambda s: when(s.created, str(iso(s.created))),
}
"""Field of a spec -> what of it must be read in the plan."""

NOT_SENT = {"run_dir_words", "adopted"}
"""The plan makes paths of the first; the second is of runs that are not launched."""


def planned(spec: RunSpec, **more: Any) -> Plan:
    return Plan(backend="box", spec=spec, argv=spec.argv, env=spec.env, files=spec.files, **more)


def whole(plan: Plan) -> str:
    return "\n".join(f"{label:<10}{words}" for label, words in plan_lines(plan, whole=True))


def test_every_field_of_a_spec_has_its_words() -> None:
    assert {field.name for field in fields(RunSpec)} == {*WORDS, *NOT_SENT}


@given(specs)
def test_the_text_of_a_plan_says_everything_that_is_sent(spec: RunSpec) -> None:
    shown = whole(planned(spec))
    for field, words in WORDS.items():
        for expected in words(spec):
            assert expected in shown, field
    for blob in spec.files.values():
        assert f"sha256 {blob.digest[:16]}" + " · executable" * (blob.mode == 0o700) in shown


def test_the_body_of_a_request_is_part_of_the_text() -> None:
    body = {"agent": "0f" * 8, "root": "/home/u/.traindeck", "pod": {"image": "a b", "gpus": 2}}
    lines = plan_lines(planned(RunSpec(argv=("x",)), body=body), whole=True)
    texts = [words for _, words in lines]
    assert f"agent {'0f' * 8}" in texts
    assert "pod.image a b" in texts and "pod.gpus 2" in texts


def test_a_short_plan_keeps_what_is_to_be_decided() -> None:
    spec = RunSpec(
        name="fox",
        argv=("x",),
        host="box",
        driver="560.35.03",
        python="/v/bin/python",
        python_version="3.12.1",
        packages=118,
        tags={"sft": "", "lr": "3"},
        created=1.0,
        code=Code(root="/w", untracked=("a",)),
        recipe={"recipe": "sft", "values": {"lr": 1e-4}},
    )
    lines = dict(plan_lines(planned(spec)))
    assert lines["host"] == "box · NVIDIA driver 560.35.03"
    assert lines["python"] == "/v/bin/python · 3.12.1"
    assert lines["packages"] == f"118, listed in {PACKAGES}"
    assert (lines["tags"], lines["recipe"]) == ("sft lr=3", "sft")
    assert not {"made", "sends", "untracked"} & set(lines)
