"""What a quantity is called, so that the same one from two sources is one series.

The rules are explicit, and a name that none of them knows stays as its script gave it:

1. `ALIASES`: other names of one quantity (`learning_rate` and `lr`, Megatron's `lm loss`).
2. What is measured of evaluation data is below `eval/` (`eval_`, `val_`, `valid_`, `validation_`
   before a name) or `test/`, the rest of the name by the same rules.
3. Training is what is meant where nothing is said: `train/` before a name is dropped (TensorBoard's
   `train/loss` and stdout's `loss` are one), `train_` before the names that rule 1 or 4 knows.
   Either may stand at the end: `Loss/train`, `Loss/val`.
4. `FOLDED` names are written in lower case, so that `Loss` and `loss` are one.

The summary that HF's Trainer gives at its end has a `train_loss` too: it is the mean over the run
and is kept apart as `train/mean_loss`. So is what a script says of an epoch that it told step by
step before (`mean_name`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from traindeck.console.store.records import CHECKPOINT

MEAN_LOSS = "train/mean_loss"

ALIASES = {
    "lm loss": "loss",
    "lm_loss": "loss",
    "set loss": "loss",
    "lm loss value": "loss",
    "lm loss ppl": "ppl",
    "average loss": "loss",
    "avg loss": "loss",
    "avg_loss": "loss",
    "mean loss": "loss",
    "training loss": "loss",
    "training_loss": "loss",
    "loss_step": "loss",
    "train_loss_step": "loss",
    "learning_rate": "lr",
    "learning rate": "lr",
    "grad norm": "grad_norm",
    "grad": "grad_norm",
    "gradnorm": "grad_norm",
    "gnorm": "grad_norm",
    "norm": "grad_norm",
    "perplexity": "ppl",
    "accuracy": "acc",
    "mean_token_accuracy": "token_accuracy",
    "num_tokens": "tokens",
    "tokens_per_second": "tokens_per_s",
    "tokens_per_sec": "tokens_per_s",
    "tokens/s": "tokens_per_s",
    "tokens/sec": "tokens_per_s",
    "tok/s": "tokens_per_s",
    "tok/sec": "tokens_per_s",
    "tps": "tokens_per_s",
    "wps": "tokens_per_s",
}
"""Lower-case name -> the name of its series."""

FOLDED = frozenset(
    {
        "loss", "lr", "acc", "ppl", "reward", "mfu", "grad_norm", "f1", "auc", "bleu", "bpb", "kl",
        "epoch", "tokens_per_s",
    }
)  # fmt: skip

_DROPPED = re.compile(
    r"(?:(?:train|eval|test)[_/])?"
    r"(?:runtime|(?:samples|steps)_per_second|model_preparation_time|jit_compilation_time)"
    r"|total_flos|num_input_tokens_seen|(?:global_?)?step"
)
"""Names that are no series: they describe the call, or are the axis itself."""

_EVALUATION = re.compile(r"(eval|evaluation|val|valid|validation|test)(?:[_/ -]|\. )(?=\S)", re.I)
_AT_ITS_END = re.compile(r"(.+)/(train|training|eval|val|valid|validation|test)", re.I)
_TRAINING = re.compile(r"(?:train|training)([_/ ])(?=\S)", re.I)
_SPACES = re.compile(r"\s+")
_LONGEST = 200

MAIN = ("loss", "eval/loss", "reward", "eval/acc", "acc", "eval/reward", "ppl", "eval/ppl", "bpb")
"""Which metric stands for a run in tables, the first of these that it has."""

_NEVER_MAIN = frozenset({"epoch", "lr", "grad_norm", "tokens_per_s", "mfu", "tokens", MEAN_LOSS})


@lru_cache(maxsize=4096)
def canonical(name: str) -> str:
    """The name of a series for a name as a script gives it."""
    name = _SPACES.sub(" ", name[:_LONGEST].strip().strip("'\""))
    if known := _known(name):
        return known
    if found := _EVALUATION.match(name):
        rest = name[found.end() :]
        return ("test/" if found[1].lower() == "test" else "eval/") + (_known(rest) or rest)
    if found := _TRAINING.match(name):
        rest = name[found.end() :]
        if found[1] == "/":
            return MEAN_LOSS if rest in ("train_loss", "mean_loss") else canonical(rest)
        return _known(rest) or name
    if found := _AT_ITS_END.fullmatch(name):
        return canonical(f"{found[2]}/{found[1]}")
    return name


def _known(name: str) -> str | None:
    lower = name.lower()
    return ALIASES.get(lower) or (lower if lower in FOLDED else None)


@lru_cache(maxsize=4096)
def series_name(name: str, of: str = "") -> str | None:
    """The series that a logged value belongs to, None if it belongs to none.

    Args:
        of: `eval` or `test` if the surroundings say so, though the name does not.
    """
    if _DROPPED.fullmatch(name):
        return None
    key = canonical(name)
    if not key or key == CHECKPOINT or _DROPPED.fullmatch(key):
        return None
    if of and not key.startswith(("eval/", "test/")) and key != "epoch":
        key = f"{of}/{key}"
    return key


def mean_name(name: str) -> str:
    """The series for what sums up the points of another: a mean over them is none of them. What was
    measured of evaluation data is a measurement of its own."""
    return name if name.startswith(("eval/", "test/")) else f"train/mean_{name}"


def main_metric(keys: Collection[str], wanted: str | None = None) -> str | None:
    """The metric that stands for a run: what the user wants, else the first of `MAIN`, else the
    first name that ends in `loss`, else the first that is no schedule or speed.

    Args:
        wanted: What the user asked for, by a tag or parameter `main`; counts if the run has it.
    """
    if wanted is not None:
        for name in (wanted, canonical(wanted)):
            if name in keys:
                return name
    for name in MAIN:
        if name in keys:
            return name
    losses = sorted(key for key in keys if key.lower().endswith("loss") and key != MEAN_LOSS)
    others = sorted(
        key for key in keys if key not in _NEVER_MAIN and not key.startswith(("system/", "__"))
    )
    return next(iter([*losses, *others]), None)


def curves_of(keys: Collection[str], main: str | None) -> list[str]:
    """What is drawn of a run when nobody says what: the main metric and its evaluation, which share
    a scale. Without a main one, the first."""
    main = (
        main or main_metric(keys) or next((key for key in keys if not key.startswith("__")), None)
    )
    return [key for key in (main, f"eval/{main}") if key is not None and key in keys]
