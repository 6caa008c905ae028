"""The real program in a real terminal: what is written to it, whatever terminal it is."""

from __future__ import annotations

import base64
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from terminal_probe import StartDeck, Terminal

pytestmark = pytest.mark.terminal

SGR = re.compile(rb"\x1b\[([0-9;:]*)m")


def sgr(terminal: Terminal) -> set[bytes]:
    """All colour and attribute sequences that were written."""
    return set(SGR.findall(bytes(terminal.raw)))


def ready(terminal: Terminal) -> Terminal:
    """The list is on screen with its selected run."""
    terminal.wait("selected 1/")
    terminal.quiet()
    return terminal


def test_the_list_is_there_and_answers_keys(start_deck: StartDeck) -> None:
    deck = ready(start_deck())
    assert "NEEDS YOU 3" in deck.text
    deck.press("j", "j", "j")
    deck.wait("selected 4/20")
    deck.press("?")
    deck.wait("KEYS ON THIS SCREEN")
    deck.press("escape")
    deck.wait(lambda t: "KEYS ON THIS SCREEN" not in t.text)
    deck.press("down", "up", "pagedown", "home", "end")
    deck.wait("selected 20/20")


def test_the_first_frame_comes_with_its_rows_or_soon_without_them(start_deck: StartDeck) -> None:
    deck = ready(start_deck("--delay", "0.1", "--patience", "20"))
    head, rows = (deck.raw.index(word) for word in (b"traindeck", b"NEEDS YOU"))
    assert rows - head < 2000, "no empty screen was written in between"
    slow = start_deck("--delay", "3600")
    slow.wait("traindeck")
    slow.wait("reading the runs")


def test_a_burst_after_the_slash_is_a_filter(start_deck: StartDeck) -> None:
    deck = ready(start_deck())
    deck.press("/noisy")
    deck.wait(lambda t: "filter noisy" in " ".join(t.screen.display[1].split()))
    deck.press("escape")
    deck.wait(lambda t: "filter" not in t.screen.display[1] and "selected 1/20" in t.text)
    deck.press("/vit\rG")
    deck.wait("filter vit · 6 of")
    deck.wait("selected 6/6")


def test_a_signal_ends_it_with_the_terminal_as_it_was(start_deck: StartDeck) -> None:
    deck = ready(start_deck())
    os.kill(deck.pid, signal.SIGTERM)
    assert deck.ended() == 128 + signal.SIGTERM
    written = bytes(deck.raw)
    assert written.rfind(b"\x1b[?1049l") > written.rfind(b"\x1b[?1049h")
    assert written.rfind(b"\x1b[?25h") > written.rfind(b"\x1b[?25l")


@pytest.mark.parametrize("nohup", [False, True])
def test_a_terminal_that_is_gone_ends_it(start_deck: StartDeck, nohup: bool) -> None:
    if nohup:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited over the exec
        try:
            deck = start_deck()
        finally:
            signal.signal(signal.SIGHUP, before)
    else:
        deck = start_deck()
    ready(deck)
    deck.hang_up()
    assert deck.ended() == 128 + signal.SIGHUP


def test_it_leaves_the_terminal_as_it_was(start_deck: StartDeck) -> None:
    deck = ready(start_deck())
    deck.press("q")
    assert deck.ended() == 0
    written = bytes(deck.raw)
    for on, off in [(b"?1049h", b"?1049l"), (b"?25l", b"?25h"), (b"?1003h", b"?1003l")]:
        assert written.rfind(b"\x1b[" + on) < written.rfind(b"\x1b[" + off), off
    assert b"Traceback" not in written


def test_its_screen_is_empty_when_it_is_given_back(start_deck: StartDeck) -> None:
    deck = ready(start_deck())
    deck.press("q")
    assert deck.ended() == 0
    last = bytes(deck.raw).rpartition(b"\x1b[2J")[2].partition(b"\x1b[?1049l")
    assert last[1] and not re.sub(rb"\x1b\[[?<>=0-9;]*[a-zA-Z]", b"", last[0]), last[0]


def test_after_a_stop_and_fg_the_screen_is_there_again(start_deck: StartDeck) -> None:
    deck = ready(start_deck())
    os.kill(deck.pid, signal.SIGTSTP)
    deck.wait(lambda t: os.waitpid(t.pid, os.WNOHANG | os.WUNTRACED)[0] == t.pid)
    deck.quiet()
    deck.screen.reset()
    os.kill(deck.pid, signal.SIGCONT)
    deck.wait("NEEDS YOU", timeout=5)
    deck.wait("selected 1/20", timeout=5)


def test_a_bug_in_a_screen_ends_with_one_line_and_a_report(
    start_deck: StartDeck, tmp_path: Path
) -> None:
    deck = ready(start_deck("--crash", "--state", str(tmp_path), cells=300))
    deck.press("f")
    assert deck.ended() == 1
    (report,) = (tmp_path / "state").glob("crash-*.txt")
    after = bytes(deck.raw).rpartition(b"\x1b[?1049l")[2].decode()
    said = [line for line in re.sub(r"\x1b\[[?<>=0-9;]*[a-zA-Z]", "", after).split("\n") if line]
    assert len(said) == 1, said
    assert "The screen Runs failed: KeyError: 'no row 7'." in said[0]
    assert str(report) in said[0]
    assert report.stat().st_mode & 0o777 == 0o600
    assert "in crash" in report.read_text() and "secret =" not in report.read_text()
    deck = ready(start_deck("--crash", "--state", str(tmp_path), TRAINDECK_DEBUG="1"))
    deck.press("f")
    deck.ended()
    assert b"Traceback" in bytes(deck.raw)


def test_ctrl_c_twice_quits(start_deck: StartDeck) -> None:
    deck = ready(start_deck())
    deck.press("ctrl+c")
    deck.wait("ctrl+c again quits; runs go on")
    deck.press("ctrl+c")
    assert deck.ended() == 0


def test_services_that_sleep_five_seconds_leave_every_key_alive(start_deck: StartDeck) -> None:
    deck = start_deck("--delay", "5")
    deck.wait("traindeck  Runs")
    for key, text in [("?", "KEYS ON THIS SCREEN"), (":", "enter go"), ("/", "enter keep")]:
        deck.press(key)
        deck.wait(text, timeout=3)
        deck.press("escape")
        deck.wait(lambda t, text=text: text not in t.text, timeout=3)
    deck.wait("selected 1/20", timeout=40)
    for number in range(2, 8):
        deck.press("j")
        deck.wait(f"selected {number}/20", timeout=3)
    deck.press("s")
    deck.wait("Stop 1 run?", timeout=3)
    deck.press("q", "escape")
    deck.wait(lambda t: "Stop 1 run?" not in t.text, timeout=3)
    deck.press("q")
    assert deck.ended() == 0


def test_an_idle_screen_is_quiet(start_deck: StartDeck) -> None:
    deck = ready(start_deck())
    deck.listen(1.0)
    assert deck.listen(3.0) < 3 * 8192


@pytest.mark.parametrize(
    ("variables", "wanted", "never"),
    [
        ({"COLORTERM": "truecolor"}, rb"38;2;", None),
        ({"COLORTERM": "", "TERM": "xterm-256color"}, rb"38;5;", rb"38;2;"),
        ({"COLORTERM": "", "TERM": "xterm"}, rb"9[0-7]", rb"[34]8;"),
        ({"NO_COLOR": "1"}, rb"\b7\b", rb"[34]8;|(?<!\d)(3[0-7]|4[0-7]|9[0-7]|10[0-7])(?!\d)"),
    ],
)
def test_no_terminal_gets_more_colours_than_it_has(
    start_deck: StartDeck, variables: dict[str, str], wanted: bytes, never: bytes | None
) -> None:
    deck = ready(start_deck(**variables))
    deck.press("j", "?")
    deck.wait("KEYS ON THIS SCREEN")
    codes = sgr(deck)
    assert any(re.search(wanted, code) for code in codes)
    if never is not None:
        assert [code for code in codes if re.search(never, code)] == []


def test_a_terminal_that_draws_signs_two_cells_wide_gets_others(start_deck: StartDeck) -> None:
    deck = start_deck(width_of_signs=5)
    deck.wait("selected 1/")
    deck.wait(lambda t: "* running" in t.text and t.text.isascii())


@pytest.mark.parametrize(
    "says",
    [
        {"LC_ALL": "en_US.ISO-8859-1"},
        {"LC_ALL": "C"},
        {"LANG": "C"},
        {"LC_ALL": "C", "TMUX": "/tmp/tmux,1,0", "TERM_PROGRAM": "tmux"},
        {"LANG": "", "TMUX": "/tmp/tmux,1,0", "TERM_PROGRAM": "tmux"},
    ],
)
def test_an_ascii_locale_gets_ascii(start_deck: StartDeck, says: dict[str, str]) -> None:
    deck = ready(start_deck(**says))
    assert deck.text.isascii()
    assert bytes(deck.raw).isascii()


@pytest.mark.parametrize(
    "says",
    [
        {"LC_ALL": "C.UTF-8"},
        {"LANG": ""},
        {"LC_ALL": "C", "TERM_PROGRAM": "WezTerm"},
        {"LANG": "de_DE.utf8", "TMUX": "/tmp/tmux,1,0", "TERM_PROGRAM": "tmux"},
    ],
)
def test_one_of_utf8_and_one_that_says_nothing_get_all_signs(
    start_deck: StartDeck, says: dict[str, str]
) -> None:
    deck = ready(start_deck(**says))
    assert "● running" in deck.text


@pytest.mark.parametrize(("cells", "rows"), [(10, 3), (20, 5), (59, 24), (1, 1)])
def test_a_tiny_terminal_says_so_and_quits(start_deck: StartDeck, cells: int, rows: int) -> None:
    deck = start_deck(cells=cells, rows=rows)
    deck.wait(lambda t: t.written > 200)
    deck.quiet(0.5)
    if cells >= 20:
        assert "60×15" in deck.text
    deck.press("q")
    assert deck.ended() == 0


def test_a_window_may_change_its_size_at_any_time(start_deck: StartDeck) -> None:
    deck = ready(start_deck())
    deck.press("j", "j")
    deck.wait("selected 3/20")
    for cells, rows in [(80, 24), (40, 10), (200, 60), (60, 15), (120, 40)]:
        deck.resize(cells, rows)
        if cells >= 60:
            deck.wait(lambda t: "selected 3/20" in t.screen.display[-1])
            deck.wait(lambda t: t.screen.display[0].startswith("▌traindeck"))
        else:
            deck.wait("is too small")


def test_80_by_24_shows_what_matters(start_deck: StartDeck) -> None:
    deck = ready(start_deck(cells=80, rows=24))
    lines = deck.screen.display
    assert lines[0].startswith("▌traindeck  Runs")
    assert lines[1].split() == ["STATE", "NAME", "WHERE", "AGE", "DONE", "LEFT", "LOSS", "TREND"]
    assert "? keys" in lines[-1]


def test_what_was_set_returns_after_a_restart(start_deck: StartDeck, tmp_path: Path) -> None:
    deck = ready(start_deck("--state", str(tmp_path)))
    deck.press("G", "z", "a")
    deck.wait("all time")
    deck.press("q")
    assert deck.ended() == 0
    deck = start_deck("--state", str(tmp_path))
    deck.wait("all time")
    deck.wait("▸ FINISHED")
    assert (tmp_path / "state" / "screens.json").stat().st_mode & 0o777 == 0o600


def test_a_copy_goes_through_the_terminal(start_deck: StartDeck) -> None:
    deck = ready(start_deck())
    deck.press("y", "i")
    deck.wait("copied id")
    text = base64.b64encode(b"0k02v8c4m2qe")
    assert b"\x1b]52;c;" + text in bytes(deck.raw)


def test_nothing_a_name_holds_reaches_the_terminal(start_deck: StartDeck, tmp_path: Path) -> None:
    deck = ready(start_deck("--nasty"))
    for key in ("j", "j", "?", "escape", ":", "escape", "s", "escape", "e", "escape"):
        deck.press(key)
        deck.quiet()
    # Textual itself sets the mouse pointer's shape (OSC 22).
    written = re.sub(rb"\x1b\]22;[a-z-]*\x07", b"", bytes(deck.raw))
    assert b"\x1b]52" not in written
    assert b"\x1b]0;" not in written
    assert b"\x07" not in written
    assert "␛" in written.decode()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("theme: nope\n", "There is no theme `nope`"),
        ("glyphs: emoji\n", "line 1: `glyphs` is 'emoji': expected one of"),
        ("keys:\n  runs.stpo: x\n", "line 2: there is no action `runs.stpo`. Did you mean"),
        ("keys:\n  runs.stop: ctrl+b\n", "line 2: `ctrl+b` cannot be used: tmux takes it"),
        ("keys:\n  runs.stop: l\n", "line 2: `l` is already runs.log"),
        ("keys:\n  runs.stop: shift+enter\n", "line 2: `shift+enter` is no key"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_drawn(
    start_deck: StartDeck, tmp_path: Path, settings: str, words: str
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.yaml").write_text(settings)
    deck = start_deck("--state", str(tmp_path), cells=200)
    assert deck.ended() == 1
    assert words in " ".join(deck.text.split())
    assert b"\x1b[?1049h" not in bytes(deck.raw)


@pytest.mark.parametrize(
    ("term", "why"),
    [("dumb", "TERM=dumb"), ("unknown", "TERM=unknown"), ("", "TERM is not set")],
)
def test_a_terminal_without_a_cursor_is_refused_in_words(
    start_deck: StartDeck, term: str, why: str
) -> None:
    deck = start_deck(TERM=term)
    assert deck.ended() == 1
    assert f"cannot show screens ({why}). Use `traindeck ls`" in deck.text
    assert b"\x1b" not in bytes(deck.raw)


def test_the_mouse_can_be_left_alone(start_deck: StartDeck, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.yaml").write_text("mouse: false\n")
    deck = ready(start_deck("--state", str(tmp_path)))
    assert b"\x1b[?1003h" not in bytes(deck.raw)
    deck = ready(start_deck())
    deck.press("\x1b[<0;20;8M", "\x1b[<0;20;8m")
    deck.wait("selected 3/20")
    deck.press("\x1b[<65;20;12M")
    deck.quiet()
    assert deck.text


def test_own_keys_work_and_are_shown(start_deck: StartDeck, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.yaml").write_text("keys:\n  runs.freeze: W, ctrl+f\n")
    deck = ready(start_deck("--state", str(tmp_path)))
    deck.press("?")
    deck.wait("W ctrl+f")
    deck.press("escape")
    deck.wait(lambda t: "KEYS ON" not in t.text)
    deck.press("f")
    deck.quiet()
    assert "frozen" not in deck.text
    deck.press("W")
    deck.wait("frozen")


def test_the_first_frame_needs_no_more_than_textual(start_deck: StartDeck, tmp_path: Path) -> None:
    """Run twice: the first start parses the theme, the second one finds it ready."""
    for run in (1, 2):
        deck = start_deck("--state", str(tmp_path), "--modules", str(tmp_path / "modules"))
        ready(deck)
        deck.press("q")
        assert deck.ended() == 0
        names = (tmp_path / "modules").read_text().split()
        heavy = {"numpy", "torch", "httpx", "paramiko", "typer", "pynvml", "difflib_", "sqlite3"}
        assert heavy & set(names) == set()
        if run == 2:
            assert "yaml" not in names


def test_the_probe_itself_measures(start_deck: StartDeck) -> None:
    deck = ready(start_deck())
    assert 0 < deck.latency("j", "▌".encode()) < 5
    assert sys.executable
