"""The demo: a base model and two fine-tunes of it, launched as ordinary runs, and what came out.

Four runs, each waiting for the one before: the base (left out if it is there from an earlier demo),
two LoRA fine-tunes that differ in nothing but the learning rate, and an exam of all three models on
words that none of them was trained on. They are like any other runs: closing the console does not
touch them. Returns data; the front ends show it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traindeck.backends.data import dataclass
from traindeck.backends.errors import BackendError, UsageError
from traindeck.backends.states import ACTIVE, State
from traindeck.console.runs import launching
from traindeck.console.runs.finetuning import (
    has_training,
    read_recipe,
    recipe_request,
    training_python,
)
from traindeck.console.runs.reading import log_tail, read_file
from traindeck.console.runs.refreshing import refresh
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.runs.settling import settle

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.records import RunRecord
    from traindeck.console.store.series import Points

RATES = ("3e-3", "3e-4")
"""Learning rates of the two fine-tunes: one that suits the task, one that is too small for it."""

BASE_STEPS, STEPS = 300, 240
TAGS: Mapping[str, str] = {"demo": ""}
PAUSE = 0.5
"""Seconds between two looks at the demo's runs."""

_TAIL = 4096
_RESULT = "artifacts/result.json"
_RESULT_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One run of the demo."""

    title: str
    run_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """A demo that was launched.

    Attributes:
        steps: In the order in which they run.
        tuned: Ids of the fine-tunes.
        exam: Id of the exam.
        base: Folder of the base model and the rows.
    """

    steps: tuple[Step, ...]
    tuned: tuple[str, ...]
    exam: str
    base: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A run of the demo as it is now. `says` is the last line of its log: what it is doing while
    it has no step to show (importing torch can take minutes). Untrusted text."""

    step: Step
    run: RunRecord
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How one model did in the exam. `low` and `high` bound the share right at 95 %; `answer` is
    its answer to the question that is shown. Untrusted text."""

    name: str
    right: int
    total: int
    low: float
    high: float
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """What the models were asked, and how they did; the base first."""

    question: str
    wanted: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a demo came to.

    Attributes:
        runs: All of its runs.
        curves: Run name -> its loss by step.
        exam: None if it did not take place.
        problems: A sentence for each run that did not succeed.
        commands: (command line, what it is for) to go on with.
    """

    runs: tuple[RunRecord, ...]
    curves: Mapping[str, Points]
    exam: Exam | None
    problems: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """For `demo --json`."""
        from traindeck.console.store.records import run_json

        exam = self.exam
        marks = exam.marks if exam else ()
        return {
            "runs": [run_json(run) for run in self.runs],
            "question": exam.question if exam else None,
            "wanted": exam.wanted if exam else None,
            "models": [
                {
                    "name": mark.name,
                    "right": mark.right,
                    "total": mark.total,
                    "low": mark.low,
                    "high": mark.high,
                    "answer": mark.answer,
                }
                for mark in marks
            ],
            "problems": list(self.problems),
        }


async def launch(
    ws: Workspace,
    *,
    seed: int = 0,
    python: str | None = None,
    base_steps: int = BASE_STEPS,
    steps: int = STEPS,
) -> Demo:
    """Launch the demo's runs. Returns when all are claimed; the first has begun.

    Args:
        python: Interpreter with torch; looked for if not given.

    Raises:
        UsageError: No interpreter here has torch; how to get it.
    """
    interpreter = python or training_python(ws.environ)
    if not has_training(interpreter):
        from traindeck.console.runs.diagnosis import with_training

        raise UsageError(
            f"The demo trains real models with torch, which {interpreter} does not have.",
            f"Install it there: {interpreter} -m pip install {with_training()}",
        )
    await settle(ws)
    home = _home(ws)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    base = home / _base_name(seed, base_steps)
    common: dict[str, Any] = {"cwd": str(home), "tags": TAGS, "code": "here"}
    made: list[Step] = []

    async def start(title: str, name: str, request: LaunchRequest, after_any: bool) -> str:
        after = tuple(step.run_id for step in made[-1:])
        request = replace(request, name=_free(ws, name), after=after, after_any=after_any)
        run = await launching.launch(ws, await launching.plan(ws, request))
        made.append(Step(title=title, run_id=run.id, name=run.name))
        return run.id

    if not (base / "ready.json").is_file():
        build = ("base", "--out", str(base), "--seed", str(seed), "--steps", str(base_steps))
        request = _script(interpreter, build, **common)
        await start("build a base model", "demo-base", request, False)
    recipe = read_recipe(ws, "sft")
    common.pop("code")
    tuned: list[str] = []
    for rate in RATES:
        values = {**_values(base, seed, steps), "lr": rate}
        request, _ = recipe_request(
            ws, recipe, values, python=interpreter, present=False, **common
        )  # what the runs before it make
        # The first needs the base; the second goes on whatever became of the first.
        title = f"fine-tune it, learning rate {rate}"
        tuned.append(await start(title, f"demo-lr{rate}", request, bool(tuned)))
    root = home.parent / "runs"
    adapters = [
        word
        for rate, run_id in zip(RATES, tuned, strict=True)
        for word in ("--adapter", f"lr{rate}={root / run_id / 'artifacts' / 'final'}")
    ]
    examine = ("evaluate", "--data", str(base), *adapters, "--out", _RESULT)
    request = _script(interpreter, examine, cwd=str(home), tags=TAGS, code="here")
    request = replace(request, run_dir_words=(1, len(request.argv) - 1))
    exam = await start("examine all three", "demo-exam", request, True)
    return Demo(steps=tuple(made), tuned=tuple(tuned), exam=exam, base=base)


async def follow(ws: Workspace, demo: Demo) -> AsyncIterator[tuple[Look, ...]]:
    """All runs of a demo, again and again, until they are over. Cancelling touches no run."""
    while True:
        await refresh(ws, _records(ws, demo), max_age=PAUSE / 2)
        looks = []
        for step in demo.steps:
            run = ws.index.get(step.run_id)
            if run is None:
                raise UsageError(f"{step.name} was removed while the demo was followed.")
            says = ""
            if run.state is State.RUNNING and run.progress.step is None:
                says = _last_line(await log_tail(ws, run, _TAIL))
            looks.append(Look(step=step, run=run, says=says))
        yield tuple(looks)
        if not any(look.run.active for look in looks):
            return
        await asyncio.sleep(PAUSE)


async def report(ws: Workspace, demo: Demo) -> Report:
    """What a demo came to, as far as it is known now."""
    runs = _records(ws, demo)
    tuned = [run for run in runs if run.id in demo.tuned]
    curves = {run.name: ws.index.points(run.id, "loss") for run in tuned}
    problems = [
        f"{run.name} is {run.state}: {run.reason or 'no reason is known'}"
        for run in runs
        if run.state is not State.SUCCEEDED and run.state not in ACTIVE
    ]
    exam = None
    last = ws.index.get(demo.exam)
    if last is not None and last.state is State.SUCCEEDED:
        try:
            exam = read_exam(await read_file(ws, last, _RESULT, _RESULT_LIMIT))
        except (BackendError, ValueError) as error:
            problems.append(f"The exam's result cannot be read: {error}")
    best = tuned[0].name if tuned else "demo-base"
    values = (f"model={demo.base / 'model'}", f"data={demo.base / 'train.jsonl'}", "lr=1e-3")
    again = [word for value in values for word in ("--set", value)]
    us = _called(ws.environ)
    commands = (
        (us, "look at these runs: curves, logs, files"),
        (f"{us} logs {best}", "what a fine-tune said"),
        (f"{us} metrics {best} loss --chart", "its curve, larger"),
        (f"{us} {shlex.join(['finetune', 'sft', *again])}", "a fine-tune of your own"),
    )
    return Report(
        runs=tuple(runs),
        curves=curves,
        exam=exam,
        problems=tuple(problems),
        commands=commands,
    )


def _called(environ: Mapping[str, str]) -> str:
    """What a shell here calls this program: its name, or its path if that is not on PATH."""
    us = Path(sys.argv[0])
    if us.name != "traindeck" or not us.is_file():
        return "traindeck"
    found = shutil.which("traindeck", path=environ.get("PATH", os.defpath))
    if found is not None and os.path.samefile(found, us):
        return "traindeck"
    near = os.path.relpath(us)
    return shlex.quote(str(us.absolute()) if near.startswith("..") else near)


def read_exam(data: bytes) -> Exam:
    """The exam's result file, written by a run and so not trusted.

    Raises:
        ValueError: It is not what the exam writes.
    """
    try:
        found = json.loads(data)
        marks = tuple(
            Mark(
                name=_as(str, item["name"]),
                right=_as(int, item["right"]),
                total=_as(int, item["total"]),
                low=_as(float, item["low"]),
                high=_as(float, item["high"]),
                answer=_as(str, item["answer"]),
            )
            for item in _as(list, found["models"])
        )
        exam = Exam(
            question=_as(str, found["question"]), wanted=_as(str, found["wanted"]), marks=marks
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from None
    for mark in marks:
        if not (0 <= mark.right <= mark.total and mark.total > 0):
            raise ValueError(f"{mark.right} right of {mark.total}")
        if not (math.isfinite(mark.low) and math.isfinite(mark.high)):
            raise ValueError("bounds that are no numbers")
    return exam


def _as(kind: type, value: Any) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"expected {kind.__name__}, found {type(value).__name__}")
    return value


def _values(base: Path, seed: int, steps: int) -> dict[str, object]:
    """What both fine-tunes set."""
    return {
        "model": str(base / "model"),
        "data": str(base / "train.jsonl"),
        "eval_data": str(base / "validation.jsonl"),
        "steps": steps,
        "batch": 32,
        "seq_length": 64,
        "precision": "fp32",
        "activation_checkpointing": False,
        "log_every": 5,
        "eval_every": 60,
        "save_every": "end",
        "seed": seed,
    }


def _script(python: str, words: tuple[str, ...], **options: Any) -> LaunchRequest:
    from traindeck.console.recipes.resolving import PLAN, trainer_files, trainers

    return LaunchRequest(
        argv=(python, f"{PLAN}/demo.py", *words),
        run_dir_words=(1,),
        files=trainer_files(trainers() / "demo.py"),
        **options,
    )


def _home(ws: Workspace) -> Path:
    """Where the demo's models lie: beside the run directories of this machine."""
    return ws.settings.local_roots()["local"].absolute() / "demo"


def _base_name(seed: int, steps: int) -> str:
    """A folder for what is built by exactly this script from exactly this seed: it never changes,
    and what an earlier demo built can be used again."""
    from traindeck.console.recipes.resolving import trainers

    script = (trainers() / "demo.py").read_bytes()
    return f"base-{seed}-{steps}-{hashlib.sha256(script).hexdigest()[:8]}"


def _free(ws: Workspace, name: str) -> str:
    """`name`, or with a number behind it if there is a run of that name."""
    number, found = 2, name
    while ws.index.has_name(found):
        found, number = f"{name}-{number}", number + 1
    return found


def _records(ws: Workspace, demo: Demo) -> list[RunRecord]:
    found = (ws.index.get(step.run_id) for step in demo.steps)
    return [run for run in found if run is not None]


def _last_line(tail: bytes) -> str:
    lines = tail.decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
