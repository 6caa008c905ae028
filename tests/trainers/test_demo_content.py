"""The demo's task is honest: nothing that is asked at the end was seen before, by any model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from traindeck.console.metrics.names import main_metric
from traindeck.console.recipes.resolving import trainers


@pytest.mark.parametrize(
    ("word", "said"),
    [("train", "aintray"), ("oak", "oakway"), ("shops", "opsshay"), ("be", "ebay")],
)
def test_pig_latin(word: str, said: str) -> None:
    import demo

    assert demo.pig_latin(word) == said


def test_held_out_words_are_in_no_training_row() -> None:
    import demo

    train, validation, held_out = demo.make_words(0)
    assert len(held_out) == demo.HELD_OUT and len(train) == demo.ROWS
    assert not set(held_out) & {*train, *validation} and len(set(train)) == demo.ROWS
    unseen = {*train, *validation, *held_out}
    seen = itertools.islice(demo.base_examples(0, unseen), 9_600)  # all of the base's training
    assert not any(asked.partition(": ")[2] in unseen for asked, _ in seen)
    assert demo.make_words(0) == (train, validation, held_out) != demo.make_words(1)


def test_the_base_never_sees_the_new_task() -> None:
    import demo

    assert not any("pig" in name for name in demo.KNOWN)
    assert all(set(demo.question(word)) <= set(demo.CHARACTERS) for word in ("abc", "xyz"))


def test_the_interval_is_wilsons() -> None:
    import demo

    assert demo.interval(0, 200) == (0.0, pytest.approx(0.01885, abs=1e-5))
    assert demo.interval(182, 200) == (
        pytest.approx(0.862, abs=1e-3),
        pytest.approx(0.942, abs=1e-3),
    )


SMALL = """
import sys, demo
demo.ROWS, demo.HELD_OUT, demo.VALIDATION = 40, 20, 4
code = demo.main()
sys.argv.clear()
sys.exit(code)
"""
"""A demo of seconds: the same code with less of everything."""

BASE = ("demo.py", "base", "--steps", "12", "--out")


@pytest.mark.train
@pytest.mark.slow
def test_the_base_is_an_ordinary_model_that_the_trainer_takes_and_the_exam_examines(
    forge: Any, sft: Callable[..., Any], tmp_path: Path
) -> None:
    base, result = tmp_path / "base", tmp_path / "result.json"
    built = forge.start(tmp_path / "b", [*BASE, str(base)], code=SMALL)
    assert built.wait() == 0, built.log
    assert [event["value"] for event in built.events("total_steps")] == [12]
    assert sorted(path.name for path in base.iterdir()) == [
        *("held-out.jsonl", "model", "ready.json", "train.jsonl", "validation.jsonl"),
    ]
    again = forge.start(tmp_path / "c", [*BASE, str(base)], code=SMALL)
    assert again.wait() == 0 and "there already" in again.log and "importing" not in again.log

    tuned = sft(
        "tuned",
        model=str(base / "model"),
        data=str(base / "train.jsonl"),
        eval_data=str(base / "validation.jsonl"),
        steps=2,
    )
    assert tuned.wait() == 0, tuned.log
    adapter = tuned.folder / "artifacts" / "final"
    words = ["demo.py", "evaluate", "--data", str(base), "--adapter", f"tuned={adapter}"]
    exam = forge.start(tmp_path / "e", [*words, "--out", str(result)], code=SMALL)
    assert exam.wait() == 0, exam.log
    found = json.loads(result.read_text())
    assert [model["name"] for model in found["models"]] == ["base", "tuned"]
    assert all(model["total"] == 20 and 0 <= model["right"] <= 20 for model in found["models"])
    assert [event["value"] for event in exam.events("total_steps")] == [2], "one a model"
    assert [line["step"] for line in exam.lines if "exact_match" in line] == [2]
    shares = {k: v for line in exam.lines for k, v in line.items() if k.startswith("exact")}
    assert shares.keys() == {"exact_match", "exact_match/base", "exact_match/tuned"}
    assert main_metric(shares) == "exact_match", "in a list the best fine-tune stands for the run"
    assert shares["exact_match"] == shares["exact_match/tuned"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--adapter", "a"], "--adapter: expected NAME=FOLDER"),
        (["--adapter", "a=/nowhere"], "the base model is not there"),
    ],
)
def test_an_exam_without_its_models_is_refused(
    tmp_path: Path,
    words: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import demo

    argv = [str(trainers() / "demo.py"), "evaluate", "--data", str(tmp_path), *words, "--out", "x"]
    monkeypatch.setattr("sys.argv", argv)
    assert demo.main() == 2
    assert says in capsys.readouterr().err
