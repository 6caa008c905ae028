"""Bringing a run into being: the run directory, then a supervisor that claims the attempt.

Any number of callers may ask for the same (run id, attempt), at once or after a crash: the
directory is built aside and renamed, the claim is exclusive, and everybody gets the same answer.
"""

import os
import time

from . import Refused, evidence, exit_slot, layout, locking, records, wire

REPORT_WITHIN = 60.0
UNKNOWN_FOR = 10.0
NEWS_WITHIN = 0.5
MAX_AFTER = 1000
MIN_FREE = 1 << 20
DAY = 86400.0
RESERVED = (b"run.json", b"removed.json", b"secrets.json", b"attempts")
SUPERVISOR_KEEPS = (b"PATH", b"HOME", b"LANG", b"LC_ALL", b"TZ", b"TMPDIR", b"LD_LIBRARY_PATH")
"""What a supervisor keeps of its caller's environment: what its interpreter may need to live. The
rest is the job's and goes through the pipe, because /proc shows an environment."""


def start(request, body):
    """The verb. A generator of (descriptor, seconds) to wait for."""
    run = layout.check_id(request.get("run_id"))
    attempt = layout.check_attempt(request.get("attempt", 0))
    record = wire.field(request, "run", dict)
    check_record(record)
    orders = _orders(request)
    made = False
    if layout.is_removed(run):
        raise Refused("Run %s was removed." % run)
    if not layout.is_claimed(run, attempt):
        made = yield from make_ready(run, attempt, request, body, record, orders["secrets"])
    elif attempt == 0:
        same_plan(run, record)
    created, pid = yield from supervise(run, attempt, orders, made)
    yield from _await_news(run, attempt)
    return answer(run, attempt, created, pid)


def answer(run, attempt, created, pid):
    """What `start` and `adopt` say: with the run's evidence, which whoever asked would ask for
    next."""
    facts = evidence.of_run(run, evidence.Look())
    return {"run_id": run, "attempt": attempt, "created": created, "pid": pid, "evidence": facts}


def make_ready(run, attempt, request, body, record, secrets, before_is_over=False):
    """Have a run directory in which the attempt may be claimed. True if this call made it. A
    generator.

    Args:
        before_is_over: Whoever asks knows that the attempt before is over: a scheduler says so.
    """
    directory = layout.run_dir(run)
    if not os.path.lexists(directory + "/run.json"):
        if attempt:
            raise Refused("There is no run %s any more: it was removed." % run)
        if record is None:
            raise Refused("There is no run %s, and the request lacks run.json." % run)
        _check_after(run, wire.few(record["spec"].get("after")))
        check_secrets(wire.field(record, "secrets", list, []), secrets)
        return (yield from build(run, record, wire.field(request, "files", list, []), body))
    if attempt == 0:
        same_plan(run, record)
    else:
        _in_order(run, attempt, before_is_over)
    check_secrets(secret_names(run), secrets)
    return False


def secret_names(run):
    """The names of the secrets of a run that is there."""
    there = records.read_object(layout.run_dir(run) + "/run.json", records.MAX_RUN) or {}
    return wire.field(there, "secrets", list, [])


def _check_after(run, after):
    """The runs that are waited for must be there already: then no circle can form."""
    if len(after) > MAX_AFTER:
        raise Refused("%d runs are to be waited for; it can be %d." % (len(after), MAX_AFTER))
    for other in after:
        if layout.check_id(other) == run:
            raise Refused("Run %s cannot wait for itself." % run)
        if not os.path.isdir(layout.run_dir(other)):
            raise Refused("Run %s, which is to be waited for, is not here." % other)


def check_secrets(names, secrets):
    """Refuse, by its name, a secret without a value."""
    for name in names:
        if name not in secrets:
            raise Refused("The secret %.100s has no value." % name)


def _orders(request):
    """What goes to the supervisor through the pipe."""
    environ = wire.field(request, "environ", dict)
    secrets = wire.field(request, "secrets", dict, {})
    if environ is None:
        environ = own_environ()
    check_variables(environ)
    check_variables(secrets)
    umask = os.umask(0o077)
    os.umask(umask)
    from . import UMASK

    return {
        "environ": environ,
        "secrets": secrets,
        "umask": UMASK if UMASK is not None else umask,
    }


def check_variables(variables):
    """Refuse what cannot stand in an environment."""
    for name, value in variables.items():
        if not name or "=" in name:
            raise Refused("%.40r is not the name of a variable." % name)
        wire.to_bytes(name, "A variable's name")
        wire.to_bytes(value, "The variable %s" % name)


def own_environ():
    """The environment this process was given, without what its interpreter added (a coerced
    LC_CTYPE)."""
    from . import procs

    found = {}
    for entry in procs.environ_of(os.getpid()).split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if name and equals:
            found[wire.to_text(name)] = wire.to_text(value)
    return found


def same_plan(run, record):
    """Refuse another plan under an id that is taken."""
    there = records.read_object(layout.run_dir(run) + "/run.json", records.MAX_RUN)
    if there is None:
        raise Refused("The run %s has no readable run.json." % run)
    if record is not None and there.get("plan_digest") != record.get("plan_digest"):
        raise Refused("The run id %s is taken by another plan." % run)


def _in_order(run, attempt, before_is_over):
    """Refuse an attempt that is not the next one, or while the one before still goes on."""
    if layout.is_gutted(run):
        raise Refused(
            "The attempts of run %s were deleted, so it cannot go on with another: start a new run "
            "like it." % run
        )
    claimed = layout.attempts(run)
    if attempt in claimed:
        return  # somebody was faster, just now
    following = claimed[-1] + 1 if claimed else 0
    if attempt != following:
        raise Refused("The next attempt of run %s is %d, not %d." % (run, following, attempt))
    if not claimed or before_is_over:
        return
    if not evidence.is_over(evidence.of_attempt(run, claimed[-1], evidence.Look())):
        raise Refused("Attempt %d of run %s is not over." % (claimed[-1], run))


def check_record(record):
    """Refuse a run.json that no supervisor could work with."""
    spec = record.get("spec") if record is not None else {}
    if not isinstance(spec, dict):
        raise Refused("run.json has no spec.")
    if record is not None:
        argv = wire.field(spec, "argv", list, [])
        if not argv or not argv[0]:
            raise Refused("The run has no command.")
        for word in argv:
            wire.to_bytes(word, "A word of the command")
    for name in ("on_exit", "on_stall"):
        if not all(isinstance(word, str) for word in wire.field(spec, name, list, [])):
            raise Refused("%s must be a list of words." % name)
    for name in ("cwd", "name"):
        wire.field(spec, name, str)
    if not wire.field(spec, "cwd", str, "/").startswith("/"):
        raise Refused("cwd must be an absolute path.")
    check_variables(wire.field(spec, "env", dict, {}))
    limits = wire.field(spec, "limits", dict, {})
    for name in ("time", "grace"):
        wire.field(limits, name, float)
    wire.field(limits, "retries", int)


def build(run, record, files, body):
    """Make the run directory, whole or not at all. True if this call made it. A generator that
    gives way while it lays out a tree."""
    from . import blobs, laying

    trees = [wire.field(entry, "tree", str) for entry in files if "tree" in entry]
    for tree in trees:
        blobs.use(tree)
    if record is None or record.get("id") != run:
        raise Refused("run.json is not of run %s." % run)
    aside = "%s/.new-%s-%s" % (layout.runs(), run, os.urandom(6).hex())
    layout.check_link()
    try:
        os.makedirs(layout.runs(), 0o700, exist_ok=True)
        space = os.statvfs(layout.runs())
        if space.f_bavail * space.f_frsize < MIN_FREE + len(body) + sum(map(blobs.size_of, trees)):
            raise Refused("There is no space left in %s." % layout.runs())
        _sweep()
        os.mkdir(aside, 0o700)
    except OSError as error:
        raise Refused(
            "No run can be put into %s: %s. Make it a folder that you can write to."
            % (layout.runs(), error.strerror)
        ) from None
    try:
        at = 0
        for entry in files:
            name = wire.field(entry, "path", str, required=True)
            folder = name.endswith("/")
            path = relative_path(name[:-1] if folder else name)
            if path[0] in RESERVED:
                raise Refused("A plan may not bring %s." % name)
            full = os.path.join(os.fsencode(aside), *path)
            if "tree" in entry:
                yield from laying.lay_out(entry["tree"], full)
                continue
            size = wire.field(entry, "size", int, required=True)
            if size < 0 or at + size > len(body):
                raise Refused("The files are longer than the bytes that came with them.")
            if folder:
                if size:
                    raise Refused("%s is a folder and cannot have bytes." % name)
                os.makedirs(full, 0o700, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(full), 0o700, exist_ok=True)
            mode = wire.field(entry, "mode", int, 0o600) & 0o700 | 0o600
            fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            try:
                wire.write_all(fd, memoryview(body)[at : at + size])
            finally:
                os.close(fd)
            at += size
        fd = os.open(aside + "/run.json", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            wire.write_all(fd, wire.dumps(record).encode("ascii") + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        os.mkdir(aside + "/attempts", 0o700)
        records.sync_dir(aside)
        try:
            os.rename(aside, layout.run_dir(run))
        except OSError:
            # Somebody was faster; a directory that is not empty is never replaced.
            if not os.path.lexists(layout.run_dir(run) + "/run.json"):
                raise
            remove_tree(aside)
            same_plan(run, record)
            return False
    except OSError as error:
        remove_tree(aside)
        raise Refused("%s cannot be written: %s." % (layout.runs(), error.strerror)) from None
    except BaseException:  # also that nobody waits for it any more
        remove_tree(aside)
        raise
    records.sync_dir(layout.runs())
    if trees:
        from . import sweep

        sweep.if_due()
    return True


def _sweep():
    """Remove, once a day, what callers that were killed left behind a day ago or longer."""
    stamp = layout.runs() + "/.swept"
    now = time.time()
    try:
        if 0 <= now - os.stat(stamp).st_mtime < DAY:
            return
    except FileNotFoundError:
        pass
    os.close(os.open(stamp, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    os.utime(stamp)
    for name in os.listdir(layout.runs()):
        path = "%s/%s" % (layout.runs(), name)
        try:
            if name.startswith(".new-") and now - os.lstat(path).st_mtime > DAY:
                remove_tree(path)
        except OSError:
            pass  # just renamed by the start it belongs to; or it stays, which keeps no run away


def relative_path(value):
    """The parts of a relative path that stays where it is, as bytes."""
    parts = wire.to_bytes(value, "a path").split(b"/")
    if any(part in (b"", b".", b"..") for part in parts):
        raise Refused("%.200r is not a plain relative path." % (value,))
    return parts


def remove_tree(path):
    """Delete a directory that nobody else uses; links in it are removed, not followed."""
    for folder, folders, files in os.walk(path, topdown=False):
        for name in files:
            os.unlink(os.path.join(folder, name))
        for name in folders:
            full = os.path.join(folder, name)
            if os.path.islink(full):
                os.unlink(full)
            else:
                os.rmdir(full)
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass


def supervise(run, attempt, orders, made):
    """Have the attempt claimed. A generator that returns (created by us, pid of the supervisor or
    None if it was killed before it could say)."""
    data = wire.dumps(orders).encode("ascii")
    until = time.monotonic() + REPORT_WITHIN
    while not layout.is_claimed(run, attempt):
        if time.monotonic() > until:
            raise Refused("Attempt %d of run %s could not be claimed." % (attempt, run))
        report = yield from _spawn_and_tell(["supervise", run, str(attempt)], data)
        if report is None:
            if not layout.is_claimed(run, attempt):
                if made:
                    unmake(run)
                raise Refused("The supervisor of run %s did not start." % run)
        elif "error" in report:
            if made:
                unmake(run)
            raise Refused(report["error"])
        elif "pid" in report:
            return True, report["pid"]
        else:
            # Another supervisor has the lock: it claims, or is killed before it could.
            look = evidence.Look()
            if not layout.is_claimed(run, attempt) and look.lock_is_held(run, attempt, None):
                yield None, 0.02
    pid = yield from _await_agent(run, attempt)
    return False, pid


def unmake(run):
    """Take back a run directory in which nothing was claimed: there is no such run. Under the lock
    that a claim needs, so that none is made meanwhile."""
    try:
        layout.locks()
        lock = locking.take(layout.lock_path(run, 0))
    except (OSError, Refused):
        return  # why it was not started is what is to be said
    if lock is None:
        return
    aside = "%s/.new-%s-%s" % (layout.runs(), run, os.urandom(6).hex())
    try:
        if not layout.attempts(run):
            os.rename(layout.run_dir(run), aside)
            remove_tree(aside)
    except OSError:
        pass
    finally:
        os.close(lock)


def _await_agent(run, attempt):
    """Wait until the supervisor of a claimed attempt has written agent.json. Returns its pid, or
    None if it will not come: nothing of the attempt lives, or that cannot be known for too
    long."""
    directory = layout.attempt_dir(run, attempt)
    until = time.monotonic() + UNKNOWN_FOR
    misses = 0
    while time.monotonic() < until and layout.is_claimed(run, attempt):
        agent = records.try_read(directory + "/agent.json")
        if agent.get("run") == run:
            return agent.get("pid")
        facts = evidence.of_attempt(run, attempt, evidence.Look())
        if facts["same_host"] and facts["alive"]:
            until = time.monotonic() + UNKNOWN_FOR
        # A claim that is being written says nothing yet; give it the time for that.
        misses = misses + 1 if facts["same_host"] and facts["alive"] is False else 0
        if misses > 5:
            break
        yield None, 0.02
    if not layout.is_claimed(run, attempt):
        raise Refused("The supervisor of run %s could not start it." % run)
    return None


def _await_news(run, attempt):
    """Wait for the first news of the job: it runs, it waits, or it is over. That a program cannot
    be executed is known milliseconds after the claim, and whoever asked for it should hear it. Not
    for long: a directory on a file server may take its time to enter."""
    directory = layout.attempt_dir(run, attempt)
    until = time.monotonic() + NEWS_WITHIN
    while time.monotonic() < until:
        try:
            events = records.read_bytes(directory + "/events.jsonl", 1 << 16) or b""
            if b'"started"' in events or b'"waiting"' in events or b'"adopted"' in events:
                return
            if exit_slot.read(directory, run, attempt) is not None:
                return
        except OSError:
            return
        yield None, 0.002


def _spawn_and_tell(words, data):
    """Start this program anew, detached, with `data` on a pipe; returns the object it reports, or
    None if it ended without one."""
    send, report = spawn(words)
    try:
        os.set_blocking(send, False)
        view = memoryview(data)
        try:
            while len(view):
                try:
                    view = view[os.write(send, view) :]
                except BlockingIOError:
                    yield None, 0.002
        except BrokenPipeError:
            pass
        os.close(send)
        send = None
        os.set_blocking(report, False)
        heard = b""
        until = time.monotonic() + REPORT_WITHIN
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise Refused("The supervisor did not report within %d s." % REPORT_WITHIN)
            yield report, left
            try:
                more = os.read(report, 1 << 16)
            except BlockingIOError:
                continue
            if not more:
                return wire.parse_object(heard)
            heard += more
    finally:
        os.close(report)
        if send is not None:
            os.close(send)


def spawn(words):
    """Run this program with `words`, detached from everything: twice forked, a session of its own,
    a small environment, no descriptor but two pipes. Returns (to write its request, to read its
    report)."""
    import sys

    request_read, request_write = os.pipe()
    report_read, report_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _become(sys.executable, words, request_read, report_write)
        finally:
            os._exit(0)
    os.close(request_read)
    os.close(report_write)
    os.waitpid(pid, 0)
    return request_write, report_read


def _become(python, words, request_fd, report_fd):
    import fcntl

    from . import job

    # Out of the way of the places they go to.
    request_fd = fcntl.fcntl(request_fd, fcntl.F_DUPFD, 10)
    report_fd = fcntl.fcntl(report_fd, fcntl.F_DUPFD, 10)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.dup2(request_fd, 3)
    os.dup2(report_fd, 4)
    job.close_descriptors({3, 4})
    job.reset_signals()
    os.umask(0o077)
    os.chdir("/")
    env = {k: v for k, v in os.environb.items() if k in SUPERVISOR_KEEPS}
    env[b"TRAINDECK_SUPERVISOR"] = words[1].encode()
    argv = [python, "-I", "-S", layout.agent_file(), *words]
    os.execve(python, argv, env)  # noqa: S606
