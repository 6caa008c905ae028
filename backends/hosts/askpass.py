"""What `ssh` asks while it connects, brought to whoever can answer it.

`ssh` without a terminal starts the program that SSH_ASKPASS names, once a question. Ours is two
lines: it hands the question to this process over a socket in a folder of the user's own, and prints
the answer. Nothing of it is kept.
"""

from __future__ import annotations

import math
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from traindeck.backends.asking import Stranger, asker
from traindeck.backends.hosts import sshsaid
from traindeck.backends.hosts.sshconfig import Target

_PROGRAM = """#!/bin/sh
exec "$TRAINDECK_ASK_PYTHON" -I -S -c '
import os, socket, sys
way = socket.socket(socket.AF_UNIX)
way.connect(os.environ["TRAINDECK_ASK"])
kind = "-" if os.environ.get("SSH_ASKPASS_PROMPT") == "none" else "?"
way.sendall((kind + sys.argv[1]).encode("utf-8", "surrogateescape") + b"\\0")
answer = b"".join(iter(lambda: way.recv(4096), b""))
if not answer:
    sys.exit(1)
sys.stdout.buffer.write(answer[1:] + b"\\n")
' "$1"
"""

_LIMIT = 16384


class AskServer:
    """Answers questions of `ssh` processes until it is closed.

    Args:
        folder: Of the user's own (0700); the program and the socket lie in it.
        target: The machine.
        said: What ssh has said so far.
    """

    def __init__(self, folder: Path, target: Target, said: Callable[[], str]) -> None:
        self._host = target.alias
        self._target = target
        self._said = said
        self._asker = asker()  # of who connects: the questions come on another thread
        self.gave_secret = self.wants_touch = False
        self.last = -math.inf
        """When a question was answered, by the monotonic clock; without end while one is asked."""
        program, path = folder / "ask", folder / "s"
        program.write_text(_PROGRAM)
        program.chmod(0o700)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(4)
        self.environ = {
            "SSH_ASKPASS": str(program),
            "SSH_ASKPASS_REQUIRE": "force",
            "DISPLAY": os.environ.get("DISPLAY") or ":0",  # ssh before 8.4 asks only with one
            "TRAINDECK_ASK": str(path),
            "TRAINDECK_ASK_PYTHON": sys.executable,
        }
        threading.Thread(target=self._serve, name="askpass", daemon=True).start()

    def close(self) -> None:
        """Answer nothing any more. Idempotent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                way, _ = self._socket.accept()
            except OSError:
                return
            with way, suppress(OSError):
                self.last = math.inf
                try:
                    answer = self._answer(_question(way))
                finally:
                    self.last = time.monotonic()
                if answer is not None:
                    way.sendall(b"=" + answer.encode("utf-8", "surrogateescape"))

    def _answer(self, asked: str) -> str | None:
        """What to answer; None for nothing, which `ssh` takes as a refusal."""
        question = asked[1:]
        if asked.startswith("-"):  # nothing is: it says that a security key is to be touched
            self.wants_touch = True
            self._asker.notice(self._host, f"{' '.join(question.split())[:300]}: touch it")
            return None
        found = re.search(r"(\S+) key fingerprint is (SHA256:\S+?)\.?\s", question)
        if "authenticity of host" in question:
            if found is None or sshsaid.bad_certificate(self._said()):
                return "no"
            if self._target.strict_host_key_checking in ("no", "accept-new"):
                return "yes"
            stranger = Stranger(
                host=self._host,
                address=_quoted(question),
                key_type=found[1],
                fingerprint=found[2],
                file=next(iter(self._target.user_known_hosts), ""),
            )
            return "yes" if self._asker.trusts(stranger) else "no"
        given = self._asker.secret(self._host, " ".join(question.split())[:300])
        self.gave_secret |= given is not None
        return given


def _question(way: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\0") and len(data) < _LIMIT:
        more = way.recv(4096)
        if not more:
            break
        data += more
    return data.rstrip(b"\0").decode("utf-8", "replace")


def _quoted(question: str) -> str:
    found = re.search(r"authenticity of host '([^']+)'", question)
    return found[1] if found else ""
