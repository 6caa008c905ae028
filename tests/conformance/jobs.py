"""The jobs that the suite runs: one Python program for all of them, told by its arguments.

A job is a list of words, done one after the other, so that a real backend runs it as an ordinary
command and the in-memory fake reads the same words. The program itself is for Python >= 3.6 and
needs nothing but its standard library.

    out:TEXT        write a line to stdout; `err:TEXT` to stderr
    noise:SEED:SIZE write SIZE reproducible bytes, in pieces
    env:NAME        write NAME=value; `sha:NAME` its SHA-256 instead; `cwd` the working directory
    stdin           write how many bytes stdin holds
    pause:SECONDS   sleep
    hold            sleep until something ends it
    ignore-term     ignore SIGTERM from here on
    on-term:TEXT    at SIGTERM write a line and exit 0
    daemon          leave a grandchild behind, in a session of its own, that ignores SIGTERM and
                    writes `tick` every 20 ms
    exit:CODE       end; `signal:NUMBER` end by a signal. Without one: exit 0
"""

from __future__ import annotations

import random
from collections.abc import Sequence

SOURCE = """\
import hashlib, os, random, signal, sys, time

def write(data, fd=1):
    while data:
        data = data[os.write(fd, data):]

def line(text, fd=1):
    write(text.encode("utf-8", "surrogateescape") + b"\\n", fd)

def on_term(text):
    def handler(number, frame):
        line(text)
        os._exit(0)
    return handler

def daemon():
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        line("tick")
        time.sleep(0.02)

for word in sys.argv[1:]:
    name, _, value = word.partition(":")
    if name == "out":
        line(value)
    elif name == "err":
        line(value, 2)
    elif name == "noise":
        seed, size = value.split(":")
        stream = random.Random(int(seed))
        left = int(size)
        while left:
            piece = min(left, stream.randrange(1, 9973))
            write(bytes(stream.getrandbits(8) for _ in range(piece)))
            left -= piece
    elif name == "env":
        line(value + "=" + os.environ.get(value, "(not set)"))
    elif name == "sha":
        line(hashlib.sha256(os.environ.get(value, "").encode()).hexdigest())
    elif name == "cwd":
        line(os.getcwd())
    elif name == "stdin":
        line("stdin holds %d bytes" % len(os.read(0, 100)))
    elif name == "pause":
        time.sleep(float(value))
    elif name == "hold":
        while True:
            time.sleep(60)
    elif name == "ignore-term":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif name == "on-term":
        signal.signal(signal.SIGTERM, on_term(value))
    elif name == "daemon":
        daemon()
    elif name == "exit":
        os._exit(int(value))
    elif name == "signal":
        os.kill(os.getpid(), int(value))
        time.sleep(60)
    else:
        sys.exit("unknown word " + word)
"""


def argv(python: str, *words: str) -> tuple[str, ...]:
    """The command that does `words`."""
    return (python, "-c", SOURCE, *words)


def words(command: Sequence[str]) -> list[str] | None:
    """The words of a command made by `argv`, None for any other command."""
    return list(command[3:]) if list(command[1:3]) == ["-c", SOURCE] else None


def noise(seed: int, size: int) -> bytes:
    """What `noise:SEED:SIZE` writes."""
    return b"".join(pieces(seed, size))


def pieces(seed: int, size: int) -> list[bytes]:
    """The same in the pieces it is written in."""
    stream = random.Random(seed)
    done: list[bytes] = []
    while size:
        piece = min(size, stream.randrange(1, 9973))
        done.append(bytes(stream.getrandbits(8) for _ in range(piece)))
        size -= piece
    return done
