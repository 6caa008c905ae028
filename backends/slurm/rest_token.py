"""The token that slurmrestd is shown: from SLURM_JWT, or printed by a command of the settings.

It is read at use and held in memory only: never written, logged or shown. What is said in it of who
it is for and until when is read without being checked; that is slurmrestd's.
"""

from __future__ import annotations

import asyncio
import base64
import getpass
import json
import os
import re
import shlex
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from traindeck.backends import children
from traindeck.backends.base import BackendError, UsageError
from traindeck.backends.data import dataclass
from traindeck.backends.errors import excerpt
from traindeck.backends.slurm import text
from traindeck.backends.slurm.words import span

VARIABLE = "SLURM_JWT"
HOW = "`export $(scontrol token lifespan=3600)` on the cluster makes one"
LONGEST = 8192
WITHIN = 30.0
"""Seconds for the command that prints one."""
EARLY = 30.0
"""Seconds before its end from which a token of the command's is not used any more."""
MOST_OUTPUT = 1 << 16
LOOKS_LIKE_ONE = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says of itself: the user it is for, and when it ends (seconds since the epoch).
    What it does not say, or not in a way that can be read, is "" and None."""

    user: str = ""
    end: float | None = None


def claims(token: str) -> Claims:
    """Read them. Nothing that a token holds raises."""
    parts = token.split(".")
    if len(parts) < 2:
        return Claims()
    try:
        body = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return Claims()
    if not isinstance(body, dict):
        return Claims()
    end, user = body.get("exp"), body.get("sun") or body.get("username")
    found = Claims()
    if isinstance(user, str) and _is_word(user) and len(user) <= 256:
        found = replace(found, user=user)
    if isinstance(end, (int, float)) and not isinstance(end, bool) and 0 < end < 1e11:
        found = replace(found, end=float(end))
    return found


def hidden(said: str) -> str:
    """A text of somebody else's without anything in it that looks like a token."""
    return LOOKS_LIKE_ONE.sub("…", said)


class Tokens:
    """Where tokens come from.

    Args:
        name: Of the backend, for what is said.
        command: The argv that prints one, empty for the environment's.
        environ: Where SLURM_JWT is looked for; this process' own without it.
        needed: Whether there must be one (a unix socket may know who asks).
        clock: Returns now.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str] = (),
        *,
        environ: Mapping[str, str] | None = None,
        needed: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._command = tuple(command)
        self._environ = environ
        self._needed = needed
        self._clock = clock
        self._minted = ""
        self._minting = asyncio.Lock()

    async def token(self) -> str:
        """One that has not ended, as far as it says; "" if there is none and need not be.

        Raises:
            BackendError: There is none, it has expired, or the command did not print one.
        """
        if self._command:
            async with self._minting:
                if self._minted and not self._is_over(self._minted, EARLY):
                    return self._minted
                self._minted = ""
                self._minted = await self._mint()
                return self._minted
        environ = os.environ if self._environ is None else self._environ
        token = environ.get(VARIABLE, "").strip().removeprefix(f"{VARIABLE}=")
        if not token:
            if not self._needed:
                return ""
            raise BackendError(
                f"`{self._name}` needs a token for slurmrestd, and {VARIABLE} is not set.",
                f"{HOW}; or name a command that prints one as backends.{self._name}.token.",
            )
        self._check(token, f"what {VARIABLE} holds")
        end = claims(token).end
        if end is not None and end <= self._clock():
            ago = span(self._clock() - end)
            raise BackendError(
                f"The token in {VARIABLE} for `{self._name}` expired {ago} ago.", f"{HOW}."
            )
        return token

    def forget(self) -> bool:
        """Do not use the last one again: it was refused. Whether another can be had."""
        had, self._minted = bool(self._minted), ""
        return had

    def user(self, token: str) -> str:
        """The user it is for; without a word of that, whoever runs this."""
        if user := claims(token).user:
            return user
        with suppress(OSError, KeyError):
            return getpass.getuser()
        return ""

    def left(self, token: str) -> str:
        """Until when it holds, in words."""
        end = claims(token).end
        where = "printed by the command" if self._command else f"in {VARIABLE}"
        if end is None:
            return f"the token {where} does not say how long it holds"
        return f"the token {where} holds for {span(max(0.0, end - self._clock()))} more"

    def _is_over(self, token: str, early: float) -> bool:
        end = claims(token).end
        return end is not None and end - early <= self._clock()

    def _check(self, token: str, what: str) -> None:
        if len(token) > LONGEST or not _is_word(token):
            raise BackendError(f"{what[0].upper()}{what[1:]} for `{self._name}` is no token.", HOW)

    async def _mint(self) -> str:
        called = f"`{excerpt(shlex.join(self._command), 80)}` (backends.{self._name}.token)"
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                start_new_session=True,
            )
        except OSError as error:
            raise BackendError(f"{called} cannot be started: {error.strerror}.") from None
        try:
            async with asyncio.timeout(WITHIN):
                out, err = await asyncio.gather(_read(process.stdout), _read(process.stderr))
                code = await process.wait()
        except TimeoutError:
            raise BackendError(f"{called} printed no token within {WITHIN:g} s.") from None
        finally:
            if process.returncode is None:
                children.end(process, signal.SIGKILL)
                await process.wait()
        if code:
            why = hidden(text.one_line(err.decode("utf-8", "replace"))) or f"it ended with {code}"
            raise BackendError(f"{called} printed no token: {why}.")
        lines = [line.strip() for line in out.decode("utf-8", "replace").splitlines()]
        named = [line for line in lines if line.startswith(f"{VARIABLE}=")]
        # A login shell may have said something before.
        found = (named or [line for line in lines if line])[-1:]
        token = found[0].removeprefix(f"{VARIABLE}=") if found else ""
        if not token:
            raise BackendError(f"{called} printed nothing.")
        self._check(token, f"what {called} printed")
        if self._is_over(token, 0.0):
            raise BackendError(
                f"{called} printed a token that has expired.", "Check the clocks of both machines."
            )
        return token


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    """All of it, as far as a token may be; the rest is read and dropped."""
    found = b""
    while stream is not None and (data := await stream.read(MOST_OUTPUT)):
        found += data[: MOST_OUTPUT - len(found)]
    return found


def _is_word(token: str) -> bool:
    return bool(token) and token.isascii() and all("!" <= letter <= "~" for letter in token)


def command_of(name: str, value: Any) -> tuple[str, ...]:
    """The argv of a setting: a list of words, or a line of them.

    Raises:
        UsageError: It is neither, or is a token itself, which does not belong into a file.
    """
    where = f"backends.{name}.token"
    if value in (None, "", []):
        return ()
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise UsageError(f"{where} cannot be read as a command: {error}.") from None
    elif isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value):
        words = list(value)
    else:
        raise UsageError(f"{where}: expected a command that prints a token, as a list of words.")
    if any(LOOKS_LIKE_ONE.search(word) for word in words):
        raise UsageError(
            f"{where} holds a token itself; it is to be a command that prints one.",
            f"Take it out of the file, and set {VARIABLE} in the environment.",
        )
    if not words or not all(word.isprintable() for word in words):
        raise UsageError(f"{where}: expected a command that prints a token.")
    return tuple(words)
