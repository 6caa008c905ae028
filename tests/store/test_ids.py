"""Run ids and names."""

from __future__ import annotations

import re
import threading

from traindeck.console.store.ids import ALPHABET, is_id, mint_id, mint_name, minted_at
from traindeck.console.store.words import ADJECTIVES, NOUNS


def test_ids_are_twelve_characters_that_cannot_be_misread() -> None:
    run_id = mint_id()
    assert is_id(run_id)
    assert len(run_id) == 12
    assert not set("ilou") & set(ALPHABET)
    for wrong in ("", run_id[:-1], run_id.upper() + "x", "../../../etc/", "iiiiiiiiiiii"):
        assert not is_id(wrong)


def test_ids_sort_by_the_time_they_were_minted() -> None:
    ids = [mint_id(1_800_000_000 + second) for second in range(0, 10**9, 10**7)]
    assert ids == sorted(ids)
    assert minted_at(ids[0]) == 1_800_000_000


def test_four_characters_tell_runs_apart_that_began_twenty_minutes_from_each_other() -> None:
    prefixes = {mint_id(1_800_000_000 + 1200 * i)[:4] for i in range(1000)}
    assert len(prefixes) == 1000


def test_ids_never_repeat_and_always_increase_within_a_process() -> None:
    ids: list[list[str]] = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda box: box.extend(mint_id() for _ in range(2000)), args=[box])
        for box in ids
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(box == sorted(box) for box in ids)
    assert len({run_id for box in ids for run_id in box}) == 8000


def test_names_are_two_short_words() -> None:
    name = mint_name(lambda name: False)
    assert re.fullmatch(r"[a-z]{3,8}-[a-z]{2,8}", name)
    assert len(ADJECTIVES) * len(NOUNS) > 20_000
    assert len(set(ADJECTIVES)) == len(ADJECTIVES)
    assert len(set(NOUNS)) == len(NOUNS)


def test_a_name_that_is_taken_is_not_given_again() -> None:
    taken = {mint_name(lambda name: False) for _ in range(2000)}
    assert mint_name(taken.__contains__) not in taken


def test_names_get_a_number_when_all_are_taken() -> None:
    plain = re.compile(r"[a-z]+-[a-z]+")
    name = mint_name(lambda name: plain.fullmatch(name) is not None or name.endswith("-2"))
    assert re.fullmatch(r"[a-z]+-[a-z]+-3", name)
