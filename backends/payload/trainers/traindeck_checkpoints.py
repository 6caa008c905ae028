"""Checkpoint folders of a trainer: which are whole, which is the newest, which may be gone on from.

A process can be killed while it saves; what it left must never be taken for a place to resume from.
Travels beside the trainers and imports nothing of Traindeck.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from traindeck_reporting import Refused, first_process, say

INCOMPLETE = "checkpoint-is-incomplete.txt"
"""Left by transformers in a folder that it was still writing to."""

FACTS = "traindeck.json"
"""File in a checkpoint that says what it was trained with, for the check before a resume."""


def complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end. The trainer writes trainer_state.json last."""
    if (checkpoint / INCOMPLETE).exists():
        return False
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_bytes())
        step = state["global_step"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    weights = any(checkpoint.glob("*.safetensors")) or any(checkpoint.glob("*.bin"))
    return checkpoint.name == f"checkpoint-{step}" and weights


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint folders, newest (highest step) first, complete or not."""
    found = []
    for path in folder.glob("checkpoint-*"):
        number = path.name.rpartition("-")[2]
        if number.isdecimal() and path.is_dir():
            found.append((int(number), path))
    return [path for _, path in sorted(found, reverse=True)]


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint; those passed over are named in the log."""
    for path in checkpoints(folder):
        if complete(path):
            return path
        say(f"{path.name} is incomplete and is passed over")
    return None


def put_aside(folder: Path) -> None:
    """Move checkpoints of an earlier attempt out of the way, so that they are neither resumed from
    nor counted among those to keep."""
    found = checkpoints(folder)
    if not found or not first_process():
        return
    number = 1
    while (folder / f"earlier-{number}").exists():
        number += 1
    aside = folder / f"earlier-{number}"
    aside.mkdir(mode=0o700)
    for path in found:
        path.rename(aside / path.name)
    say(f"{len(found)} checkpoints of an earlier attempt were moved to {aside.name}")


def differences(checkpoint: Path, now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What a checkpoint was trained with that is not so now: name -> (then, now)."""
    try:
        then = json.loads((checkpoint / FACTS).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(then, dict):
        return {}
    return {k: (then[k], v) for k, v in now.items() if k in then and then[k] != v}


def write_facts(checkpoint: Path, facts: dict[str, Any]) -> None:
    """Note beside a checkpoint what a resume from it must agree with."""
    (checkpoint / FACTS).write_text(json.dumps(facts, indent=1) + "\n")


def choose(resume: str, folder: Path, facts: dict[str, Any], fixed: Iterable[str]) -> Path | None:
    """Where to go on from, or None for a start from the beginning.

    Args:
        resume: `auto` (the newest of `folder`), `never`, or the path of a checkpoint, which counts
            while `folder` holds none.
        folder: Where this run's checkpoints lie.
        facts: What this run trains with.
        fixed: Names of the facts that cannot change between the two; others are warned about.

    Raises:
        Refused: The checkpoint asked for is not there, not whole, or of another kind of training.
    """
    if resume == "never":
        put_aside(folder)
        return None
    chosen = None if resume == "auto" else Path(resume).expanduser().absolute()
    if chosen is not None and not chosen.is_dir():
        raise Refused(f"resume {resume}: no such folder.")
    if chosen is not None and not complete(chosen):
        raise Refused(f"resume {resume}: not a complete checkpoint.")
    if chosen is None or chosen.parent != folder:
        own = newest(folder)  # of an attempt before this one, which has gone on from `chosen`
        if own is None:
            put_aside(folder)
        chosen = own or chosen
    if chosen is None:
        return None
    changed = differences(chosen, facts)
    for name in fixed:
        if name in changed:
            then, now = changed.pop(name)
            raise Refused(
                f"{chosen.name} was trained with {name} {then}, now it is {now}; it cannot go on. "
                "Set resume=never to start anew."
            )
    say(f"going on from {chosen.name}")
    for name, (then, now) in changed.items():
        rows = "" if name == "model" else ": rows may come twice or never"
        say(f"  warning: {name} was {then} then and is {now} now{rows}")
    return chosen


def resuming(trainer: Any) -> Any:
    """A trainer that goes on from a checkpoint with the options of now: transformers takes learning
    rate, weight decay and the steps between logs, evaluations and checkpoints from it. And it calls
    no weight missing that is there under another name: of two that are tied (input embedding and
    output head) a checkpoint holds one."""

    class Resuming(trainer):
        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            if checkpoint is None or not hasattr(self.lr_scheduler, "lr_lambdas"):
                super()._load_optimizer_and_scheduler(checkpoint)
                return
            groups, scheduler = self.optimizer.param_groups, self.lr_scheduler
            kept = ("initial_lr", "weight_decay")
            now = [{name: group[name] for name in kept} for group in groups]
            super()._load_optimizer_and_scheduler(checkpoint)
            scheduler.base_lrs = [values["initial_lr"] for values in now]
            rates = [
                rate * curve(scheduler.last_epoch)
                for rate, curve in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
            ]
            for group, values, rate in zip(self.optimizer.param_groups, now, rates, strict=True):
                group.update(values, lr=rate)
            scheduler._last_lr = rates
            self.state.compute_steps(self.args, self.state.max_steps)

        def _issue_warnings_after_load(self, load_result: Any) -> None:
            missing = load_result.missing_keys
            weights = dict(self.model.named_parameters(remove_duplicate=False))
            loaded = {id(weight) for name, weight in weights.items() if name not in missing}
            missing[:] = [name for name in missing if id(weights.get(name)) not in loaded]
            super()._issue_warnings_after_load(load_result)

    return Resuming
