"""What keeps a run from another machine, as a command says it: one sentence, what to do, and a code
that tells a wrong request from a machine that does not answer."""

from __future__ import annotations

import socket
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.cli.conftest import Cli
from tests.environments import make_venv
from tests.services import free_port
from tests.services.sshd import Box, Sshd, make_key

from traindeck.backends.hosts.knownhosts import fingerprint

RUN = ("run", "--on", "there", "--", "true")


@dataclass
class Away:
    """A machine, `there` in the settings, and what it would be called in its configuration."""

    cli: Cli
    sshd: Sshd
    folder: Path

    def says(self, *lines: str, options: str = "", host: str = "gpu1", words: tuple[str, ...] = RUN,
             code: int = 1) -> str:  # fmt: skip
        """What a command says where the configuration of the host has these lines instead."""
        names = {line.split()[0] for line in lines}
        usual = self.sshd.config.read_text().replace("Host box0", "Host gpu1").splitlines()
        kept = [line for line in usual if line.split()[0] not in names]
        config = self.folder / "ssh_config"
        config.write_text("\n".join([*kept, *(f"  {line}" for line in lines), ""]))
        settings = self.cli.home / ".config/traindeck/settings.yaml"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(
            f"backends: {{there: {{kind: ssh, host: {host}, ssh_config: {config}{options}}}}}\n"
        )
        done = self.cli(*words)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert done.stderr.startswith("traindeck: ") and done.stderr.count("\n") == 1, done.stderr
        return done.stderr.removeprefix("traindeck: ").rstrip("\n")


@pytest.fixture
def away(cli: Cli, tmp_path: Path) -> Iterator[Away]:
    with Sshd(tmp_path / "sshd", Box()) as sshd:
        yield Away(cli, sshd, tmp_path)
        assert cli.json("ls", "--json") == []


def test_a_machine_that_does_not_answer_is_named_with_the_reason(away: Away) -> None:
    config, port = away.folder / "ssh_config", free_port()
    assert away.says(host="gpu9.invalid") == (
        f"gpu9.invalid is no host of {config}, and no machine is called gpu9.invalid. "
        "The hosts there: gpu1."
    )
    assert away.says(f"Port {port}") == (
        f"gpu1 (127.0.0.1, port {port}) refuses the connection: no sshd listens there."
    )
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        port = full.getsockname()[1]
        for _ in range(3):  # there is no room for another one, who is told nothing
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        assert away.says(f"Port {port}", "ConnectTimeout 1") == (
            f"gpu1 (127.0.0.1, port {port}) did not answer within 1 s."
        )


def test_a_machine_whose_key_is_not_the_one_that_is_known_is_refused(away: Away) -> None:
    known, port = away.folder / "known", away.sshd[0].port
    shown = away.sshd[0].public_keys[0]
    make_key(away.folder / "other", "ed25519")
    other = (away.folder / "other.pub").read_text()
    print_of = fingerprint(b64decode(shown.split()[1]))
    for text, said in (
        (
            "",
            f"gpu1 is not known yet: its host key is ED25519 {print_of}. Compare that with what "
            "who runs the host says, then accept it: `traindeck backends check PLACE "
            "--accept-new`.",
        ),
        (
            f"[127.0.0.1]:{port} {other}",
            f"gpu1 shows another host key than before (ED25519 {print_of}; {known}, line 1 has "
            "another): it was set up anew, or somebody is in between. If you know why it changed, "
            "remove that line; else ask who runs the host.",
        ),
        (
            f"@revoked * {shown}\n",
            f"gpu1 shows a host key that is marked as revoked (ED25519 {print_of}; {known}, line "
            "1). Ask who runs the host.",
        ),
    ):
        known.write_text(text)
        assert away.says(f"UserKnownHostsFile {known}") == said
        assert known.read_text() == text


def test_a_machine_that_does_not_let_us_in_says_what_it_takes(away: Away) -> None:
    make_key(away.folder / "stranger", "ed25519")
    assert away.says(f"IdentityFile {away.folder}/stranger") == (
        "gpu1 does not let deck in: it takes publickey. Try `ssh gpu1`; load a key with ssh-add, "
        "or name one with IdentityFile."
    )


def test_a_machine_that_cannot_run_our_agent_is_named_with_what_to_set(away: Away) -> None:
    assert away.says(options=", python: /usr/bin/no-such-python") == (
        "there: no Python of 3.6 or newer was found there. Say which one with `python` in the "
        "backend's settings."
    )
    assert away.says(options=", root: /proc/traindeck") == (
        "there: /proc/traindeck cannot be written (No such file or directory: '/proc/traindeck'). "
        "Choose another folder there with `root` in the backend's settings."
    )


def test_an_environment_that_lacks_what_a_recipe_needs_is_refused_before_anything_is_sent(
    away: Away,
) -> None:
    home = away.sshd[0].home
    make_venv(home / "v", torch="raise OSError('libcudart.so.12: cannot open')")
    words = ("finetune", "sft", "--on", "there", "--set", "model=a/b", "--set", "data=c/d")
    assert away.says(words=(*words, "--environment", "~/v"), code=2) == (
        f"there: torch cannot be imported in venv {home}/v (OSError: libcudart.so.12: cannot "
        "open). pip install torch there, or name another with --environment."
    )
    assert list((home / ".traindeck").glob("runs/*")) == []
