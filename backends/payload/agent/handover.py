"""Handing a prepared run to a scheduler, once, and keeping what it said of it.

The scheduler is whatever commands the request names: this knows no more of it than that a command
prints the number of the job it made, and that another prints the numbers of those there are.
"""

import os
import time

from . import (
    Refused,
    array,
    evidence,
    layout,
    locking,
    prepare,
    procs,
    programs,
    records,
    secrets,
    slurm,
    start,
    wire,
)

WAIT_FOR_OTHERS = 90.0
"""Seconds to wait for somebody else who is just submitting the same attempt."""


LOCAL = (
    b"ext2",
    b"ext3",
    b"ext4",
    b"xfs",
    b"btrfs",
    b"zfs",
    b"f2fs",
    b"tmpfs",
    b"overlay",
    b"ramfs",
)
"""File systems that only this machine writes to."""


def is_shared():
    """Whether the runs lie where other machines may write too: then what they wrote may not be
    seen at once."""
    from . import survey

    mounts = procs.read_proc("/proc/self/mountinfo") or b""
    real = os.path.realpath(os.fsencode(layout.runs()))
    return survey.file_system(real, mounts) not in LOCAL


def asked(request):
    """What the answer to a request says of its commands, and its body; nothing if it has none. A
    generator."""
    words = wire.field(request, "commands", list, [])
    if not words:
        return {}, b""
    seconds = wire.field(request, "timeout", float, programs.SECONDS)
    answer = yield from programs.run({"commands": words, "timeout": seconds}, b"")
    return answer


def _run(command):
    """(how one command ended, its stdout, its stderr), both as text."""
    answer, body = yield from programs.run({"commands": [command]}, b"")
    ((done, out, err),) = programs.outputs(answer, body)
    return done, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def enqueue(request, body):
    """The verb: have the run directory, then have the attempt submitted by the command `submit`,
    at most once whoever else asks for the same. With `array` those of many runs, as one job array:
    who submits the first task's submits them all. A generator."""
    run = layout.check_id(request.get("run_id"))
    attempt = layout.check_attempt(request.get("attempt", 0))
    record = wire.field(request, "run", dict)
    start.check_record(record)
    if layout.is_removed(run):
        raise Refused("Run %s was removed." % run)
    tasks = array.tasks(request)
    if tasks and attempt:
        raise Refused("Only the first attempts of runs can be an array.")
    if attempt == 0:
        if os.path.lexists(layout.run_dir(run) + "/run.json"):
            start.same_plan(run, record)
    if layout.is_claimed(run, attempt):
        return _answer(run, attempt, False, _read(run, attempt).get("id"))
    yield from _make_ready(run, attempt, request, body)
    path = _path(run, attempt)
    mine = _mine()
    until = time.monotonic() + WAIT_FOR_OTHERS
    while True:
        try:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            if records.make_once(path, mine):
                number = None
                break
        except FileNotFoundError:
            # Whoever else asked for it was refused by the scheduler and took the run back.
            if time.monotonic() > until or attempt:
                raise Refused("Run %s is not here any more." % run) from None
            yield from _make_ready(run, attempt, request, body)
            continue
        except OSError as error:
            raise Refused("%s cannot be written: %s." % (path, error.strerror)) from None
        there = _read(run, attempt)
        if there.get("id") is not None:
            return _answer(run, attempt, False, there["id"])
        if layout.is_claimed(run, attempt):
            return _answer(run, attempt, False, None)
        if not _is_at_it(there) or time.monotonic() > until:
            layout.locks()
            lock = locking.take(layout.lock_path(run, attempt, "handover"))
            if lock is not None:
                try:
                    answer = yield from _take_up(run, attempt, path, mine, request)
                finally:
                    os.close(lock)
                return answer
        yield None, 0.05
    answer = yield from _submit(run, attempt, path, mine, request, number)
    return answer


def reserve(request, body):
    """The verb: what `enqueue` does up to the submission, for whoever submits it by other means
    than a command of this host. `turn` of the answer says what is to be done now: `submit` it,
    `look` whether it was submitted before it is, or nothing. A generator."""
    run = layout.check_id(request.get("run_id"))
    attempt = layout.check_attempt(request.get("attempt", 0))
    record = wire.field(request, "run", dict)
    start.check_record(record)
    if layout.is_removed(run):
        raise Refused("Run %s was removed." % run)
    if attempt == 0 and os.path.lexists(layout.run_dir(run) + "/run.json"):
        start.same_plan(run, record)
    if layout.is_claimed(run, attempt):
        return _answer(run, attempt, False, _read(run, attempt).get("id"))
    yield from _make_ready(run, attempt, request, body)
    path = _path(run, attempt)
    until = time.monotonic() + WAIT_FOR_OTHERS
    while True:
        turn = _turn(run, attempt, path)
        there = _read(run, attempt)
        if turn is not None:
            return dict(_answer(run, attempt, True, None), turn=turn)
        if there.get("id") is not None or layout.is_claimed(run, attempt):
            return _answer(run, attempt, False, there.get("id"))
        if time.monotonic() > until:
            raise Refused("Somebody else has been submitting run %s for a while." % run)
        yield None, 0.05


def _turn(run, attempt, path):
    """Take the submission, if nobody has it: `submit`, or `look` if somebody had it who is gone.
    None if it is somebody's."""
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        if records.make_once(path, _mine()):
            return "submit"
        there = _read(run, attempt)
        if there.get("id") is not None or _is_at_it(there):
            return None
        layout.locks()
        lock = locking.take(layout.lock_path(run, attempt, "handover"))
        if lock is None:
            return None
        try:
            there = _read(run, attempt)
            if there.get("id") is not None or _is_at_it(there):
                return None
            records.replace(path, _mine())
            return "look"
        finally:
            os.close(lock)
    except FileNotFoundError:
        raise Refused("Run %s is not here any more." % run) from None
    except OSError as error:
        raise Refused("%s cannot be written: %s." % (path, error.strerror)) from None


def handed(request, body):
    """The verb: what became of a submission that `reserve` gave. `outcome` is `handed`, with the
    number of the `job`; `refused`, and the run is as if it had never been asked for; or `unknown`:
    whoever submits it next looks first."""
    run = layout.check_id(request.get("run_id"))
    attempt = layout.check_attempt(request.get("attempt", 0))
    outcome = wire.field(request, "outcome", str, required=True)
    number = wire.field(request, "job", str)
    path = _path(run, attempt)
    if outcome == "handed":
        if number is None or _number(number) != number:
            raise Refused("%.40r is no number of a job." % (number,))
        try:
            records.replace(path, dict(_mine(), id=number))
        except OSError:
            pass  # a full disk: its name finds it
        return _answer(run, attempt, True, number)
    there = _read(run, attempt)
    if there.get("id") is None and there.get("pid") == os.getpid():
        if outcome == "refused":
            _take_back(run, attempt, path)
        else:
            try:
                records.replace(path, dict(there, pid=None, time=0))
            except OSError:
                pass  # then we are waited for as long as we live
    return {"run_id": run, "attempt": attempt, "job": None}


def _make_ready(run, attempt, request, body):
    """Have the run directory, and in it what a batch step needs."""
    if attempt:
        yield from _in_order(run, attempt, request)
        names = start.secret_names(run)
        values = wire.field(request, "secrets", dict, {})
        start.check_variables(values)
        start.check_secrets(names, values)
        if names:
            secrets.keep(run, {name: values[name] for name in names})
        return
    yield from prepare.prepare(request, body)
    for mine, data in array.others(request, body):
        yield from prepare.prepare(mine, data)
        yield None, 0.0


def _mine():
    """Who submits, so that whoever finds a submission without a number knows whether to wait."""
    pid = os.getpid()
    return {
        "time": time.time(),
        "host": procs.hostname(),
        "boot_id": procs.boot_id(),
        "pidns": procs.pid_namespace(),
        "pid": pid,
        "starttime": procs.starttime_of(pid),
        "id": None,
    }


def _path(run, attempt):
    return layout.attempt_dir(run, attempt) + "/queued.json"


def _read(run, attempt):
    return records.try_read(_path(run, attempt))


def _is_at_it(there):
    """Whether whoever began a submission is still at it, as far as can be told."""
    if evidence.Look().is_here(there):
        return procs.is_running(there.get("pid"), there.get("starttime"))
    begun = records.number(there.get("time"))
    return begun is not None and 0 <= time.time() - begun < WAIT_FOR_OTHERS


def _take_up(run, attempt, path, mine, request):
    """Go on with a submission whose author is gone: it may have got through."""
    there = _read(run, attempt)
    if there.get("id") is not None:
        return _answer(run, attempt, False, there["id"])
    records.replace(path, mine)
    answered, number = yield from _looked(request)
    if not answered:
        raise Refused("Whether run %s was submitted cannot be told now: try again." % run)
    answer = yield from _submit(run, attempt, path, mine, request, number)
    return answer


def _looked(request):
    """(whether the scheduler answered, the number of the job that is there or None)."""
    look = wire.field(request, "look", dict, required=True)
    done, out, _ = yield from _run(look)
    if done["outcome"] != "exited" or done["code"] != 0:
        return False, None
    numbers = [word for word in out.split() if word.isdigit()]
    return True, min(numbers, key=int) if numbers else None


def _submit(run, attempt, path, mine, request, number):
    """Submit it, unless it has a number already."""
    said = {}
    created = False
    others = array.tasks(request)[1:]
    if number is None:
        for other, _ in others:
            # Before it is sent: whoever looks at one of them alone knows that it may have been.
            records.make_once(_made(other), mine)
        command = wire.field(request, "submit", dict, required=True)
        done, out, err = yield from _run(command)
        number = _number(out)
        if done["outcome"] != "exited" or done["code"] != 0 or number is None:
            said = {"outcome": done["outcome"], "code": done["code"]}
            said.update(said_out=out, said=err)
            # It may have got through, and only the answer was lost.
            answered, number = yield from _looked(request)
            if number is None:
                if answered:
                    for other, _ in others:
                        _take_back(other, 0, _path(other, 0))
                    _take_back(run, attempt, path)
                return dict(said, run_id=run, attempt=attempt, job=None, known=answered)
        created = True
    try:
        # The first one last: where it has a number, all have.
        for other, index in others:
            records.replace(_made(other), dict(mine, id="%s_%d" % (number, index)))
        number = array.name(request, number)
        records.replace(path, dict(mine, id=number))
    except OSError:
        pass  # a full disk: its name finds it
    return _answer(run, attempt, created, number)


def _made(run):
    """The path of what says that the first attempt of a run was submitted; its folder is there."""
    path = _path(run, 0)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    return path


def _take_back(run, attempt, path):
    """The scheduler wants none of it: as if it had never been asked."""
    try:
        os.unlink(path)
        directory = os.path.dirname(path)
        if not os.listdir(directory):
            os.rmdir(directory)
    except OSError:
        pass
    if attempt == 0 and not layout.queued(run):
        start.unmake(run)


def _answer(run, attempt, created, number):
    answer = start.answer(run, attempt, created, None)
    answer["job"] = number or number_of(run, attempt)
    return answer


def number_of(run, attempt):
    """The scheduler's number of an attempt's job: as it was handed over, or as the job itself has
    said, where whoever submitted it was killed before it could be written down. None without."""
    number = handed_number(run, attempt)
    if number is None:
        place = records.try_read(layout.attempt_dir(run, attempt) + "/claim").get("scheduler")
        number = slurm.job_of(place) if isinstance(place, dict) else None
    return number


def handed_number(run, attempt):
    """The number as it was handed over, None without."""
    number = _read(run, attempt).get("id")
    return number if isinstance(number, str) else None


def _number(out):
    """The number in what a command printed: on the last line that is one, before a `;`."""
    for line in reversed(out.splitlines()):
        word = line.strip().partition(";")[0]
        if layout.DIGITS.issuperset(word) and 0 < len(word) <= 20:
            return word
    return None


def _in_order(run, attempt, request):
    """Refuse an attempt that is not the next one, or while the one before still goes on: of those
    that are claimed or were submitted. A generator: the scheduler is asked where the run directory
    does not tell."""
    directory = layout.run_dir(run)
    if not os.path.lexists(directory + "/run.json"):
        raise Refused("There is no run %s any more: it was removed." % run)
    known = set(layout.attempts(run)) | set(layout.queued(run))
    before = max((n for n in known if n != attempt), default=None)
    if attempt in known and (before is None or before < attempt):
        return
    following = 0 if before is None else before + 1
    if attempt != following:
        raise Refused("The next attempt of run %s is %d, not %d." % (run, following, attempt))
    facts = evidence.of_run(run, evidence.Look())
    if not evidence.is_over(facts):
        goes_on = bool(facts["alive"]) or facts["exit"] is not None
        told = wire.field(request, "before_goes_on", bool)
        if not goes_on and told is not None:
            goes_on = told
        elif not goes_on:
            command = wire.field(request, "before", dict, required=True)
            done, out, _ = yield from _run(command)
            goes_on = done["outcome"] != "exited" or done["code"] != 0 or bool(out)
        if goes_on:
            raise Refused("Attempt %d of run %s is not over." % (attempt - 1, run))


def conclude(request, body):
    """The verb: keep the scheduler's last word on an attempt that left no exit record, or one that
    leaves it to the scheduler. The first one stands. `final`: it will not start it again."""
    run = layout.check_id(request.get("run_id"))
    attempt = layout.check_attempt(request.get("attempt", 0))
    word = wire.field(request, "word", dict, required=True)
    directory = layout.attempt_dir(run, attempt)
    if not (layout.is_claimed(run, attempt) or attempt in layout.queued(run)):
        raise Refused("There is no attempt %d of run %s." % (attempt, run))
    facts = evidence.of_run(run, evidence.Look())
    record = facts["exit"]
    if (record is None or record["cause"] == "outside") and not facts["alive"]:
        if wire.field(request, "final", bool, False):
            secrets.drop(run)
        try:
            records.make_once(directory + "/word.json", dict(word, format=records.FORMAT))
        except OSError as error:
            raise Refused("%s cannot be written: %s." % (directory, error.strerror)) from None
    return {"evidence": evidence.of_run(run, evidence.Look())}
