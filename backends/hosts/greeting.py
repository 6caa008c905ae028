"""How an agent is started on a machine that only a login shell answers for.

One command line does it, whatever the shell is (bash, tcsh, fish): it finds a Python, sees whether
our agent is in place, takes it from stdin if it is not, and becomes it. Whatever else is printed
there (a banner, a talkative .bashrc) stands before a random marker, is kept as a warning and never
parsed; no more than a little of it is ever held.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress

from traindeck.backends.base import BackendError, Unreachable
from traindeck.backends.payload.build import agent_name, agent_source

PYTHONS = (
    "python3", "/usr/libexec/platform-python", "/usr/bin/python3", "/opt/conda/bin/python3",
    *(f"python3.{minor}" for minor in range(14, 5, -1)),
)  # fmt: skip
"""Where an interpreter of 3.6 or newer is looked for, in this order."""

BANNER_LIMIT = 1 << 20
"""Bytes of what is not the agent's that are listened to, and dropped beyond `BANNER_KEPT`."""
BANNER_KEPT = 4096

# Both stand between single quotes in a command line that tcsh and fish read too: they hold no
# single quote, no backslash, no `!` and no line break.
_INSTALL = (
    "import sys,os,hashlib;f,t,n,h=sys.argv[1:];"
    "os.makedirs(os.path.dirname(f),0o700,exist_ok=True);"
    "d=sys.stdin.buffer.read(int(n));"
    'hashlib.sha256(d).hexdigest()==h or sys.exit("what arrived is not what was sent");'
    'o=open(t,"xb");o.write(d);o.flush();os.fsync(o.fileno());o.close();os.rename(t,f)'
)
_SCRIPT = (
    "umask 077; m=$1 a=$2 n=$3 h=$4 r=$5 i=$6 s=$7; shift 7; p=; "
    'case $r in "~") r=$HOME;; "~/"*) r=$HOME/${r#"~/"};; esac; '
    'for c; do case $c in "~/"*) c=$HOME/${c#"~/"};; esac; '
    'if "$c" -I -S -c "import sys;sys.exit(sys.version_info<(3,6))" </dev/null >/dev/null 2>&1; '
    "then p=$c; break; fi; done; "
    'test -n "$p" || { echo; echo "$m python"; exit 1; }; '
    'f=$r/bin/$a; t=$f.$$.tmp; if test -f "$f" && test "$(wc -c <"$f")" -eq "$n"; then :; else '
    'echo; echo "$m need"; "$p" -I -S -c "$i" "$f" "$t" "$n" "$h" || '
    '{ rm -f "$t"; echo "$m failed"; exit 1; }; fi; '
    'exec "$p" -I -S "$f" serve "$m" "$s"'
)

_UNQUOTABLE = frozenset("'\\!\n\r\0")


def can_be_sent(text: str) -> bool:
    """Whether a word can stand in a command line that any login shell reads alike."""
    return text.isprintable() and not _UNQUOTABLE & set(text) and not text.startswith("-")


def command_line(marker: str, root: str, python: str | None, silence: float) -> str:
    """What to have the login shell there run.

    Args:
        marker: Random; what the agent says after it is the agent's.
        root: Folder there, from `/` or `~/` on.
        python: The interpreter, or None to look for one.
        silence: Seconds without a byte from here after which the agent there ends.

    Raises:
        BackendError: The root or the interpreter has signs that no shell takes as they are.
    """
    for what, text in (("root", root), ("python", python or "")):
        if not can_be_sent(text):
            raise BackendError(
                f"{what} {text[:60]!r} cannot be sent through a login shell.",
                "Choose a name without quotes, backslashes and exclamation marks.",
            )
    source = agent_source()
    digest = hashlib.sha256(source).hexdigest()
    words: tuple[str, ...] = (
        marker,
        agent_name(),
        str(len(source)),
        digest,
        root,
        _INSTALL,
        f"{silence:.0f}",
    )
    words += (python,) if python else PYTHONS
    quoted = " ".join(f"'{word}'" for word in words)
    return f"exec /bin/sh -c '{_SCRIPT}' sh {quoted}"


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, marker: str) -> str:
    """Wait until the agent is there, sending it if it is asked for. Afterwards the next byte is the
    agent's first frame. Returns what was printed before it, as text.

    Raises:
        Unreachable: The connection ended, or what answers is no machine of this kind.
        BackendError: There is no Python, or no place for the agent; `what` lacks the details, which
            are on stderr.
    """
    heard = 0
    banner = b""
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            line = await reader.readexactly(error.consumed or 1)
        except asyncio.IncompleteReadError as error:
            banner += error.partial[:BANNER_KEPT]
            raise Unreachable(_ended(banner)) from None
        except OSError as error:
            raise Unreachable(f"The connection broke: {error}.") from None
        word = line.strip()
        if word == marker.encode():
            return banner.decode("utf-8", "replace").strip()
        if word == f"{marker} need".encode():
            writer.write(agent_source())
            with suppress(OSError):  # it has ended; what it said before says why
                await writer.drain()
        elif word == f"{marker} python".encode():
            raise BackendError(
                "no Python of 3.6 or newer was found there.",
                "Say which one with `python` in the backend's settings.",
            )
        elif word == f"{marker} failed".encode():
            raise NoRoom("the agent cannot be put in place there")
        else:
            heard += len(line)
            if heard > BANNER_LIMIT:
                raise Unreachable(
                    f"It sends more than {BANNER_LIMIT >> 20} MiB and no agent answers: "
                    "is its login shell one?"
                )
            banner = (banner + line)[:BANNER_KEPT]


class NoRoom(BackendError):
    """The folder that the agent and the runs are to lie in cannot be written."""


def _ended(banner: bytes) -> str:
    text = " ".join(banner.decode("utf-8", "replace").split())
    return f"It closed the connection before the agent answered: {text[:200]}".rstrip(": ") + "."
