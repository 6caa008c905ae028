"""What the themes promise to people: everything legible, and no two meanings that look alike.

Every theme file in themes/ is measured anew here, also as shown in 256 colours.
"""

from __future__ import annotations

from itertools import combinations

import pytest
from theme_vision import MACHADO, ciede2000, distance

from traindeck.console.present.color import contrast, hexed, nearest_256, palette_color
from traindeck.console.present.theme import GROUNDS, STATES, Theme, available, load

THEMES = sorted(available(None))
HEX_THEMES = [name for name in THEMES if not load(name).native]
SERIES = [f"s{number}" for number in range(1, 9)]

# Smallest CIEDE2000 between any two, over four kinds of vision, as the design language states them.
SERIES_APART = {"dark": 15.0, "light": 14.9, "high": 15.0}
STATES_APART = {"dark": 9.5, "light": 7.2, "high": 9.1}
SERIES_CONTRAST = {"dark": 4.4, "light": 3.3, "high": 5.0}


def _least_distance(theme: Theme, names: list[str]) -> float:
    colors = [theme.tokens[name] for name in names]
    return min(distance(a, b, v) for a, b in combinations(colors, 2) for v in MACHADO)


def test_the_oracle_agrees_with_the_published_pairs() -> None:
    pairs = [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1, 2), (50, 0, 0), 2.3669),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ]
    for one, two, expected in pairs:
        assert ciede2000(one, two) == pytest.approx(expected, abs=1e-4)


def test_the_four_themes_of_the_design_are_there() -> None:
    assert {"dark", "light", "high", "ansi16"} <= set(THEMES)


@pytest.mark.parametrize("name", HEX_THEMES)
def test_words_are_legible_on_every_ground(name: str) -> None:
    tokens = load(name).tokens
    for ground in GROUNDS[:-1]:
        for ink in ("strong", "text"):
            assert contrast(tokens[ink], tokens[ground]) >= 7, (ink, ground)
        assert contrast(tokens["muted"], tokens[ground]) >= 4.3, ground
    assert contrast(tokens["muted"], tokens["bg"]) >= 5.9
    assert contrast(tokens["faint"], tokens["bg"]) >= 3.4
    assert contrast(tokens["on_accent"], tokens["accent"]) >= 4.5
    assert contrast(tokens["on_match"], tokens["match"]) >= 4.5


@pytest.mark.parametrize("name", HEX_THEMES)
def test_a_state_is_legible_also_in_the_selected_row(name: str) -> None:
    tokens = load(name).tokens
    for token in (*STATES, "accent"):
        assert contrast(tokens[token], tokens["bg"]) >= 5.5, token
        assert contrast(tokens[token], tokens["select"]) >= 4.3, token


@pytest.mark.parametrize("name", HEX_THEMES)
def test_no_two_states_look_alike_to_anybody(name: str) -> None:
    assert _least_distance(load(name), [*STATES, "accent"]) >= STATES_APART.get(name, 7)


@pytest.mark.parametrize("name", HEX_THEMES)
def test_eight_curves_can_be_told_apart_by_everybody(name: str) -> None:
    theme = load(name)
    assert _least_distance(theme, SERIES) >= SERIES_APART.get(name, 14)
    low = min(contrast(theme.tokens[s], theme.tokens["bg"]) for s in SERIES)
    assert low >= SERIES_CONTRAST.get(name, 3)


@pytest.mark.parametrize("name", HEX_THEMES)
def test_256_colours_stay_legible(name: str) -> None:
    tokens = load(name).tokens
    shown = {
        token: hexed(palette_color(nearest_256(value, ground=token in GROUNDS)))
        for token, value in tokens.items()
    }
    for ground in ("bg", "surface", "raised", "select"):
        assert contrast(shown["text"], shown[ground]) >= 7, ground
        assert contrast(shown["muted"], shown[ground]) >= 4.3, ground
        for token in (*STATES, "accent"):
            assert contrast(shown[token], shown[ground]) >= 3.5, (token, ground)
    assert shown["select"] != shown["bg"] != shown["raised"]
    least = min(
        distance(shown[a], shown[b], v) for a, b in combinations(SERIES, 2) for v in MACHADO
    )
    assert least >= 11


def test_the_terminals_own_palette_has_four_curves_that_differ() -> None:
    theme = load("ansi16")
    assert len({theme.tokens[s] for s in SERIES}) == 8
    assert theme.band is None
