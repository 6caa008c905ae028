"""What a template says of a line is what reading it the long way says."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traindeck.console.metrics import stdout, templates
from traindeck.console.metrics.stdout import read_stdout

numbers = st.one_of(
    st.integers(0, 10**6).map(str),
    st.floats(0, 1e4).map(lambda x: f"{x:.4f}"),
    st.floats(1e-9, 1).map(lambda x: f"{x:.2e}"),
    st.integers(1000, 10**9).map(lambda x: f"{x:,}"),
    st.sampled_from(
        ["nan", "inf", "-1.5", "+2", "1.", ".5", "7k", "3M", "12/50", "1e99999", "1_000"]
    ),
)
names = st.sampled_from(
    ["loss", "train loss", "lr", "grad_norm", "acc", "acc@1", "acc@12", "layer1_loss",
     "layer22_loss", "loss-1", "tok/s", "mfu", "shard-7", "v2", "rank", "time", "eval loss",
     "epoch", "step", "mem", "reward", "x/y", "train_loss", "avg_loss", "valid_1's auc"]
)  # fmt: skip
ties = st.sampled_from([" ", ": ", "=", " = ", ":"])
words = st.sampled_from(
    ["[", "]", "|", ",", "ms", "it/s", "at", "of", "2026-01-02", "10.0.0.1", "%"]
)
heads = st.sampled_from(
    ["step {}", "iter {}:", "[{}/100]", "step {}/500", "global_step={}", "it {} |",
     "epoch {} step {}", "Epoch 1 step {}", "eval step {}/50", "{}", "step {},", "iter: {},",
     "step={}, ", "step {}/500,", "epoch {}/9 -", "batch {}", "epoch 3 batch {},",
     "[rank1]: step {}", "epoch=0/global_step={},", "it {} num_updates 7",
     "steps={}", "iters: {} batch 8", "TrainConfig(step={},"]
)  # fmt: skip
pairs = st.builds(lambda name, tie, number: (f"{name}{tie}", number), names, ties, numbers)
shapes = st.tuples(heads, st.lists(st.one_of(pairs, words.map(lambda w: (w, ""))), max_size=6))


@st.composite
def logs(draw: st.DrawFn) -> str:
    """Lines of two shapes, with other digits each, between each other."""
    lines = []
    for head, parts in draw(st.lists(shapes, min_size=1, max_size=2)):
        for _ in range(draw(st.integers(4, 7))):
            line = head.replace("{}", str(draw(st.integers(0, 10**5))))
            for before, number in parts:
                digits = "".join(
                    draw(st.sampled_from("0123456789")) if char.isdecimal() else char
                    for char in number
                )
                line += f" {before}{digits}"
            lines.append(line)
    if draw(st.booleans()):
        lines = draw(st.permutations(lines))
    return "\n".join(lines) + "\n"


def seen(text: str) -> Any:
    reading = read_stdout(text.encode(), {}, final=True)
    series = {
        name: (c.steps, [repr(v) for v in c.values], c.offsets)
        for name, c in reading.series.items()
    }
    counted = {name: (c.steps, [repr(v) for v in c.values]) for name, c in reading.counted.items()}
    return series, counted, reading.step, reading.total, reading.carry


def both(text: str) -> tuple[Any, Any]:
    """As read with templates and without."""
    templates._templates.clear()
    templates._shapes.clear()
    fast = seen(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stdout, "read_known", lambda *_: False)
        return fast, seen(text)


@pytest.mark.slow
@settings(max_examples=2000 if os.environ.get("SOAK") else 100)
@given(logs())
def test_lines_of_a_shape_are_read_as_each_by_itself(text: str) -> None:
    fast, slow = both(text)
    assert fast == slow


def test_the_usual_lines_become_templates() -> None:
    for line in (
        "step 10 loss 1.25 lr 3e-4 grad_norm 0.81",
        "iter 100: loss 2.1234, time 12.34ms, mfu 31.20%",
        "step: 10  loss: 8.1  grad_norm: 0.5  memory: 1.1GiB(2.0%)  tps: 1,024".replace(
            "1,024", "1024"
        ),
        "[2026-11-29 10:00:00] step=10/500 loss=1.2 tokens_per_second=41k",
    ):
        templates._templates.clear()
        templates._shapes.clear()
        read_stdout("".join(f"{line}\n" for _ in range(5)).encode(), {})
        assert templates._templates, line


def test_a_line_of_another_shape_is_not_taken_for_it() -> None:
    lines = [f"step {n} loss {n}.5 lr 1e-{n}" for n in range(1, 6)]
    fast, slow = both(
        "\n".join([*lines, "step 7 loss 1.5 lr 1e-3 acc 0.5", "step 8 loss nan lr 1e-3"])
    )
    assert fast == slow and fast[0]["loss"][1][-1] == "nan"


def test_a_line_that_would_be_a_bar_with_other_digits_is_not_taken_for_one_that_is_none() -> None:
    lines = [f"step 501/500 [00:01 loss 0.{n} |" for n in range(4)]
    fast, slow = both("\n".join([*lines, "step 7/500 [00:01 loss 0.5 |\n"]))
    assert fast == slow


def test_a_configuration_becomes_no_template_however_often_it_is_printed() -> None:
    fast, slow = both("".join(f"Namespace(lr=0.{n}, steps=90, dt=0.2)\n" for n in range(1, 8)))
    assert fast == slow
    assert fast[0] == {}


def test_what_stands_in_brackets_behind_a_count_is_read_if_it_is_no_bar() -> None:
    fast, slow = both("".join(f"step {n}/500 [loss 0.{n} | lr 1e-3]\n" for n in range(1, 8)))
    assert fast == slow
    assert fast[0]["loss"][0] == [1, 2, 3, 4, 5, 6, 7]


def test_steps_below_headings_go_on_from_epoch_to_epoch_by_a_template_too() -> None:
    lines = [
        line
        for epoch in range(5)
        for line in (
            f"== Epoch {epoch} ==",
            *(f"step {n}: loss {epoch * 20 + n}.5" for n in range(20)),
        )
    ]
    loss = read_stdout("\n".join([*lines, ""]).encode(), {}).series["loss"]
    assert loss.steps == list(range(100))
    assert loss.values == [n + 0.5 for n in range(100)]
