"""The Settings screen's data and lines."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.backends.base import Health, Reach
from traindeck.console.present.caret import Caret
from traindeck.console.present.cells import line_width, plain
from traindeck.console.present.launch_fields import flat
from traindeck.console.present.settings_view import settings_form, settings_lines, source_words
from traindeck.console.settings import SETTINGS, Settings, Source

ACTIONS = {"runs.stop": ("s", "stop…")}


def test_every_setting_is_shown_with_its_value_and_source() -> None:
    settings = Settings(
        grace=90.0,
        mouse=False,
        sources=MappingProxyType({"grace": Source(kind="file", where="/c/settings.yaml, line 4")}),
    )
    entries = {entry.key: entry for entry in flat(settings_form(settings, ["dark"], ACTIONS, {}))}
    assert {setting.name for setting in SETTINGS} <= set(entries)
    assert (entries["grace"].text, entries["grace"].hint) == ("90s", "settings.yaml, line 4")
    assert entries["grace"].changed
    assert not entries["window"].changed
    assert entries["mouse"].text == "false"
    assert entries["keys.runs.stop"].text == "s"
    assert entries["backends.local"].text == "process"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Source(), "default"),
        (Source(kind="file", where="/a b/settings.yaml, line 12"), "settings.yaml, line 12"),
        (Source(kind="environment", where="TRAINDECK_THEME"), "TRAINDECK_THEME"),
    ],
)
def test_where_a_value_comes_from(source: Source, words: str) -> None:
    assert source_words(source) == words


@given(st.text(max_size=80), st.integers(60, 160))
def test_every_line_fits(text: str, cells: int) -> None:
    settings = Settings(theme=text or "dark", keys={"runs.stop": text})
    form = settings_form(settings, ["dark"], ACTIONS, {"grace": f"wrong {text}"})
    health = {"backends.local": Health(reach=Reach.DOWN, checks=((False, text),))}
    lines, _ = settings_lines(form, "grace", Caret(text, len(text)), health, cells, airy=True)
    assert all(line_width(line) <= cells for line in lines)


def test_a_backend_that_is_asked_says_so_and_then_how_it_is() -> None:
    form = settings_form(Settings(), ["dark"], ACTIONS, {})
    text = "\n".join(
        map(plain, settings_lines(form, "theme", None, {"backends.local": None}, 90, airy=False)[0])
    )
    assert "asking" in text
    health = {"backends.local": Health(checks=((True, "the agent answers"), (False, "no room")))}
    text = "\n".join(map(plain, settings_lines(form, "theme", None, health, 90, airy=False)[0]))
    assert "✓ the agent answers" in text
    assert "✗ no room" in text
