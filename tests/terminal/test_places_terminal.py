"""A machine that is not known and wants a password, met through the screen, and by a command that
has a terminal: the program in a pty, and a real sshd."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal_probe import Terminal
from tests.services.sshd import Box, Sshd

TRAINDECK = [sys.executable, "-m", "traindeck.console.cli.main"]
PASSWORD = "xK9-plum&orbit"


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    box = Box(password=PASSWORD, known=False, lines=["PubkeyAuthentication no"])
    with Sshd(tmp_path / "machines", box) as made:
        yield made


@pytest.fixture
def env(home: Path, sshd: Sshd) -> dict[str, str]:
    """The environment of somebody who has just added that machine."""
    settings = home / ".config/traindeck/settings.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"backends: {{box0: {{kind: ssh, ssh_config: {sshd.config}}}}}\n")
    env = {**os.environ, "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
    env["XDG_CONFIG_HOME"] = str(home / ".config")
    return env


@pytest.fixture
def deck(env: dict[str, str]) -> Iterator[Terminal]:
    """Their screen."""
    terminal = Terminal(TRAINDECK, env)
    yield terminal
    terminal.close()


def holding(word: str, *folders: Path) -> list[Path]:
    """The files in which a word stands."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if word.encode() in path.read_bytes()]


def test_a_key_is_trusted_and_a_password_typed_and_neither_is_asked_for_by_itself(
    deck: Terminal, sshd: Sshd, home: Path, tmp_path: Path
) -> None:
    deck.wait("C connects")  # it was tried in the background, which asks nothing
    assert "Is this" not in deck.text and sshd.known_hosts.read_text() == ""
    deck.press("C")
    deck.wait("Is this box0?")
    deck.wait("t trust it")
    assert "SHA256:" in deck.text and f"port {sshd[0].port}" in deck.text
    deck.press("escape")
    deck.wait(lambda terminal: "is not known yet" in terminal.text)
    assert sshd.known_hosts.read_text() == ""
    deck.press("C")
    deck.wait("t trust it")
    deck.press("t")
    deck.wait("Password of deck@box0")
    deck.wait("enter send it")
    assert sshd[0].public_keys[0].split()[1] in sshd.known_hosts.read_text()
    deck.press(*PASSWORD)
    deck.wait("typed, not shown")
    deck.press("enter")
    deck.wait("box0 answers")
    deck.wait("box0 ●")
    assert PASSWORD not in deck.text and PASSWORD.encode() not in bytes(deck.raw)
    deck.press("q")
    assert deck.ended() == 0
    # Of the machine only the account's own file may know it, and that does by its hash.
    assert holding(PASSWORD, home, tmp_path) == []


def test_a_wrong_password_is_not_tried_again_before_the_person_asks_for_it(
    deck: Terminal, sshd: Sshd
) -> None:
    deck.wait("C connects")
    deck.press("C")
    deck.wait("t trust it")
    deck.press("t")
    deck.wait("enter send it")
    deck.press(*"wrong", "enter")
    deck.wait("does not accept")
    tries = sshd[0].log.read_text().count("Failed password")
    deck.wait("C connects")
    deck.press("C")
    deck.wait("enter send it")
    assert sshd[0].log.read_text().count("Failed password") == tries
    deck.press("escape")
    deck.wait(lambda terminal: "box0 asks you" not in terminal.text)
    deck.press("q")
    assert deck.ended() == 0


def test_leaving_while_a_question_is_open_ends_the_program_at_once(deck: Terminal) -> None:
    deck.wait("C connects")
    deck.press("C")
    deck.wait("t trust it")
    os.kill(deck.pid, 15)
    deck.ended()
    assert "Traceback" not in deck.text


def test_a_command_asks_on_its_terminal_wherever_its_output_goes(
    env: dict[str, str], sshd: Sshd, home: Path, tmp_path: Path
) -> None:
    said = home / "said"
    check = [*TRAINDECK, "backends", "check", "box0"]
    # Of a pty that nobody has open nothing can be read: a descriptor stays.
    script = 'exec "$@" 3>&1 < /dev/null > "$0" 2>&1'
    for words, typed, code in (
        ([*check, "--accept-new"], PASSWORD, 0),
        (check, "wrong", 1),
        (check, "", 1),
    ):
        tries = sshd[0].log.read_text().count("Failed password")
        terminal = Terminal(["/bin/sh", "-c", script, str(said), *words], env)
        terminal.wait("Password of deck@box0")
        terminal.press(*typed, "enter")
        assert terminal.ended() == code, said.read_text()
        assert "Password of" not in said.read_text()
        assert terminal.text.strip() == "Password of deck@box0:", "what is typed is not shown"
        more = sshd[0].log.read_text().count("Failed password") - tries
        assert more == (typed == "wrong"), "it is never tried again"
    assert holding(PASSWORD, home, tmp_path) == []
    # Where there is no terminal nobody is asked.
    done = subprocess.run(
        check, env=env, capture_output=True, text=True, start_new_session=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.endswith(" Give the command in a terminal, where it can ask.\n")
