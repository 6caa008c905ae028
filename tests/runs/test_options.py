"""A backend's own options: what is not in its schema never reaches it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.fake import PYTHON, FakeBackend

from traindeck.backends.base import Option, UsageError
from traindeck.console.runs import launching
from traindeck.console.runs.drafting import Draft, check
from traindeck.console.runs.offering import offered
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.runs.workspace import Workspace
from traindeck.console.store.places import Places


class Cluster(FakeBackend):
    options_schema: Mapping[str, Option] = {
        "partition": Option(choices=("cpu", "gpu")),
        "weight": Option(type="int", default=1),
        "share": Option(type="float"),
        "exclusive": Option(type="bool", default=False),
    }


@pytest.fixture
async def ws(tmp_path: Path, home: Path) -> AsyncIterator[Workspace]:
    places = Places(config=tmp_path, state=tmp_path, index=tmp_path / "index.db")
    made = Workspace(places=places, environ={"PATH": os.environ["PATH"]})
    made.use_backend(Cluster("hpc"))
    yield made
    await made.aclose()


def request(**options: Any) -> LaunchRequest:
    return LaunchRequest(argv=(PYTHON, "-c", "1"), cwd="/", on="hpc", options=options)


async def test_what_is_typed_arrives_as_the_schema_says(ws: Workspace) -> None:
    typed = {"partition": "gpu", "weight": "3", "share": "0.5", "exclusive": "yes"}
    plan = await launching.plan(ws, request(**typed))
    assert plan.spec.options == {
        "partition": "gpu", "weight": 3, "share": 0.5, "exclusive": True
    }  # fmt: skip
    again = await launching.plan(ws, request(**plan.spec.options))
    assert again.spec.options == plan.spec.options


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("partitoin", "gpu", "Its options: exclusive, partition, share, weight."),
        ("partition", "tpu", "expected one of cpu, gpu, found 'tpu'"),
        ("weight", "1.5", "expected a whole number"),
        ("share", "nan", "expected a number"),
        ("exclusive", "maybe", "expected yes or no"),
    ],
)
async def test_what_is_wrong_is_refused_by_command_and_form(
    ws: Workspace, name: str, text: str, says: str
) -> None:
    with pytest.raises(UsageError) as refused:
        await launching.plan(ws, request(**{name: text}))
    assert says in f"{refused.value.what} {refused.value.fix}"
    key = f"option.{name}"
    drafted = await check(ws, Draft(on="hpc", fields={"command": "true", key: text}))
    assert list(drafted.problems) == [key] and says in drafted.problems[key]


async def test_what_options_can_be_at_a_place_is_offered_once_it_has_said_it(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = Cluster.survey

    async def with_offers(self: Cluster, spec: Any) -> Any:
        return replace(await survey(self, spec), offers={"partition": ("gpu", "a\x1bb", "x" * 999)})

    draft = Draft(on="hpc", fields={"command": PYTHON, "cwd": "/"})
    assert (await check(ws, draft)).offers == {}
    monkeypatch.setattr(Cluster, "survey", with_offers)
    for _ in range(2):
        assert (await check(ws, draft)).offers == {"partition": ("gpu",)}
    path = ws.places.offers / "hpc.json"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text('{"partition": 3, "account": ["ml", 4, ""]}')
    assert offered(ws.places, "hpc") == {"account": ("ml",)}
    path.write_text("[")
    assert offered(ws.places, "hpc") == {}
