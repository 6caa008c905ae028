"""What was shown is what is sent: the bytes a host sees are those of the printed plan."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.backends.base import (
    BackendError,
    Blob,
    DeviceCount,
    Facts,
    Limits,
    LinkState,
    Plan,
    Resources,
    RunSpec,
    UsageError,
    decode,
    encode,
    plan_digest,
)
from traindeck.backends.process import ProcessBackend
from traindeck.console.present.plan_view import plan_lines
from traindeck.console.present.words import command_line, plain_or_quoted

RUN_ID = "0123456789ab"


class RecordingHost:
    """A host that writes down what is sent to its agent, and answers as if all went well."""

    name = "recording"
    here = True
    link = LinkState()

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any], bytes]] = []

    async def agent(self) -> RecordingHost:
        return self

    async def call(
        self,
        verb: str,
        params: Mapping[str, Any] | None = None,
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        self.sent.append((verb, json.loads(json.dumps(params)), body))
        return {"run_id": RUN_ID, "attempt": 0, "created": True, "pid": 1}, b""

    async def devices(self) -> DeviceCount:
        return DeviceCount()

    async def aclose(self) -> None:
        pass


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,10}", fullmatch=True)


@st.composite
def blobs(draw: st.DrawFn) -> Mapping[str, Blob]:
    import hashlib

    files = {}
    for path in draw(st.lists(st.from_regex(r"code/[a-z]{1,8}\.py", fullmatch=True), max_size=4)):
        data = draw(st.binary(max_size=50))
        digest = hashlib.sha256(data).hexdigest()
        files[path] = Blob(digest=digest, size=len(data), data=data)
    return files


specs = st.builds(
    RunSpec,
    run_id=st.just(RUN_ID),
    name=words,
    argv=st.lists(words.filter(bool), min_size=1, max_size=5).map(tuple),
    cwd=st.just("/work"),
    env=st.dictionaries(names, words, max_size=4),
    limits=st.builds(Limits, time=st.none() | st.floats(1, 1e6), retries=st.integers(0, 5)),
    files=blobs(),
    tags=st.dictionaries(names, words, max_size=3),
    created=st.floats(0, 2e9),
)
FACTS = Facts(home="/home/u/.traindeck", host="box", agent="0" * 16, program="/bin/true")


@given(specs)
def test_the_bytes_sent_are_those_of_the_plan(spec: RunSpec) -> None:
    host = RecordingHost()
    backend = ProcessBackend("local", host)  # type: ignore[arg-type]
    plan = backend.plan(spec, FACTS)
    asyncio.run(backend.submit(plan, {}))
    verb, header, body = host.sent[-1]
    assert verb == "start"
    printed = json.loads(json.dumps(encode(plan)))
    assert header["run"]["spec"] == printed["spec"]
    assert header["run"]["plan_digest"] == plan.digest
    offset = 0
    for file in header["files"]:
        data = body[offset : offset + file["size"]]
        offset += file["size"]
        if file["path"] == "plan/plan.json":
            assert json.loads(data) == printed
        else:
            assert data == plan.files[file["path"]].data
            assert printed["files"][file["path"]]["size"] == file["size"]
    assert offset == len(body)
    assert {f["path"] for f in header["files"]} == {*plan.files, "plan/plan.json"}


@given(specs)
def test_the_text_shows_command_environment_and_whole(spec: RunSpec) -> None:
    plan = ProcessBackend("local", RecordingHost()).plan(spec, FACTS)  # type: ignore[arg-type]
    lines = plan_lines(plan, whole=True)
    shown = [text for _, text in lines]
    assert command_line(plan.argv) in shown
    if all(word.isprintable() for word in plan.argv):
        assert shlex.join(plan.argv) in shown
    for name, value in plan.env.items():
        assert f"{name}={plain_or_quoted(value)}" in shown
    for path in plan.files:
        assert any(text.startswith(f"{path} · ") for text in shown)
    assert plan.digest in shown


@given(specs)
def test_planning_is_pure(spec: RunSpec) -> None:
    backend = ProcessBackend("local", RecordingHost())  # type: ignore[arg-type]
    assert backend.plan(spec, FACTS) == backend.plan(spec, FACTS)


@given(specs)
def test_a_plan_reads_back_from_its_json(spec: RunSpec) -> None:
    plan = ProcessBackend("local", RecordingHost()).plan(spec, FACTS)  # type: ignore[arg-type]
    again = decode(Plan, json.loads(json.dumps(encode(plan))))
    assert encode(again) == encode(plan)
    assert plan_digest(again) == plan.digest


def test_a_changed_plan_is_not_sent() -> None:
    host = RecordingHost()
    backend = ProcessBackend("local", host)  # type: ignore[arg-type]
    plan = backend.plan(RunSpec(run_id=RUN_ID, argv=("true",), cwd="/"), FACTS)
    with pytest.raises(BackendError, match="changed"):
        asyncio.run(backend.submit(replace(plan, env={"A": "1"}), {}))
    assert not host.sent


def test_a_file_that_changed_since_is_not_sent(tmp_path: Any) -> None:
    import hashlib

    file = tmp_path / "a.py"
    file.write_bytes(b"one")
    blob = Blob(digest=hashlib.sha256(b"one").hexdigest(), size=3, path=str(file))
    host = RecordingHost()
    backend = ProcessBackend("local", host)  # type: ignore[arg-type]
    spec = RunSpec(run_id=RUN_ID, argv=("true",), cwd="/", files={"code/a.py": blob})
    plan = backend.plan(spec, FACTS)
    file.write_bytes(b"two")
    with pytest.raises(BackendError, match=r"code/a\.py changed"):
        asyncio.run(backend.submit(plan, {}))
    assert not host.sent


def test_a_secrets_value_is_in_no_plan_and_only_in_the_field_for_it() -> None:
    host = RecordingHost()
    backend = ProcessBackend("local", host)  # type: ignore[arg-type]
    spec = RunSpec(run_id=RUN_ID, argv=("true",), cwd="/", secrets=("HF_TOKEN",))
    plan = backend.plan(spec, FACTS)
    asyncio.run(backend.submit(plan, {"HF_TOKEN": "hunter2", "OTHER": "never"}))
    _, header, body = host.sent[-1]
    assert header.pop("secrets") == {"HF_TOKEN": "hunter2"}
    assert "hunter2" not in json.dumps(header)
    assert b"hunter2" not in body
    assert "hunter2" not in json.dumps(encode(plan))


def test_a_secret_without_a_value_is_refused_by_name() -> None:
    backend = ProcessBackend("local", RecordingHost())  # type: ignore[arg-type]
    plan = backend.plan(RunSpec(run_id=RUN_ID, argv=("x",), cwd="/", secrets=("TOKEN",)), FACTS)
    with pytest.raises(UsageError, match="TOKEN"):
        asyncio.run(backend.submit(plan, {}))


@pytest.mark.parametrize(
    ("spec", "facts", "named"),
    [
        (RunSpec(argv=("x",), resources=Resources(gpus=1)), FACTS, "--gpus 1"),
        (
            RunSpec(argv=("x",), resources=Resources(gpus=3)),
            replace(FACTS, devices=("a", "b"), devices_total=2),
            "has 2",
        ),
        (RunSpec(argv=("x",), resources=Resources(nodes=2)), FACTS, "--nodes 2"),
        (RunSpec(argv=("x",), options={"partition": "gpu"}), FACTS, "partition"),
        (RunSpec(argv=()), FACTS, "no command"),
        (RunSpec(argv=("x",), cwd="/nowhere"), replace(FACTS, cwd_ok=False), "/nowhere"),
    ],
)
def test_what_the_place_can_never_do_is_refused_in_words(
    spec: RunSpec, facts: Facts, named: str
) -> None:
    backend = ProcessBackend("local", RecordingHost())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=named):
        backend.plan(replace(spec, run_id=RUN_ID), facts)


def test_the_plan_names_the_gpus_that_will_do_and_that_which_of_them_is_known_later() -> None:
    facts = replace(FACTS, devices=("GPU-a", "GPU-b", "GPU-c"), devices_total=3)
    spec = RunSpec(run_id=RUN_ID, argv=("x",), cwd="/", resources=Resources(gpus=2))
    plan = ProcessBackend("local", RecordingHost()).plan(spec, facts)  # type: ignore[arg-type]
    assert plan.body is not None
    assert plan.body["lease"] == {"devices": ["GPU-a", "GPU-b", "GPU-c"], "count": 2}
    assert plan.bound_late["devices"] == "2 of the 3 GPUs of box, by UUID: 3 are free now"
    assert "CUDA_VISIBLE_DEVICES" not in plan.env
    assert any("keeps other programs" in warning for warning in plan.warnings)


def test_gpus_that_runs_have_are_waited_for_and_those_of_other_programs_are_not() -> None:
    backend = ProcessBackend("local", RecordingHost())  # type: ignore[arg-type]
    facts = replace(
        FACTS, devices=("GPU-c",), devices_leased={"GPU-a": "sft of ada"}, devices_busy=("GPU-b",),
        devices_total=3,
    )  # fmt: skip
    spec = RunSpec(run_id=RUN_ID, argv=("x",), cwd="/", resources=Resources(gpus=2))
    plan = backend.plan(spec, facts)
    assert plan.body is not None
    assert plan.body["lease"] == {"devices": ["GPU-c", "GPU-a"], "count": 2}
    assert plan.bound_late["devices"].endswith(
        "as soon as they are free: 1 now; held by sft of ada"
    )
    with pytest.raises(UsageError, match="2 of 3 GPUs of box are free now"):
        backend.plan(replace(spec, resources=Resources(gpus=3)), facts)


def test_paths_of_the_run_directory_are_made_absolute_in_the_plan() -> None:
    spec = RunSpec(run_id=RUN_ID, argv=("python", "plan/sft.py"), run_dir_words=(1,), cwd="/")
    plan = ProcessBackend("local", RecordingHost()).plan(spec, FACTS)  # type: ignore[arg-type]
    assert plan.argv == ("python", f"/home/u/.traindeck/runs/{RUN_ID}/plan/sft.py")


class SurveyedHost(RecordingHost):
    """A host that says what it is, and counts its own devices."""

    async def call(
        self, verb: str, params: Mapping[str, Any] | None = None, *args: Any, **more: Any
    ) -> tuple[dict[str, Any], bytes]:
        if verb != "survey":
            return await super().call(verb, params, *args, **more)
        self.sent.append((verb, dict(params or {}), b""))
        facts = {"root": "/r", "host": "box", "boot_id": "b", "agent": "0" * 16, "cwd_ok": True}
        agent = {"python": "/agent/python", "python_version": "3.13.9", "program": "/bin/x"}
        found = {"python_found_version": "3.9.7", "driver": "550.54.15"}
        return {**facts, **agent, **found}, b""

    async def devices(self) -> DeviceCount:
        return DeviceCount(uuids=("GPU-a",), total=1, driver="560.35.03")


@pytest.mark.parametrize(("gpus", "driver"), [(0, "550.54.15"), (1, "560.35.03")])
def test_run_json_and_plan_record_where_and_in_what_it_runs(gpus: int, driver: str) -> None:
    host = SurveyedHost()
    backend = ProcessBackend("local", host)  # type: ignore[arg-type]
    spec = RunSpec(run_id=RUN_ID, argv=("x",), cwd="/", python="/v/python", packages=3)
    spec = replace(spec, resources=Resources(gpus=gpus))
    plan = backend.plan(spec, asyncio.run(backend.survey(spec)))
    assert host.sent[-1][1]["devices"] is False  # it counts by itself
    asyncio.run(backend.submit(plan, {}))
    _, header, body = host.sent[-1]
    for told in (header["run"]["spec"], json.loads(body)["spec"]):
        assert (told["host"], told["driver"]) == ("box", driver)
        assert (told["python"], told["python_version"], told["packages"]) == (
            "/v/python",
            "3.9.7",
            3,
        )
    lines = dict(plan_lines(plan))
    assert lines["host"] == f"box · NVIDIA driver {driver}"
    assert lines["python"] == "/v/python · 3.9.7"
    assert "3.13.9" not in str(lines)
