"""What a place is: hello, and the facts that planning asks for."""

import os
import pwd
import sys
import time

from . import Refused, layout, procs, records, wire

NETWORK = (b"nfs", b"nfs4", b"lustre", b"gpfs", b"beegfs", b"ceph", b"cifs", b"smb3", b"fuse.sshfs")
SMI_WITHIN = 20.0


def hello(request, body):
    """The verb."""
    root = layout.root()
    warnings = []
    try:
        locks = layout.locks()
        mounts = procs.read_proc("/proc/self/mountinfo") or b""
        if file_system(os.path.realpath(os.fsencode(locks)), mounts) in NETWORK:
            warnings.append("The lock folder %s is on a network file system." % locks)
    except Refused as refused:
        locks = ""
        warnings.append(str(refused))
    try:
        layout.check_link()
    except Refused as refused:
        warnings.append(str(refused))
    warnings += logout_warning(logind_files(), lingering())
    try:
        # The runs may lie on another disk.
        space = os.statvfs(layout.runs() if os.path.isdir(layout.runs()) else root)
        free = space.f_bavail * space.f_frsize
    except OSError:
        free = None
    return {
        "now": time.time(),
        "agent": version(),
        "python": sys.executable,
        "python_version": "%d.%d.%d" % sys.version_info[:3],
        "host": procs.hostname(),
        "boot_id": procs.boot_id(),
        "uid": os.getuid(),
        "user": user(),
        "root": root,
        "pid": os.getpid(),
        "free_bytes": free,
        "locks": locks,
        "warnings": warnings,
    }


def user():
    """The name of this user, "" if it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def version():
    """This file's version: from its name, else from its bytes."""
    from . import VERSION

    if VERSION != "development":
        return VERSION
    import hashlib

    with open(layout.agent_file(), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:16]


def file_system(real, mountinfo):
    """The type of the file system that a path without links is on, b"" if it cannot be told."""
    best, kind = b"", b""
    for line in mountinfo.splitlines():
        words = line.split(b" ")
        if b"-" not in words[6:] or len(words) < 10:
            continue
        point = words[4].replace(b"\\040", b" ")
        if len(point) >= len(best) and (real + b"/").startswith(point.rstrip(b"/") + b"/"):
            best, kind = point, words[words.index(b"-", 6) + 1]
    return kind


def logind_files():
    """The files that say what happens at logout, the last one wins."""
    folder = "/etc/systemd/logind.conf.d"
    try:
        paths = ["%s/%s" % (folder, name) for name in sorted(os.listdir(folder))]
    except OSError:
        paths = []
    return ["/etc/systemd/logind.conf", *paths]


def lingering():
    """Whether this user's processes were asked to stay (`loginctl enable-linger`)."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return False
    return os.path.exists("/var/lib/systemd/linger/" + name)


def logout_warning(paths, stays):
    """A sentence, in a list, if this machine ends a user's processes at logout."""
    value = b""
    for path in paths:
        for line in (procs.read_proc(path) or b"").splitlines():
            name, _, setting = line.partition(b"=")
            if name.strip() == b"KillUserProcesses":
                value = setting.strip().lower()
    if value in (b"yes", b"true", b"1", b"on") and not stays:
        return [
            "This machine ends a user's processes at logout (KillUserProcesses=yes): "
            "runs survive only with `loginctl enable-linger`."
        ]
    return []


def survey(request, body):
    """The verb. A generator: nvidia-smi may take seconds."""
    from . import job

    answer = hello(request, body)
    cwd = wire.to_bytes(wire.field(request, "cwd", str, "/"), "cwd")
    path = wire.field(request, "path", str)
    path = os.environb.get(b"PATH", b"/usr/bin:/bin") if path is None else wire.to_bytes(path)
    answer["path"] = wire.to_text(path)
    answer["user_home"] = os.path.expanduser("~")
    cwd = os.path.expanduser(cwd)
    answer["cwd"] = wire.to_text(cwd)
    answer["cwd_ok"] = os.path.isabs(cwd) and os.path.isdir(cwd) and os.access(cwd, os.X_OK)
    reads = [one for one in request.get("reads") or [] if isinstance(one, str)][:1000]
    answer["missing"] = [one for one in reads if not _exists(wire.to_bytes(one), cwd)]
    answer["environment"] = None
    asked = wire.field(request, "environment", dict)
    if asked is not None:
        from . import environment

        wrapper = wire.field(asked, "wrapper", str, "")
        found = answer["environment"] = yield from environment.look(asked, path, wrapper)
        if found["prefix"]:
            path = environment.variables(found, path)[b"PATH"]
    for name, key in (("program", "program"), ("python", "python_found")):
        asked = wire.field(request, name, str)
        found = job.resolve(wire.to_bytes(asked, name), path, cwd) if asked else None
        answer[key] = None if found is None else wire.to_text(found)
    python = answer["python_found"]
    answer["python_found_version"] = python and python_version(wire.to_bytes(python))
    asked = wire.field(request, "program", str)
    answer["program_note"] = ""
    if asked and answer["program"] is None:
        answer["program_note"] = _why_not(wire.to_bytes(asked, "program"), cwd)
    devices, note, driver, busy = None, "", None, None
    if wire.field(request, "devices", bool, True):
        devices, note, driver = yield from _devices(path)
        busy = (yield from _busy(path)) if devices else None
    answer.update(devices=devices, devices_note=note, driver=driver or loaded_driver())
    answer["devices_busy"] = busy
    answer["leased"] = {}
    if wire.field(request, "leases", bool, False):
        from . import leases

        answer["leased"] = leases.all_held(wire.field(request, "folder", str, leases.FOLDER))
    return answer


def _exists(path, cwd):
    return os.path.exists(os.path.join(cwd, os.path.expanduser(path)))


def loaded_driver(path="/sys/module/nvidia/version"):
    """The version of the NVIDIA driver that the kernel has loaded, or None. Costs nothing, where
    asking the driver itself may take seconds."""
    return wire.to_text((procs.read_proc(path) or b"").strip()[:64]) or None


def python_version(python):
    """The version of an interpreter as far as it can be told without starting it, or None: it is
    ours, its virtual environment says so, or its name does."""
    real = os.path.realpath(python)
    if real == os.path.realpath(os.fsencode(sys.executable)):
        return "%d.%d.%d" % sys.version_info[:3]
    name = os.path.basename(real)
    series = name[6:] if name[:6] == b"python" and b"." in name else b""
    config = os.path.join(os.path.dirname(os.path.dirname(python)), b"pyvenv.cfg")
    try:
        said = records.read_bytes(config) or b""
    except OSError:
        said = b""
    for line in said.splitlines():
        key, _, value = line.partition(b"=")
        numbers = value.strip().split(b".")[:3]
        if key.strip() in (b"version", b"version_info") and all(n.isdigit() for n in numbers):
            # An environment says what it was made with; what it links to may be newer.
            if not series or b".".join(numbers[:2]) == series:
                return wire.to_text(b".".join(numbers))
    return wire.to_text(series) if series.replace(b".", b"").isdigit() else None


def _why_not(program, cwd):
    """What keeps a program that was given as a path from being executed; of one that is not there
    what else may have been meant, "" if nothing."""
    from . import job

    full = os.path.join(cwd, program)
    if b"/" in program and os.path.isdir(full):
        return "is a directory"
    if b"/" in program and os.path.isfile(full):
        return "is not executable"
    advice = job.misread(program)
    return advice and "was not found (%s)" % advice


def _devices(path):
    from . import job

    smi = job.resolve(b"nvidia-smi", path + b":/usr/bin:/bin", b"/")
    if smi is None:
        return None, "nvidia-smi is not there", None
    query = b"--query-gpu=uuid,name,driver_version"
    code, out = yield from run_bounded([smi, query, b"--format=csv,noheader"], SMI_WITHIN)
    if code is None:
        return None, "nvidia-smi did not answer within %d s" % SMI_WITHIN, None
    if code != 0:
        first = out.strip().splitlines()[:1]
        said = wire.to_text(first[0])[:200] if first else "nothing"
        return None, "nvidia-smi failed with exit code %d: %s" % (code, said), None
    devices = []
    driver = None
    for line in out.splitlines():
        words = [wire.to_text(word.strip()) for word in line.split(b",")]
        if len(words) == 3 and words[0].startswith("GPU-"):
            devices.append({"uuid": words[0], "name": words[1]})
            driver = words[2]
    return devices, "", driver


def _busy(path):
    """UUIDs of the devices that a compute process is on, or None if that is not said."""
    from . import job

    smi = job.resolve(b"nvidia-smi", path + b":/usr/bin:/bin", b"/")
    query = [b"--query-compute-apps=gpu_uuid,pid", b"--format=csv,noheader"]
    code, out = yield from run_bounded([smi, *query], SMI_WITHIN)
    if code != 0:
        return None
    named = (wire.to_text(line.partition(b",")[0].strip()) for line in out.splitlines())
    return sorted({uuid for uuid in named if uuid.startswith("GPU-")})


def run_bounded(argv, seconds, env=None, keep=(), tail=False):
    """Run a program without waiting for it in one piece: (exit code or None, its output).

    Args:
        env: Its environment, our own by default.
        keep: Descriptors it inherits.
        tail: Of much output keep the end, not the beginning.
    """
    from . import job

    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            null = os.open("/dev/null", os.O_RDWR)
            os.dup2(null, 0)
            os.dup2(write, 1)
            os.dup2(write, 2)
            os.chdir("/")
            job.close_descriptors(keep)
            for fd in keep:
                os.set_inheritable(fd, True)
            job.reset_signals()
            os.execve(argv[0], argv, os.environb if env is None else env)  # noqa: S606
        finally:
            os._exit(127)
    os.close(write)
    os.set_blocking(read, False)
    out = b""
    until = time.monotonic() + seconds
    status = None
    try:
        while time.monotonic() < until:
            yield read, max(0.0, until - time.monotonic())
            try:
                more = os.read(read, 1 << 16)
            except BlockingIOError:
                continue
            if not more:
                status = os.waitpid(pid, 0)[1]
                break
            out = (out + more)[-(1 << 20) :] if tail else (out + more)[: 1 << 20]
    finally:
        os.close(read)
        if status is None:
            os.killpg(pid, procs.SIGKILL)
            os.waitpid(pid, 0)
    if status is None:
        return None, out
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status), out
