"""The tables of keys: complete, free of clashes, and without what a terminal cannot send."""

from __future__ import annotations

import pytest

from traindeck.backends.base import UsageError
from traindeck.console.settings import Settings
from traindeck.console.tui import keys
from traindeck.console.tui.keys import SCOPES, all_actions, key_text, keymap, shown_keys

NEVER = (
    "alt+",
    "shift+enter",
    "ctrl+enter",
    "ctrl+i",
    "ctrl+m",
    "ctrl+h",
    "ctrl+j",
    "ctrl+b",
    "ctrl+a",
)


@pytest.mark.parametrize("scope", SCOPES)
def test_no_two_actions_of_a_screen_share_a_key(scope: str) -> None:
    taken: dict[str, str] = {}
    for action in (*SCOPES[scope], *(keys.APP if scope != "app" else ())):
        for key in action.keys.split(","):
            assert taken.setdefault(key, action.id) == action.id, key


def test_nothing_needs_a_key_that_terminals_or_multiplexers_take() -> None:
    for action in all_actions().values():
        for key in action.keys.split(","):
            assert not key.startswith(NEVER), action.id
        plain = [key for key in action.keys.split(",") if not (key[0] == "f" and key[1:].isdigit())]
        assert plain, f"{action.id} needs an F-key"


def test_every_action_has_a_name_of_its_own_and_words() -> None:
    actions = [action for table in SCOPES.values() for action in table]
    assert len({action.id for action in actions}) == len(actions)
    for action in actions:
        assert action.help
        assert action.id.count(".") == 1
        assert len(action.help) <= 30, action.id
        assert len(action.label) <= 12


def test_footer_ranks_are_distinct_in_a_screen() -> None:
    for scope, table in SCOPES.items():
        ranks = [action.rank for action in (*table, *keys.APP) if action.rank]
        assert len(set(ranks)) == len(ranks) or scope == "app"


def test_keys_are_written_as_people_write_them() -> None:
    assert [key_text(k) for k in ("question_mark", "ctrl+d", "escape", "G", "space", "down")] == [
        "?", "ctrl+d", "esc", "G", "space", "↓",
    ]  # fmt: skip
    down = all_actions()["list.down"]
    assert shown_keys(down, ["j", "down"]) == "j k ↓ ↑"
    assert shown_keys(down, ["n"]) == "n"


def test_a_person_may_choose_other_keys() -> None:
    wanted = {"runs.stop": "K, ctrl+k", "app.help": "f1", "list.down": "down", "runs.order": "#"}
    assert keymap(Settings(keys=wanted)) == {
        "runs.stop": "K,ctrl+k",
        "app.help": "f1",
        "list.down": "down",
        "runs.order": "hash",
    }
    # Two actions may change places.
    swapped = {"runs.order": "O", "runs.group": "o"}
    assert keymap(Settings(keys=swapped)) == swapped


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"runs.stpo": "x"}, "Did you mean `runs.stop`?"),
        ({"zzz": "x"}, "there is no action `zzz`"),
        ({"runs.stop": "hyper+x"}, "`hyper+x` is no key"),
        ({"runs.stop": "ctrl+X"}, "`ctrl+X` is no key"),
        ({"runs.stop": "é"}, "`é` is no key"),
        ({"runs.stop": "ctrl+b"}, "tmux takes it"),
        ({"runs.stop": "escape"}, "always goes back"),
        ({"runs.stop": "l"}, "`l` is already runs.log"),
        ({"runs.stop": "j"}, "`j` is already"),
        ({"run.stop": "w"}, "`w` is already log.wrap"),
        ({"runs.stop": "?"}, "`?` is already app.help"),
        ({"app.help": "s"}, "`s` is already"),
    ],
)
def test_keys_that_cannot_work_are_refused_with_the_reason(
    wanted: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        keymap(Settings(keys=wanted))
    assert words in str(caught.value)
