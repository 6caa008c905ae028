"""Indices of arrays, as a person writes them and as a scheduler lists them."""

from __future__ import annotations

import pytest

from traindeck.backends.arrays import listed_indices, read_indices, task_id
from traindeck.backends.errors import UsageError


@pytest.mark.parametrize(
    ("text", "numbers", "at_once"),
    [
        ("0-3", (0, 1, 2, 3), None),
        ("7", (7,), None),
        ("5,1,3", (1, 3, 5), None),
        ("0-20:5%2", (0, 5, 10, 15, 20), 2),
        (" 1-2, 9998-9999 ", (1, 2, 9998, 9999), None),
    ],
)
def test_indices_are_read_as_sbatch_reads_them(
    text: str, numbers: tuple[int, ...], at_once: int | None
) -> None:
    found = read_indices(text)
    assert (found.numbers, found.at_once) == (numbers, at_once)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither an index nor a range"),
        ("0-3,", "neither an index nor a range"),
        ("0-2,x", "'x' is neither"),
        ("-1", "neither"),
        ("0x3", "neither"),
        ("\u0661-3", "neither"),
        ("3-1", "holds no index"),
        ("0-9:0", "holds no index"),
        ("1-3,2", "index 2 is named twice"),
        ("0-3%", "no number of tasks at once"),
        ("0-3%0", "no number of tasks at once"),
        ("0-10000", "0 to 9,999, not to 10,000"),
        ("0-1000", "1,001 tasks; an array has 1,000 at most"),
        ("0-999999999999", "neither"),
    ],
)
def test_what_is_no_list_of_indices_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_indices(text)
    assert words in str(refused.value)


def test_a_scheduler_s_list_is_read_as_far_as_it_can_be() -> None:
    assert listed_indices("4,6-7%2") == (4, 6, 7)
    assert listed_indices("0-8:4") == (0, 4, 8)
    assert listed_indices("1-3,...") == (1, 2, 3)
    assert listed_indices("9998-4000000") == (9998, 9999)
    assert listed_indices("nonsense") == ()


def test_the_id_of_a_run_tells_which_task_of_which_array_it_is() -> None:
    assert task_id("1shj2a8r", 7) == "1shj2a8r0007"
    assert task_id("1shj2a8r", 9999) == "1shj2a8r9999"
