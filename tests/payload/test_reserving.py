"""A submission that the console makes itself: the agent keeps whose turn it is, and what became of
it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.payload.harness import Agent, Refusal, Served


@pytest.fixture
def asked(agent: Agent) -> dict[str, Any]:
    return agent.request(["true"])


def queued(agent: Agent, asked: dict[str, Any]) -> Path:
    return agent.directory(asked["run_id"]) / "queued.json"


def test_the_first_one_submits_and_everybody_after_it_gets_its_number(
    agent: Agent, asked: dict[str, Any]
) -> None:
    run = asked["run_id"]
    assert agent.call("reserve", **asked)["turn"] == "submit"
    answer = agent.call("handed", run_id=run, attempt=0, outcome="handed", job="17")
    assert answer["job"] == "17"
    assert answer["evidence"]["queued"]["id"] == "17"
    again, _ = agent.once("reserve", asked)
    assert again["job"] == "17" and "turn" not in again
    (found,) = agent.call("find", runs=[[run, 0]])["runs"]
    assert found == {"id": run, "attempt": 0, "job": "17"}


def test_somebody_who_is_at_it_is_waited_for(agent: Agent, asked: dict[str, Any]) -> None:
    assert agent.call("reserve", **asked)["turn"] == "submit"
    other = Served(agent)
    number = other.ask("reserve", asked)
    agent.call("handed", run_id=asked["run_id"], attempt=0, outcome="handed", job="17")
    answer, _ = other.receive()
    assert (answer["id"], answer["job"]) == (number, "17")
    assert other.close() == 0


def test_one_whose_author_is_gone_is_looked_for_first(agent: Agent, asked: dict[str, Any]) -> None:
    assert agent.once("reserve", asked)[0]["turn"] == "submit"
    assert agent.call("reserve", **asked)["turn"] == "look"


def test_one_of_which_nobody_knows_what_became_is_looked_for_first(
    agent: Agent, asked: dict[str, Any]
) -> None:
    run = asked["run_id"]
    assert agent.call("reserve", **asked)["turn"] == "submit"
    agent.call("handed", run_id=run, attempt=0, outcome="unknown", job=None)
    assert agent.call("reserve", **asked)["turn"] == "look"


def test_one_that_was_refused_leaves_nothing(agent: Agent, asked: dict[str, Any]) -> None:
    run = asked["run_id"]
    assert agent.call("reserve", **asked)["turn"] == "submit"
    agent.call("handed", run_id=run, attempt=0, outcome="refused", job=None)
    assert not agent.directory(run, None).exists()
    assert agent.call("reserve", **asked)["turn"] == "submit"


def test_only_who_has_the_turn_can_give_it_back(agent: Agent, asked: dict[str, Any]) -> None:
    assert agent.call("reserve", **asked)["turn"] == "submit"
    words = {"run_id": asked["run_id"], "attempt": 0, "outcome": "refused", "job": None}
    agent.once("handed", words)
    assert json.loads(queued(agent, asked).read_text())["id"] is None


def test_another_attempt_needs_the_one_before_to_be_over(
    agent: Agent, asked: dict[str, Any]
) -> None:
    run = asked["run_id"]
    assert agent.call("reserve", **asked)["turn"] == "submit"
    agent.call("handed", run_id=run, attempt=0, outcome="handed", job="17")
    following = {**asked, "attempt": 1}
    with pytest.raises(Refusal, match="is not over"):
        agent.call("reserve", **following, before_goes_on=True)
    assert agent.call("reserve", **following, before_goes_on=False)["turn"] == "submit"


@pytest.mark.parametrize("job", [None, "", "x", "1;2", "1" * 21])
def test_what_is_no_number_of_a_job_is_refused(
    agent: Agent, asked: dict[str, Any], job: str | None
) -> None:
    agent.call("reserve", **asked)
    with pytest.raises(Refusal, match="no number of a job"):
        agent.call("handed", run_id=asked["run_id"], attempt=0, outcome="handed", job=job)
