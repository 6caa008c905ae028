"""What is refused before any place is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from traindeck.backends.base import Code, RunSpec, UsageError
from traindeck.console.runs.request import (
    LaunchRequest,
    asked_for,
    build_spec,
    parse_pairs,
    parse_tags,
    secret_values,
)


def spec_of(home: Path, environ: dict[str, str] | None = None, **options: Any) -> RunSpec:
    request = LaunchRequest(argv=("true",), cwd=str(home), **options)
    return build_spec(
        request, run_id="0" * 12, name="calm-fox", now=1.0, environ=environ or {"PATH": "/bin"}
    )[0]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"gpus": -1}, "--gpus"),
        ({"gpus": 10**9}, "--gpus"),
        ({"nodes": 0}, "--nodes"),
        ({"retries": 101}, "--retries"),
        ({"name": "a\x1bb"}, "control"),
        ({"name": "x" * 129}, "129"),
        ({"secrets": ("A=b",)}, "not a value"),
        ({"secrets": ("A",), "env": {"A": "b"}}, "both"),
        ({"on_stall": ("echo",)}, "--on-stall"),
    ],
)
def test_absurd_requests_are_refused_by_name(
    home: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        spec_of(home, **options)


def test_a_value_pasted_for_a_secret_is_not_repeated_in_the_error(home: Path) -> None:
    with pytest.raises(UsageError) as caught:
        spec_of(home, secrets=("TOKEN=hunter2",))
    assert "hunter2" not in str(caught.value)


def test_a_secrets_value_is_nowhere_in_the_spec(home: Path) -> None:
    environ = {"PATH": "/bin", "CUDA_TOKEN": "hunter2", "HF_TOKEN": "hunter3"}
    spec = spec_of(home, environ, secrets=("CUDA_TOKEN", "HF_TOKEN"))
    assert "hunter" not in repr(spec)
    assert spec.secrets == ("CUDA_TOKEN", "HF_TOKEN")


def test_a_run_that_waits_takes_a_snapshot_by_default(home: Path) -> None:
    assert spec_of(home).code.mode == "here"
    assert spec_of(home, after=("1" * 12,)).code.mode == "snapshot"
    assert spec_of(home, after=("1" * 12,), code="here").code.mode == "here"


def test_a_value_pasted_into_a_form_for_a_secret_is_not_repeated_either() -> None:
    with pytest.raises(UsageError, match="not a value") as error:
        secret_values(("TOKEN=hunter2",), {})
    assert "hunter2" not in f"{error.value.what} {error.value.fix}"


def test_a_secret_that_is_not_set_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="HF_TOKEN"):
        secret_values(("HF_TOKEN",), {})


def test_pairs_and_tags_are_read_and_checked() -> None:
    assert parse_pairs(["A=1", "B=x=y"], "--env") == {"A": "1", "B": "x=y"}
    assert parse_tags(["sft", "lr=3e-4"]) == {"sft": "", "lr": "3e-4"}
    for bad in (["A"], ["1A=2"], ["A=\0"]):
        with pytest.raises(UsageError):
            parse_pairs(bad, "--env")
    for bad_tag in ("", "a b", "x,y", "=v"):
        with pytest.raises(UsageError):
            parse_tags([bad_tag])


def test_a_copy_of_the_code_is_not_where_a_new_run_begins() -> None:
    copy = f"/home/me/.traindeck/runs/{'0' * 12}/code"
    spec = RunSpec(
        run_id="0" * 12,
        argv=("python", "train.py"),
        cwd=f"{copy}/src",
        env={"PYTHONPATH": f"{copy}:/opt/lib", "PATH": "/bin"},
        code=Code(mode="snapshot", root="/home/me/project"),
    )
    asked = asked_for(spec)
    assert asked.cwd == "/home/me/project/src"
    assert asked.env == {"PYTHONPATH": "/opt/lib", "PATH": "/bin"}
    alone = asked_for(replace(spec, cwd=copy, env={"PYTHONPATH": copy}))
    assert (alone.cwd, dict(alone.env)) == ("/home/me/project", {})
    here = replace(spec, cwd="/home/me/project", code=Code(mode="here", root="/home/me/project"))
    assert asked_for(here) == here
