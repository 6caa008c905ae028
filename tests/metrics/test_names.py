"""The same quantity is one series, whoever names it."""

from __future__ import annotations

import pytest

from traindeck.console.metrics.names import (
    MEAN_LOSS,
    canonical,
    curves_of,
    main_metric,
    series_name,
)


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (("loss", "Loss", "train_loss", "train/loss", "Train Loss", "lm loss"), "loss"),
        (("eval_loss", "val_loss", "Val_Loss", "validation loss", "val/Loss"), "eval/loss"),
        (("learning_rate", "lr", "train/learning_rate", "train/lr", "learning rate"), "lr"),
        (("grad_norm", "grad norm", "train/grad_norm", "gnorm"), "grad_norm"),
        (("eval_rewards/chosen", "eval/rewards/chosen"), "eval/rewards/chosen"),
        (("rewards/chosen", "train/rewards/chosen"), "rewards/chosen"),
        (("val_accuracy", "eval/acc", "valid_acc"), "eval/acc"),
        (("test_loss",), "test/loss"),
        (("num_tokens", "train/num_tokens"), "tokens"),
        (("train/train_loss",), MEAN_LOSS),
        (("my metric", " 'my  metric' "), "my metric"),
        (("evaluate", "training", "validity"), None),
    ],
)  # fmt: skip
def test_names_of_one_quantity_are_one(names: tuple[str, ...], key: str | None) -> None:
    for name in names:
        assert canonical(name) == (name if key is None else key)


@pytest.mark.parametrize("name", ["eval/loss", "loss", "test/acc", "train/mean_loss", "x/y/z"])
def test_a_canonical_name_stays(name: str) -> None:
    assert canonical(canonical(name)) == canonical(name)


@pytest.mark.parametrize(
    "name",
    [
        "eval_runtime",
        "train/train_runtime",
        "total_flos",
        "eval/steps_per_second",
        "global_step",
        "",
    ],
)
def test_what_describes_the_call_is_no_series(name: str) -> None:
    assert series_name(name) is None


def test_the_surroundings_can_say_that_it_is_an_evaluation() -> None:
    assert series_name("loss", "eval") == "eval/loss"
    assert series_name("val_loss", "test") == "eval/loss"


def test_the_main_metric_is_the_users_else_the_loss() -> None:
    keys = ["acc", "eval/loss", "loss", "system/cpu_pct", "aux_loss"]
    assert main_metric(keys) == "loss"
    assert main_metric(keys, "val_loss") == "eval/loss"
    assert main_metric(keys, "aux_loss") == "aux_loss"
    assert main_metric(keys, "absent") == "loss"
    assert main_metric(["aux_loss", "acc2"]) == "aux_loss"
    assert main_metric(["lr", "score"]) == "score"
    assert main_metric(["lr", "system/cpu_pct", "__checkpoint__"]) is None


def test_what_is_drawn_unasked_shares_a_scale() -> None:
    keys = ["acc", "eval/loss", "loss", "system/cpu_rss_bytes"]
    assert curves_of(keys, "loss") == ["loss", "eval/loss"]
    assert curves_of(keys, None) == ["loss", "eval/loss"]
    assert curves_of(keys, "acc") == ["acc"]
    assert curves_of(["system/cpu_pct"], None) == ["system/cpu_pct"]
    assert curves_of(["__checkpoint__"], None) == []
