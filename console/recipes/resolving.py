"""From a recipe and what a person sets to the values of one run, each with where it came from.

Pure but for `command`, which reads the trainer's own files. The JSON of a `Resolved` is what lies
in the run directory; `retry` sends it again as it is, and "launch again with changes" starts from
it (`reading.from_run`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from traindeck.backends.base import Blob
from traindeck.backends.data import dataclass
from traindeck.backends.errors import UsageError
from traindeck.console.recipes.schema import Parameter, Recipe, Value, nearest_key, parse

FORMAT = 1
PLAN = "plan"
"""Folder of the run directory in which the trainer and recipe.json lie."""


MOST_TOLD = 8
"""Wrong settings that are explained one by one."""


class RecipeError(UsageError):
    """Values that a recipe does not take.

    Attributes:
        problems: Key -> sentence, for all of them; the message names the first.

    Args:
        missing: Which of them are not set, rather than wrong.
    """

    def __init__(self, problems: Mapping[str, str], missing: Collection[str] = ()) -> None:
        (first, sentence), *others = problems.items()
        fixes = [f"Give it by --set {first}=…."] if first in missing else []
        if others:
            fixes.append(f"Wrong or missing as well: {', '.join(key for key, _ in others)}.")
        super().__init__(sentence, " ".join(fixes))
        self.problems = dict(problems)
        self._missing = frozenset(missing)

    @property
    def lines(self) -> tuple[str, ...]:
        if len(self.problems) == 1:
            return (str(self),)
        told = [
            f"{sentence} Give it by --set {key}=…." if key in self._missing else sentence
            for key, sentence in self.problems.items()
        ]
        if rest := list(self.problems)[MOST_TOLD:]:
            told[MOST_TOLD:] = [f"Wrong or missing as well: {', '.join(rest)}."]
        return tuple(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A value and where it came from: `default`, `preset quick`, `my.yaml, line 4`, `--set`."""

    value: Value
    source: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The values of one run.

    Attributes:
        settings: Every parameter of the recipe.
        notes: Sentences for the plan: what was set and has no effect.
        path: The recipe's file, if it is not one of ours: for finding it again.
    """

    recipe: str
    trainer: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    path: str = ""

    @property
    def values(self) -> dict[str, Value]:
        return {key: setting.value for key, setting in self.settings.items()}

    def to_json(self) -> dict[str, Any]:
        """What is written to recipe.json and kept as `RunSpec.recipe`."""
        return {
            "format": FORMAT,
            "recipe": self.recipe,
            "path": self.path,
            "trainer": self.trainer,
            "values": {k: list(v) if isinstance(v, tuple) else v for k, v in self.values.items()},
            "sources": {k: s.source for k, s in self.settings.items() if s.source != "default"},
        }


def resolve(
    recipe: Recipe, overrides: Mapping[str, object], *, preset: str | None = None
) -> Resolved:
    """Every value of a run. Stronger over weaker: `overrides`, files, preset, default.

    Args:
        overrides: Key -> text that was typed (or a value), as of `--set`.
        preset: In place of the one that a file chose.

    Raises:
        RecipeError: Unknown keys (with the nearest), values of the wrong kind or out of range,
            required ones that are missing: all of them in `problems`.
        UsageError: There is no such preset.
    """
    problems: dict[str, str] = {}
    missing: list[str] = []
    typed: dict[str, Value] = {}
    for key, raw in overrides.items():
        parameter = recipe.find(key)
        if parameter is None:
            problems[key] = _unknown(recipe, key)
            continue
        try:
            typed[key] = parse(parameter, raw)
        except ValueError as error:
            problems[key] = f"{key}: {error}"
    chosen = _preset(recipe, preset)
    settings: dict[str, Setting] = {}
    for parameter in recipe:
        key = parameter.key
        if key in typed:
            settings[key] = Setting(value=typed[key], source="--set")
        elif key in recipe.given:
            given = recipe.given[key]
            settings[key] = Setting(value=given.value, source=given.source)
        elif key in chosen:
            settings[key] = Setting(value=chosen[key], source=f"preset {preset or recipe.preset}")
        elif not parameter.required:
            settings[key] = Setting(value=parameter.default)
        elif key not in problems:
            missing.append(key)
            problems[key] = f"{key} is not set. {parameter.meaning}"
    if problems:
        raise RecipeError(problems, missing)
    values = {key: setting.value for key, setting in settings.items()}
    notes = [
        f"{p.key} ({settings[p.key].source}) has no effect: it counts only with "
        + " and ".join(f"{k}={v}" if v != "" else f"no {k}" for k, v in p.only.items())
        for p in recipe
        if settings[p.key].source == "--set" and not applies(p, values)
    ]
    return Resolved(
        recipe=recipe.name,
        trainer=recipe.trainer,
        settings=settings,
        notes=tuple(notes),
        path=recipe.path,
    )


def applies(parameter: Parameter, values: Mapping[str, Value]) -> bool:
    """Whether a parameter has an effect beside these values."""
    return all(values.get(key) == value for key, value in parameter.only.items())


def parse_set(items: Sequence[str]) -> dict[str, str]:
    """The `KEY=VALUE` items of `--set`; of a key given twice the last one counts.

    Raises:
        UsageError: One has no `=`.
    """
    pairs = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {item}: expected KEY=VALUE.", "For example: --set lr=3e-4")
        pairs[key.strip()] = value
    return pairs


def _unknown(recipe: Recipe, key: str) -> str:
    near = nearest_key(recipe, key)
    hint = (
        f" Did you mean {near}?" if near else f" `finetune {recipe.name} --parameters` lists them."
    )
    return f"The recipe {recipe.name} has no parameter {key}.{hint}"


def _preset(recipe: Recipe, name: str | None) -> Mapping[str, Value]:
    name = name or recipe.preset
    if name is None:
        return {}
    if name not in recipe.presets:
        there = ", ".join(recipe.presets) or "none"
        raise UsageError(f"The recipe {recipe.name} has no preset {name}.", f"There are: {there}.")
    return recipe.presets[name].values


# ---------------------------------------------------------------------------------------- command


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How a resolved recipe is executed: the fields of a launch request of the same names."""

    argv: tuple[str, ...]
    run_dir_words: tuple[int, ...]
    files: Mapping[str, Blob]


def command(resolved: Resolved, python: str, *, gpus: int = 0) -> Command:
    """The argv, and the files that travel with the run: the trainer, what it imports of ours, and
    recipe.json.

    Args:
        python: The interpreter that has the training libraries, where the run executes.
        gpus: Devices of the run; with more than one, one process for each.

    Raises:
        UsageError: The trainer is not there (any more).
    """
    script, files = _trainer(resolved.trainer)
    text = json.dumps(resolved.to_json(), indent=1, sort_keys=True, allow_nan=False) + "\n"
    files[f"{PLAN}/recipe.json"] = _blob(text.encode())
    start = [python]
    if gpus > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
    argv = (*start, script, "--recipe", f"{PLAN}/recipe.json")
    return Command(argv=argv, run_dir_words=(len(start), len(start) + 2), files=files)


def trainers() -> Path:
    """The folder of our own trainers."""
    import traindeck.backends

    return Path(traindeck.backends.__file__).parent / "payload" / "trainers"


def trainer_files(script: Path) -> dict[str, Blob]:
    """A trainer and the modules of ours that any trainer may import, as files of a plan.

    Raises:
        UsageError: It cannot be read.
    """
    modules = sorted(trainers().glob("traindeck_*.py"))
    try:
        return {f"{PLAN}/{path.name}": _blob(path.read_bytes()) for path in (script, *modules)}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"The trainer {script} cannot be read: {reason}.") from None


def _trainer(name: str) -> tuple[str, dict[str, Blob]]:
    script = Path(name) if name.endswith(".py") else trainers() / f"{name}.py"
    return f"{PLAN}/{script.name}", trainer_files(script)


def _blob(data: bytes) -> Blob:
    return Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data), data=data)
