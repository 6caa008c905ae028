"""The way into an allocation: `enter WORD` on the host becomes the launcher (srun), which starts us
again on the node; and what is said there, in the output of a program, of its begin and its end.

A launcher says of an end what it likes, where it likes: before the last that the program wrote,
even. So it is never told of one: it is said in the program's own stdout, in order, between marks
that whoever asked for the program has chosen and takes out again.
"""

import os

from . import Refused, job, session, wire


def enter(word):
    """The program `enter WORD`: becomes the launcher, with nothing of this environment but what it
    is to keep, and has it start us again. Returns the exit code if there is none."""
    from . import programs

    try:
        through = wire.field(session.read_word(word), "through", dict, required=True)
        env = programs.environment(through)
        begun = wire.field(through, "program", list) or ["session", word]
        words = wire.field(through, "argv", list, required=True) + session.agent_words() + begun
        argv = [wire.to_bytes(part, "argv") for part in words]
        return session.execute(argv, env, b"/", argv[0])
    except Refused as refused:
        wire.write_all(2, ("%s\n" % refused).encode("utf-8", "surrogateescape"))
        return 1


def watched(begin, through):
    """Have a child become a program, and say when it begins and how it ends. Returns the exit code,
    which is 0 whatever the program's was.

    With `piped` its stdout is a pipe, whose bytes are passed on: srun passes on at once only what
    it reads from a terminal, and many a program writes to one what it would not write to a pipe.
    """
    marker = wire.field(through, "marker", str, required=True)
    piped = wire.field(through, "piped", bool, False)
    read, write = os.pipe() if piped else (None, None)
    _stand_aside()
    _say(marker, "begun 0")
    child = os.fork()
    if child == 0:
        try:
            if piped:
                os.dup2(write, 1)
            job.close_descriptors(())
            os._exit(begin())
        finally:
            os._exit(126)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)  # the input is the program's alone
    if piped:
        os.close(write)
        _pass_on(read)
        os.close(read)
    _, status = os.waitpid(child, 0)
    ended, signalled = os.WIFEXITED(status), os.WIFSIGNALED(status)
    code = os.WEXITSTATUS(status) if ended else os.WTERMSIG(status)
    _say(marker, "%s %d" % ("signalled" if signalled else "exited", code))
    return 0


def _say(marker, words):
    # A string that terminals take for a message to somebody else, and do not show.
    try:
        wire.write_all(1, ("\x1b_%s %s\x1b\\" % (marker, words)).encode("ascii", "replace"))
    except OSError:
        pass  # nobody listens


def _stand_aside():
    """Let keys be the program's: they would end us too."""
    import _signal

    for number in (_signal.SIGINT, _signal.SIGQUIT, _signal.SIGTSTP, _signal.SIGTTOU):
        _signal.signal(number, _signal.SIG_IGN)


def _pass_on(read):
    import termios

    try:
        modes = termios.tcgetattr(1)
        modes[1] &= ~termios.OPOST
        termios.tcsetattr(1, termios.TCSANOW, modes)
    except termios.error:
        pass  # no terminal
    try:
        while True:
            data = os.read(read, 1 << 16)
            if not data:
                return
            wire.write_all(1, data)
    except OSError:
        pass  # nobody listens any more: the program learns it by its next word
