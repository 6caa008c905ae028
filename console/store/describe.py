"""A run's record from its spec: the one way, at launch and when the index is rebuilt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from traindeck.backends.base import RunSpec
from traindeck.backends.states import State
from traindeck.console.store.records import Param, RunRecord, Scalar, values_of

MAX_PARAMS = 500

_FLAG = re.compile(r"--?([A-Za-z][\w.-]*)(?:=(.*))?", re.S)
_OVERRIDE = re.compile(r"\+{0,2}([A-Za-z_][\w./-]*)=(.*)", re.S)
_INTERPRETER = re.compile(r"python[\d.]*|pypy\d*|(?:ba|da|z|k)?sh")
_INTEGER = re.compile(r"[+-]?\d{1,15}")


def describe(spec: RunSpec, backend: str, native_id: str = "") -> RunRecord:
    """What is known of a run before anything was seen of it."""
    recipe = spec.recipe or {}
    params = recipe.get("values")
    name = recipe.get("recipe")
    return RunRecord(
        id=spec.run_id,
        name=spec.name,
        backend=backend,
        native_id=native_id,
        state=State.NEW,
        attempt=spec.attempt,
        created=spec.created,
        gpus=spec.resources.gpus * spec.resources.nodes,
        time_limit=spec.limits.time,
        argv=spec.argv,
        cwd=spec.cwd,
        adopted=spec.adopted,
        project=(spec.code.root or spec.cwd).rstrip("/").rpartition("/")[2],
        recipe=name if isinstance(name, str) else None,
        tags=dict(spec.tags),
        params=flatten(params) if isinstance(params, Mapping) else params_of(spec.argv),
    )


def params_of(argv: tuple[str, ...]) -> dict[str, Param]:
    """Parameters as they stand on a command line: `--lr 3e-4`, `--lr=3e-4`, `--bf16`, and
    Hydra's `optim.lr=3e-4`. What launches (python, torchrun, accelerate) has flags of its own;
    those before the script do not count. What is repeated keeps all its values, but a flag
    without a value only says yes once more."""
    script = next((i for i, word in enumerate(argv) if word.endswith((".py", ".sh"))), 0)
    launcher = argv[:script] if script else argv[:2]
    if "-c" in launcher and _INTERPRETER.fullmatch(launcher[0].rpartition("/")[2]):
        return {}  # a program on the command line: its flags are the interpreter's
    words = argv[script + 1 :]
    params: dict[str, Param] = {}
    skip = False
    for index, word in enumerate(words):
        if skip or len(params) >= MAX_PARAMS:
            skip = False
        elif flag := _FLAG.fullmatch(word):
            value = flag[2]
            following = words[index + 1] if index + 1 < len(words) else None
            if value is None and following is not None and not _FLAG.fullmatch(following):
                value, skip = following, True
            _add(params, flag[1].replace("-", "_"), True if value is None else scalar(value))
        elif override := _OVERRIDE.fullmatch(word):
            _add(params, override[1], scalar(override[2]))
    return params


def _add(params: dict[str, Param], name: str, value: Scalar) -> None:
    if name not in params or (value is True and params[name] is True):
        params[name] = value
    elif len(before := values_of(params[name])) < MAX_PARAMS:
        params[name] = (*before, value)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Nested parameters with dotted names; lists become text."""
    flat: dict[str, Scalar] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        elif value is None or isinstance(value, (str, int, float, bool)):
            flat[name] = value
        else:
            flat[name] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        if len(flat) >= MAX_PARAMS:
            break
    return flat


def scalar(text: str) -> Scalar:
    """A number if the text is one, else the text (cut at 1,000 characters)."""
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return text[:1000]
    finite = number - number == 0.0
    return number if finite and not text.strip().lower().startswith(("inf", "nan")) else text
