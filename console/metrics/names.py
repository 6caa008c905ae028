"""What a quantity is called, so that the same one from two sources is one series.

The table is explicit: what is not in it keeps the name its script gave it. A prefix of evaluation
(`eval_`, `val_`, `valid_`, `validation_`) becomes `eval/`; a bare `train_loss`, `train/loss` and
Megatron's `lm loss` are the training loss. The summary that HF's Trainer prints at its end has a
`train_loss` too, which is the mean over the run and is kept apart as `train/mean_loss`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

CHECKPOINT = "__checkpoint__"
"""A series of marks, not of values: the steps at which checkpoints were written."""

ALIASES = {
    "train_loss": "loss",
    "train/loss": "loss",
    "training_loss": "loss",
    "train loss": "loss",
    "lm loss": "loss",
    "val loss": "eval/loss",
    "valid loss": "eval/loss",
    "learning_rate": "lr",
    "learning rate": "lr",
    "train/learning_rate": "lr",
    "train/lr": "lr",
    "grad norm": "grad_norm",
    "train/grad_norm": "grad_norm",
    "gradnorm": "grad_norm",
    "train/epoch": "epoch",
    "perplexity": "ppl",
    "accuracy": "acc",
    "tokens_per_second": "tokens_per_s",
    "tok/s": "tokens_per_s",
    "tps": "tokens_per_s",
}

_EVALUATION = re.compile(r"(?:eval|evaluation|val|valid|validation|test)[_/ ](?=\w)", re.I)
_SPACES = re.compile(r"\s+")

MAIN = ("loss", "eval/loss", "reward", "eval/acc", "acc", "eval/reward", "ppl")
"""Which metric stands for a run in tables, the first of these that it has."""

_NEVER_MAIN = frozenset({"epoch", "lr", "grad_norm", "tokens_per_s", "mfu", "num_tokens"})


def canonical(name: str) -> str:
    """The name of a series for a name as a script prints it."""
    name = _SPACES.sub(" ", name.strip().strip("'\""))
    if alias := ALIASES.get(name.lower()):
        return alias
    if found := _EVALUATION.match(name):
        prefix = "test/" if name[:4].lower() == "test" else "eval/"
        rest = name[found.end() :]
        return prefix + ALIASES.get(rest.lower(), rest)
    return name


def main_metric(keys: Collection[str], wanted: str | None = None) -> str | None:
    """The metric that stands for a run.

    Args:
        wanted: What the user asked for, by a tag or parameter `main`; counts if the run has it.
    """
    if wanted is not None and canonical(wanted) in keys:
        return canonical(wanted)
    for name in MAIN:
        if name in keys:
            return name
    losses = sorted(key for key in keys if key.endswith("loss"))
    others = sorted(
        key for key in keys if key not in _NEVER_MAIN and not key.startswith(("system/", "__"))
    )
    return next(iter([*losses, *others]), None)
