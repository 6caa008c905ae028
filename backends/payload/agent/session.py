"""A program in a run's directory, in front of a person: what `shell` starts.

The verb makes the argv that a host is to run, with all that the program needs in one word of
letters that no shell on the way would read anything into. Run, that argv becomes the program: it
holds nothing, waits for nothing and is no member of the run.

Where the run is in an allocation the host is only the way there: it runs `enter WORD`, which
becomes the launcher (srun), and that starts `session WORD` on the node.
"""

import binascii
import errno
import os
import pwd
import sys

from . import Refused, job, layout, procs, records, start, wire

REACH_WITHIN = 5.0
MAX_WORD = 100000
"""Bytes of the one word; the kernel takes 131,072."""


def session(request, body):
    """The verb: the argv that starts a program, the user's shell if it names none."""
    run = layout.check_id(request.get("run_id"))
    attempt = layout.check_attempt(request.get("attempt", 0))
    directory = layout.run_dir(run)
    if not os.path.lexists(directory):
        raise layout.gone(directory)
    if not os.access(directory, os.X_OK):
        raise Refused("%s cannot be entered: permission denied." % directory)
    argv = wire.field(request, "argv", list, [])
    for word in argv:
        wire.to_bytes(word, "argv")
    through = wire.field(request, "through", dict)
    asked = {
        "run_id": run,
        "attempt": attempt,
        "argv": argv,
        "login": wire.field(request, "login", bool, False),
    }
    if through is not None:
        asked["through"] = through
    text = wire.dumps(asked).encode("ascii")
    word = binascii.b2a_base64(text, newline=False).decode("ascii")
    word = word.replace("+", "-").replace("/", "_").rstrip("=")
    if len(word) > MAX_WORD:
        raise Refused("The command is longer than can be handed on (%d bytes)." % len(word))
    return {"argv": [*agent_words(), "session" if through is None else "enter", word]}


def agent_words():
    """What this program is started with."""
    return [sys.executable, "-I", "-S", layout.agent_file()]


def become(word, loaded=False):
    """The program `session WORD`. Returns the exit code if there is nothing to become.

    Args:
        loaded: The modules and the prelude of the run's environment are entered already; what this
            program was given is then the environment.
    """
    try:
        asked = read_word(word)
        run = layout.check_id(asked.get("run_id"))
        attempt = layout.check_attempt(asked.get("attempt", 0))
        argv = [wire.to_bytes(part, "argv") for part in wire.field(asked, "argv", list, [])]
        through = wire.field(asked, "through", dict)
        spec = _spec(run)
        directory = os.fsencode(layout.run_dir(run))
        loader = []
        if loaded:
            env = {wire.to_bytes(k): wire.to_bytes(v) for k, v in start.own_environ().items()}
            env[b"PWD"] = directory
        else:
            env = environment(run, attempt, spec, through is not None)
            loader = _loader(run, spec) if through is not None else []
        if loader:
            program = b"/bin/sh"
            words = [*loader, *agent_words(), "session", word, "loaded"]
            argv = [wire.to_bytes(part, "argv") for part in words]
            directory = _cwd(spec) or directory
            env[b"PWD"] = directory
        elif argv:
            program = argv[0]
        else:
            program = shell_of(env)
            name = os.path.basename(program)
            argv = [b"-" + name if asked.get("login") else name]

        def begin():
            return execute(argv, env, directory, program)

        if through is None or loaded:
            return begin()
        from . import inside

        return inside.watched(begin, through)
    except Refused as refused:
        return _say(str(refused), 1)


def read_word(word):
    """What the one word holds."""
    padded = word.replace("-", "+").replace("_", "/") + "=" * (-len(word) % 4)
    try:
        asked = wire.parse_object(binascii.a2b_base64(padded.encode("ascii")))
    except ValueError:
        asked = None
    if asked is None:
        raise Refused("The word after `session` is not one of ours.")
    return asked


def _spec(run):
    record = records.read_object(layout.run_dir(run) + "/run.json", records.MAX_RUN) or {}
    return record.get("spec") if isinstance(record.get("spec"), dict) else {}


def _cwd(spec):
    cwd = spec.get("cwd")
    found = wire.to_bytes(cwd) if isinstance(cwd, str) else b""
    return found if os.path.isdir(found) else None


def _loader(run, spec):
    """The words of the run's command that enter its modules and prelude, [] if it has none
    (FORMAT.md, section 10)."""
    argv = spec.get("argv")
    if not isinstance(argv, list) or "--" not in argv[2:]:
        return []
    if argv[:2] != ["/bin/sh", layout.run_dir(run) + "/plan/environment.sh"]:
        return []
    return argv[: argv.index("--", 2) + 1]


def environment(run, attempt, spec, inside):
    """What the program finds: what this one was given, the values that the run's plan sets, and the
    run's names. Without TRAINDECK_RUN: what carries that is a member of the run.

    Args:
        inside: It is in the run's allocation, and finds what the job does.
    """
    values = spec.get("env") if isinstance(spec.get("env"), dict) else {}
    given = start.own_environ()
    if inside:
        from . import slurm

        given = slurm.job_environ(given)
    inherited = {wire.to_bytes(k): wire.to_bytes(v) for k, v in given.items()}
    env = job.environment(inherited, {"env": values}, {}, run, attempt)
    del env[b"TRAINDECK_RUN"]
    env[b"PWD"] = os.fsencode(layout.run_dir(run))
    env[b"TRAINDECK_RUN_ID"] = run.encode()
    env[b"TRAINDECK_ATTEMPT"] = str(attempt).encode()
    name = spec.get("name")
    env[b"TRAINDECK_NAME"] = wire.to_bytes(name) if isinstance(name, str) else b""
    return env


def shell_of(env):
    """The user's shell: that of the environment, else of the account, else /bin/sh."""
    try:
        account = os.fsencode(pwd.getpwuid(os.getuid()).pw_shell)
    except KeyError:
        account = b""
    for path in (env.get(b"SHELL", b""), account):
        if path.startswith(b"/") and os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return b"/bin/sh"


def execute(argv, env, directory, program):
    """Become a program. Returns the exit code if that cannot be."""
    from . import UMASK

    try:
        os.chdir(directory)
    except OSError as error:
        return _say("%s cannot be entered: %s." % (os.fsdecode(directory), error.strerror), 1)
    job.reset_signals()
    if UMASK is not None:
        os.umask(UMASK)
    why, code = "no such program", 127
    for path in job.candidates(program, env.get(b"PATH", os.defpath.encode())):
        try:
            os.execve(path, argv, env)  # noqa: S606
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            why, code = error.strerror.lower(), 126
    return _say("%s cannot be started: %s." % (os.fsdecode(program), why), code)


def _say(sentence, code):
    data = ("traindeck: %s\n" % sentence).encode("utf-8", "surrogateescape")
    try:
        wire.write_all(2, data)
    except OSError:
        pass
    return code


# ------------------------------------------------------------------------------------- the ports

LISTENING = b"0A"


def ports(request, body):
    """The verb: what the processes of an attempt listen on."""
    from . import tree

    run = layout.check_id(request.get("run_id"))
    attempt = layout.check_attempt(request.get("attempt", 0))
    if not os.path.lexists(layout.run_dir(run)):
        raise layout.gone(layout.run_dir(run))
    sockets = _listening()
    found = {}
    directory, rank = layout.attempt_dir(run, attempt), None
    if os.path.isdir(directory + "/ranks/0"):
        # Of several nodes it is the first that is asked, for what it runs and not for its srun.
        directory, rank = directory + "/ranks/0", b"0"
    of = tree.Tree(run, attempt, leader=_leader(directory), rank=rank)
    members = of.scan(fresh=True)
    for pid in sorted(members) if sockets else ():
        for path in procs.open_files(pid):
            inode = path[8:-1] if path.startswith("socket:[") else ""
            if inode in sockets:
                address, port, alone = sockets[inode]
                one = found.setdefault((port, address), {"program": _called(pid), "loopback": True})
                one["loopback"] &= alone
    listeners = [
        dict(words, port=port, address=address) for (port, address), words in sorted(found.items())
    ]
    return {"listeners": listeners}


def reach(request, body):
    """The verb: whether a port of an address can be connected to from here. A generator that waits
    without holding anybody up."""
    import select
    import socket
    import time

    address = wire.field(request, "address", str, required=True)
    port = wire.field(request, "port", int, required=True)
    if not 0 < port < 65536:
        raise Refused("%d is no port." % port)
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Refused("%.100s cannot be found: %s." % (address, error)) from None
    why = "no address"
    for family, kind, _, _, where in found[:4]:
        try:
            taken = socket.socket(family, kind)
        except OSError as error:
            why = error.strerror
            continue
        try:
            taken.setblocking(False)
            code = taken.connect_ex(where)
            until = time.monotonic() + REACH_WITHIN
            while code == errno.EINPROGRESS and time.monotonic() < until:
                if select.select([], [taken], [], 0)[1]:
                    code = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    break
                yield None, 0.01
            if code == 0:
                return {}
            why = os.strerror(code) if code != errno.EINPROGRESS else "no answer"
        finally:
            taken.close()
    raise Refused("Port %d of %.100s cannot be reached: %s." % (port, address, why.lower()))


def _leader(directory):
    """The leader of agent.json: one that was adopted carries no name of the run."""
    words = records.try_read(directory + "/agent.json")
    leader = words.get("leader")
    if not isinstance(leader, dict):
        return None
    pid, starttime = leader.get("pid"), leader.get("starttime")
    return (pid, starttime) if procs.is_running(pid, starttime) else None


def _called(pid):
    name = procs.read_proc("/proc/%d/comm" % pid, 64) or b""
    return name.strip().decode("utf-8", "replace")


def _listening():
    """Inode -> (address to connect to, port, whether it is for this machine alone) of every TCP
    socket that listens here."""
    found = {}
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in (procs.read_proc(path) or b"").splitlines()[1:]:
            words = line.split(None, 10)
            if len(words) > 9 and words[3] == LISTENING:
                address, _, port = words[1].partition(b":")
                try:
                    where, alone = address_of(address)
                    found[words[9].decode()] = where, int(port, 16), alone
                except ValueError:
                    continue
    return found


def address_of(text):
    """(the address to connect to, whether it is a loopback's) of a listener's, which /proc writes
    as native words in hex: every one is reached as "localhost"."""
    import socket

    raw = binascii.a2b_hex(text)
    data = b"".join(
        int.from_bytes(raw[at : at + 4], sys.byteorder).to_bytes(4, "big")
        for at in range(0, len(raw), 4)
    )
    if len(data) == 16 and data.startswith(b"\0" * 10 + b"\xff\xff"):
        data = data[12:]
    anywhere = not data.strip(b"\0")
    loopback = data[:1] == b"\x7f" if len(data) == 4 else data == b"\0" * 15 + b"\1"
    if anywhere or loopback:
        return "localhost", loopback
    family = socket.AF_INET if len(data) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, data), False
