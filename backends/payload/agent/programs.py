"""Running programs for the console and bringing back what they print: Slurm's commands, mostly.

Several at a time, each in a session of its own and without a shell, bounded in time and in what is
kept of their output. A generator, so that `serve` goes on answering meanwhile.
"""

import os
import select
import time

from . import Refused, job, libc, procs, start, wire

MAX_COMMANDS = 64
MAX_SECONDS = 3600.0
SECONDS = 60.0
KEPT = 32 << 20
"""Bytes of output that one answer brings, of all commands together."""
PIECE = 1 << 16
ROOM = 1 << 20
"""Bytes of a pipe through which much comes: what prints line by line need not wait for us."""
REST = 0.004
"""Seconds for which such a one is left to print before we read again."""
LOOK = 0.05
"""Seconds between two looks for a child's end, where no descriptor tells of it."""
REAPED_WITHIN = 2.0
F_SETPIPE_SZ = 1031
"""Of <linux/fcntl.h>; Python knows it from 3.10 on."""

_unreaped = []
"""Pids of children that had been killed and did not end in time: a file server keeps them."""


class Program:
    """One running program and the pipes to it.

    Args:
        words: What the request says of it.
        kept: Bytes that are kept of each of its two outputs.
    """

    def __init__(self, words, kept):
        argv = wire.field(words, "argv", list, [])
        if not argv or not argv[0]:
            raise Refused("A command has no program.")
        self.argv = [wire.to_bytes(word, "A word of a command") for word in argv]
        stdin = wire.field(words, "stdin", str)
        self._input = None if stdin is None else memoryview(_encoded(stdin))
        cwd = wire.field(words, "cwd", str)
        self._cwd = None if cwd is None else wire.to_bytes(cwd, "cwd")
        self._env = environment(words)
        self._kept = kept
        self.pid = self.pidfd = None
        self.outcome = self.code = None
        self.pipes = {}
        self._wide = set()
        self.waiter = None
        self._heard = {"out": bytearray(), "err": bytearray()}
        self._cut = {"out": 0, "err": 0}

    def begin(self, waiter):
        """Start it, and have its pipes and its end waited for by an epoll."""
        self.waiter = waiter
        theirs, to_close = [], []
        try:
            for name in ("in", "out", "err"):
                if name == "in" and self._input is None:
                    theirs.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
                    to_close.append(theirs[-1])
                    continue
                read, write = os.pipe()
                mine, other = (write, read) if name == "in" else (read, write)
                theirs.append(other)
                to_close.append(other)
                os.set_blocking(mine, False)
                self.pipes[mine] = name
                waiter.register(mine, select.EPOLLOUT if name == "in" else select.EPOLLIN)
            self.pid = os.fork()
            if self.pid == 0:
                try:
                    self._become(theirs)
                finally:
                    os._exit(127)
        finally:
            for fd in to_close:
                os.close(fd)
        try:
            self.pidfd = libc.pidfd_open(self.pid)
        except OSError:
            pass
        if self.pidfd is not None:
            waiter.register(self.pidfd, select.EPOLLIN)

    def _become(self, descriptors):
        import fcntl

        from . import UMASK

        os.setsid()
        job.reset_signals()
        # Out of the way of the places they go to.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in descriptors]
        for place, fd in enumerate(high):
            os.dup2(fd, place)
        job.close_descriptors(())
        if UMASK is not None:
            os.umask(UMASK)
        program = wire.to_text(self.argv[0])
        words = "no such program"
        code = 127
        try:
            if self._cwd is not None:
                os.chdir(self._cwd)
            for path in job.candidates(self.argv[0], self._env.get(b"PATH", os.defpath.encode())):
                try:
                    os.execve(path, self.argv, self._env)  # noqa: S606
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except PermissionError as error:
                    words = error.strerror
        except OSError as error:
            words = error.strerror
        os.write(2, ("%s: %s\n" % (program, words)).encode("utf-8", "replace"))
        os._exit(code)

    def move(self, fd):
        """Read or write what a pipe has or takes. Closes it at its end."""
        name = self.pipes.get(fd)
        try:
            if name == "in":
                self._input = self._input[os.write(fd, self._input[:PIECE]) :]
                if not len(self._input):
                    self._close(fd)
            elif name is not None:
                data = os.read(fd, ROOM if fd in self._wide else PIECE)
                if not data:
                    self._close(fd)
                self._keep(name, data)
                if len(self._heard[name]) > PIECE and fd in self.pipes:
                    self._widen(fd)
                return bool(data)
        except BlockingIOError:
            pass
        except OSError:
            self._close(fd)  # it does not read (any more) what we have for it
        return False

    def _widen(self, fd):
        """Give a pipe more room, if it has not been tried. Not all have it from the start: what one
        user may have of it is little."""
        import fcntl

        if fd in self._wide:
            return
        try:
            fcntl.fcntl(fd, F_SETPIPE_SZ, ROOM)
            self._wide.add(fd)
        except OSError:
            pass

    def prints_much(self):
        """Whether it is worth while to let it print for a moment."""
        return bool(self._wide.intersection(self.pipes))

    def _keep(self, name, data):
        heard = self._heard[name]
        room = max(0, self._kept - len(heard))
        heard += data[:room]
        self._cut[name] += max(0, len(data) - room)

    def _close(self, fd):
        del self.pipes[fd]
        # Not by closing alone: somebody that is being forked may have it too for a moment.
        self.waiter.unregister(fd)
        os.close(fd)

    def is_over(self):
        """Whether it has ended; then what it had printed is taken. What it left running in the
        background, with our pipes open, is not waited for."""
        if self.outcome is not None:
            return True
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return False
        if os.WIFSIGNALED(status):
            self.outcome, self.code = "signalled", os.WTERMSIG(status)
        else:
            self.outcome, self.code = "exited", os.WEXITSTATUS(status)
        self._finish()
        return True

    def _finish(self):
        for fd, name in list(self.pipes.items()):
            if name != "in":
                until = time.monotonic() + LOOK
                while self.move(fd) and time.monotonic() < until:
                    pass
        self.close()

    def close(self):
        """Let go of the pipes."""
        for fd in list(self.pipes):
            self._close(fd)
        if self.pidfd is not None:
            self.waiter.unregister(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = None

    def kill(self, outcome):
        """End it and what it started in its session, without waiting for that."""
        if self.pid is None:
            self.close()
        if self.pid is None or self.outcome is not None:
            return
        # By its own pid as well: it may not have come to make a session of its own.
        for kill in (os.killpg, os.kill):
            try:
                kill(self.pid, procs.SIGKILL)
            except OSError:
                pass
        self.outcome = outcome
        self._finish()
        _unreaped.append(self.pid)

    def words(self):
        """What the answer says of it: of its outputs how long they are."""
        said = {"outcome": self.outcome, "code": self.code}
        for name in ("out", "err"):
            said[name] = len(self._heard[name])
            said[name + "_cut"] = self._cut[name]
        return said

    def heard(self):
        """What it printed: stdout, then stderr."""
        return bytes(self._heard["out"] + self._heard["err"])


def _encoded(text):
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Refused("The stdin of a command is not valid text.") from None


def environment(words):
    """The environment of a command: ours, without the variables whose name begins with one of
    `drop`, or of it only those that `keep` names, with those of `env`; the folders `paths` come
    last on its PATH."""
    env = {wire.to_bytes(k): wire.to_bytes(v) for k, v in start.own_environ().items()}
    for prefix in wire.field(words, "drop", list, []):
        begin = wire.to_bytes(prefix, "The beginning of a variable's name")
        env = {name: value for name, value in env.items() if not name.startswith(begin)}
    kept = wire.field(words, "keep", list)
    if kept is not None:
        names = {wire.to_bytes(name, "A variable's name") for name in kept}
        env = {name: value for name, value in env.items() if name in names}
    more = wire.field(words, "env", dict, {})
    start.check_variables(more)
    env.update((wire.to_bytes(name), wire.to_bytes(value)) for name, value in more.items())
    paths = [wire.to_bytes(path, "A folder") for path in wire.field(words, "paths", list, [])]
    if paths:
        there = [path for path in env.get(b"PATH", b"").split(b":") if path]
        env[b"PATH"] = b":".join(there + [path for path in paths if path not in there])
    return env


def run(request, body):
    """The verb. A generator of (descriptor, seconds) to wait for."""
    commands = wire.field(request, "commands", list, required=True)
    if not commands or len(commands) > MAX_COMMANDS:
        raise Refused(
            "%d commands are asked for; it can be 1 to %d." % (len(commands), MAX_COMMANDS)
        )
    if not all(isinstance(words, dict) for words in commands):
        raise Refused("A command must be an object.")
    seconds = wire.field(request, "timeout", float, SECONDS)
    if not 0 < seconds <= MAX_SECONDS:
        raise Refused("A timeout of %g s is not between 0 and %g." % (seconds, MAX_SECONDS))
    kept = KEPT // (2 * len(commands))
    programs = [Program(words, kept) for words in commands]
    return _run(programs, seconds)


def outputs(answer, body):
    """(what is said of it, its stdout, its stderr) of each command of an answer."""
    found = []
    for done in answer["done"]:
        out, rest = body[: done["out"]], body[done["out"] :]
        found.append((done, out, rest[: done["err"]]))
        body = rest[done["err"] :]
    return found


def _run(programs, seconds):
    _reap()
    until = time.monotonic() + seconds
    waiter = select.epoll()
    try:
        for program in programs:
            program.begin(waiter)
        while True:
            left = [program for program in programs if not program.is_over()]
            now = time.monotonic()
            if not left:
                break
            if now >= until:
                for program in left:
                    program.kill("timeout")
                break
            blind = any(program.pidfd is None for program in left)
            yield waiter.fileno(), min(until - now, LOOK if blind else until - now)
            ready = {fd for fd, _ in waiter.poll(0)}
            for program in left:
                for fd in ready.intersection(program.pipes):
                    program.move(fd)
            if any(program.prints_much() for program in left):
                yield None, REST
        gone = time.monotonic() + REAPED_WITHIN
        while _reap() and time.monotonic() < gone:
            yield None, 0.005
        done = [program.words() for program in programs]
        return {"done": done}, b"".join([program.heard() for program in programs])
    finally:
        for program in programs:
            program.kill("timeout")
        waiter.close()
        for _ in range(50):  # a request that was closed: it has nobody who would wait longer
            if not _reap():
                break
            time.sleep(0.001)


def _reap():
    """Collect those that were killed. True while some are left."""
    for pid in list(_unreaped):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                _unreaped.remove(pid)
        except ChildProcessError:
            _unreaped.remove(pid)
    return bool(_unreaped)
