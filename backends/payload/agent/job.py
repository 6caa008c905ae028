"""Starting the leader of an attempt: its environment, its descriptors, and why it did not start."""

import errno
import os

from . import layout, wire

OURS = (
    b"TRAINDECK_RUN",
    b"TRAINDECK_RUN_DIR",
    b"TRAINDECK_METRICS",
    b"TRAINDECK_ARTIFACTS",
    b"TRAINDECK_RESUME_FROM",
    b"TRAINDECK_RANK",
    b"TRAINDECK_SUPERVISOR",
)


class NotStarted(Exception):
    """The program could not be executed: `code` as a shell would give it, and one sentence."""

    def __init__(self, code, reason):
        super().__init__(reason)
        self.code = code
        self.reason = reason


def environment(inherited, spec, secrets, run, attempt):
    """The job's environment: what was inherited, the plan's values, secrets, and our names.

    Args:
        inherited: {bytes: bytes} of the caller; those of an outer run are dropped.
        spec: run.json's spec.
        secrets: {name: value}, strings.
    """
    env = {k: v for k, v in inherited.items() if k not in OURS}
    env.setdefault(b"PYTHONUNBUFFERED", b"1")
    for source in (spec.get("env") or {}, secrets):
        for name, value in source.items():
            env[wire.to_bytes(name, "a variable's name")] = wire.to_bytes(value, name)
    directory = layout.run_dir(run)
    attempt_dir = layout.attempt_dir(run, attempt)
    env[b"TRAINDECK_RUN"] = ("%s/%d" % (run, attempt)).encode()
    env[b"TRAINDECK_RUN_DIR"] = os.fsencode(directory)
    env[b"TRAINDECK_METRICS"] = os.fsencode(attempt_dir + "/metrics.jsonl")
    env[b"TRAINDECK_ARTIFACTS"] = os.fsencode(directory + "/artifacts")
    if attempt:
        from . import resume

        checkpoint = resume.newest(run, attempt)
        if checkpoint is not None:
            env[b"TRAINDECK_RESUME_FROM"] = os.fsencode(checkpoint)
    cwd = spec.get("cwd")
    if cwd:
        env[b"PWD"] = wire.to_bytes(cwd, "cwd")
    return env


def candidates(program, path):
    """The files that `program` may be, in order, as execvp would try them. All bytes."""
    if b"/" in program:
        return [program]
    return [os.path.join(folder or b".", program) for folder in path.split(b":")]


def resolve(program, path, cwd):
    """The file that would be executed, absolute, or None. All bytes."""
    for name in candidates(program, path):
        full = os.path.normpath(os.path.join(cwd, name))
        if os.path.isfile(full) and os.access(full, os.X_OK):
            return full
    return None


def misread(program):
    """What to do about a missing program that is a shell's way to write something else, or ""."""
    name, sign, _ = program.partition(b"=")
    if sign and name.replace(b"_", b"a").isalnum() and not name[:1].isdigit():
        return "a variable is set with --env %s=..." % wire.to_text(name)
    if len(program.split()) > 1:
        return "it is one word: leave out the quotes if it should be several"
    return ""


def close_descriptors(keep):
    """Close everything above 2 but `keep`, in a child before its exec."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError:
                pass


def reset_signals():
    """Default dispositions and an empty mask, as a program from a shell has them. Python ignores
    SIGPIPE and SIGXFSZ, and an ignored signal would stay ignored after the exec."""
    import _signal

    for number in range(1, _signal.NSIG):
        try:
            _signal.signal(number, _signal.SIG_DFL)
        except (OSError, ValueError):
            pass
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])


def fork_held(argv, env, cwd, log_fd, keep=(), umask=0o022, terminal=None):
    """Fork a process that waits for `release` before it becomes argv: so that it can be written
    down before it runs, and is never run if the one who would write is killed.

    Args:
        argv, env, cwd: All bytes.
        log_fd: Becomes stdout and stderr.
        keep: Descriptors it inherits besides.
        terminal: Slave side of a pty that becomes stdout, stderr and the controlling terminal.

    Returns:
        (pid, handle for `release`).
    """
    gate_read, gate_write = os.pipe()
    word_read, word_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(gate_write)
            _become(argv, env, cwd, log_fd, keep, umask, terminal, gate_read, word_write)
        finally:
            os._exit(127)
    os.close(gate_read)
    os.close(word_write)
    return pid, (gate_write, word_read)


def _become(argv, env, cwd, log_fd, keep, umask, terminal, gate_read, word_write):
    stage = "exec"
    try:
        os.setsid()
        reset_signals()
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        if terminal is not None:
            import fcntl
            import termios

            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        out = log_fd if terminal is None else terminal
        os.dup2(out, 1)
        os.dup2(out, 2)
        close_descriptors({gate_read, word_write, *keep})
        for fd in keep:
            os.set_inheritable(fd, True)
        if os.read(gate_read, 1) != b"!":
            os._exit(127)
        os.umask(umask)
        stage = "cwd"
        os.chdir(cwd)
        stage = "exec"
        error = FileNotFoundError(errno.ENOENT, "no such file")
        for path in candidates(argv[0], env.get(b"PATH", os.defpath.encode())):
            try:
                os.execve(path, argv, env)  # noqa: S606
            except (FileNotFoundError, NotADirectoryError):
                continue
            except PermissionError as refused:
                error = refused
                continue
        raise error
    except OSError as failed:
        os.write(word_write, ("%s %d" % (stage, failed.errno or 0)).encode())
    except ValueError:
        os.write(word_write, b"exec %d" % errno.EINVAL)


def release(handle, argv, cwd, wait):
    """Let a held process go on, and see whether it became its program. Raises NotStarted.

    Args:
        wait: Called with a descriptor to wait for, as often as there is nothing to read yet.
    """
    gate_write, word_read = handle
    try:
        try:
            os.write(gate_write, b"!")
        except BrokenPipeError:
            pass  # killed already; its status will say so
        os.close(gate_write)
        os.set_blocking(word_read, False)
        word = None
        while word is None:
            wait(word_read)
            try:
                word = os.read(word_read, 256)
            except BlockingIOError:
                pass
    finally:
        os.close(word_read)
    if not word:
        return
    stage, _, number = word.decode().partition(" ")
    code = int(number)
    program = wire.to_text(argv[0])
    if stage == "cwd":
        where = wire.to_text(cwd)
        raise NotStarted(126, "cannot enter the directory %s: %s" % (where, os.strerror(code)))
    if code in (errno.ENOENT, errno.ENOTDIR):
        if b"/" in argv[0] and os.path.exists(os.path.join(cwd, argv[0])):
            raise NotStarted(126, "%s: the interpreter on its #! line is missing" % program)
        advice = misread(argv[0])
        raise NotStarted(127, "%s: program not found%s" % (program, advice and " (%s)" % advice))
    if code == errno.ENOEXEC:
        raise NotStarted(126, "%s: not a program (a script needs a #! line)" % program)
    raise NotStarted(126, "%s: cannot be executed: %s" % (program, os.strerror(code)))


def drop(handle):
    """Let a held process end without becoming anything."""
    os.close(handle[0])
    os.close(handle[1])
