"""What a run is to execute in, found on this machine: a virtual environment, a conda prefix, an
interpreter, modules, the user's own prelude. Whether what a run needs can be imported there is
tried in a child, once: what went well is kept, until a folder of its packages changes."""

import os
import time

from . import Refused, layout, records, wire

SHELL = b"/bin/sh"
KEPT = 7 * 86400.0
KEPT_LOADED = 3600.0
"""Seconds that an answer holds; behind modules or a prelude more may change than folders tell."""
MOST = 20

HOMES = ("envs", "venvs", ".venvs", ".virtualenvs", ".venv", "venv")
CONDAS = (
    ("~/miniconda3", "~/miniforge3", "~/mambaforge", "~/anaconda3", "~/micromamba", "~/conda")
    + ("~/.conda", "/opt/conda", "/opt/miniconda3", "/opt/miniforge3", "/opt/anaconda3")
)  # fmt: skip

PROBE = r"""
import os, sys
sys.path[:] = [p for p in sys.path if p]
out = os.dup(1)
os.dup2(2, 1)
marker, names = sys.argv[1], sys.argv[2:]
import importlib, importlib.util, json, re
imports, failed = {}, {}
for name in names:
    wanted = name.rstrip("?")
    try:
        if name != wanted and importlib.util.find_spec(wanted) is None:
            continue
        found = importlib.import_module(wanted)
        imports[wanted] = str(getattr(found, "__version__", ""))[:60]
    except BaseException as error:
        lines = str(error).strip().splitlines()
        said = " ".join(lines[0].split()) if lines else ""
        failed[wanted] = ("%s: %s" % (type(error).__name__, said))[:300].rstrip(": ")
folders, packages = [], set()
for path in sys.path:
    try:
        folders.append([path, os.stat(path).st_mtime_ns])
        listed = os.listdir(path) if os.path.basename(path).endswith("-packages") else []
    except OSError:
        continue
    for entry in listed:
        made = re.match(r"(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info$", entry)
        if made:
            packages.add("%s==%s" % made.groups())
answer = {
    "python": sys.executable, "version": "%d.%d.%d" % sys.version_info[:3],
    "prefix": sys.prefix, "imports": imports, "failed": failed, "folders": folders,
    "packages": sorted(packages, key=str.lower)[:5000],
}
os.write(out, ("\n%s%s\n" % (marker, json.dumps(answer))).encode())
os._exit(0)
"""


def look(asked, path, wrapper):
    """What a request's `environment` names, as far as it is here. A generator: it starts programs.

    Args:
        asked: {"kind", "name", "modules", "prelude", "needs", "env", "seconds"}.
        path: PATH there, bytes.
        wrapper: Text of the script that loads modules and prelude, then becomes its command.
    """
    kind = wire.field(asked, "kind", str, "")
    name = wire.field(asked, "name", str, "")
    needs = [need for need in asked.get("needs") or [] if isinstance(need, str)][:50]
    prelude = wire.field(asked, "prelude", str)
    modules = [one for one in asked.get("modules") or [] if isinstance(one, str)]
    found = {
        "kind": kind, "prefix": "", "python": "", "python_version": None, "imports": {},
        "failed": {}, "packages": [], "others": [], "problem": "",
    }  # fmt: skip
    loads = bool(modules) or prelude is not None
    if kind in ("path", "conda"):
        at = _conda(name) if kind == "conda" else os.path.expanduser(wire.to_bytes(name))
        found["kind"], prefix, python = _at(at) if at else ("", b"", b"")
        if not python:
            found["kind"] = kind
            found["problem"] = _why_none(kind, name, at)
            found["others"] = others()
            return found
        found.update(prefix=wire.to_text(prefix), python=wire.to_text(python))
    elif not loads:
        from . import job

        python = job.resolve(b"python3", path, b"/") or job.resolve(b"python", path, b"/") or b""
        python = _one_that_has(found, python, needs) if not kind and needs else python
        if not python:
            found["problem"] = found["problem"] or "no python3 is on its PATH"
            found["others"] = others()
            return found
        if not found["kind"]:
            kind_found, prefix, _ = _at(python)
            if kind_found in ("venv", "conda"):
                found.update(kind=kind_found, prefix=wire.to_text(prefix))
        found["python"] = wire.to_text(python)
    yield from _probe(found, needs, modules, prelude, asked, path, wrapper)
    if found["problem"] or found["failed"]:
        found["others"] = others()
    return found


def _at(path):
    """What a path is: (kind, prefix, interpreter); ("", b"", b"") if nothing can run there."""
    python = path
    if os.path.isdir(path):
        names = (b"python3", b"python")
        tried = [os.path.join(path, b"bin", one) for one in names]
        python = next((one for one in tried if os.access(one, os.X_OK)), b"")
    if not python or not os.path.isfile(python) or not os.access(python, os.X_OK):
        return "", b"", b""
    prefix = os.path.dirname(os.path.dirname(os.path.abspath(python)))
    if os.path.isfile(os.path.join(prefix, b"pyvenv.cfg")):
        return "venv", prefix, python
    if os.path.isdir(os.path.join(prefix, b"conda-meta")):
        return "conda", prefix, python
    return "interpreter", prefix, python


def _why_none(kind, name, at):
    if kind == "conda":
        return "there is no conda environment %.60s" % name
    if os.path.isdir(at):
        return "%.200s holds no bin/python that can be executed" % name
    return "%.200s %s" % (name, "cannot be executed" if os.path.exists(at) else "is not there")


def _roots():
    """The folders of conda installations, those that are there."""
    found = [os.path.expanduser(one) for one in CONDAS]
    exe = os.environ.get("CONDA_EXE")
    found += [os.path.dirname(os.path.dirname(exe))] if exe else []
    found += [one for one in (os.environ.get("MAMBA_ROOT_PREFIX"),) if one]
    return [os.fsencode(one) for one in dict.fromkeys(found) if os.path.isdir(one)]


def _conda(name):
    """The prefix of a conda environment by its name, or None."""
    wanted = wire.to_bytes(name)
    return next((prefix for called, prefix in _condas() if called == wanted), None)


def _condas():
    """(name, prefix) of the conda environments of this user."""
    prefixes = []
    for root in _roots():
        if os.path.isdir(os.path.join(root, b"conda-meta")):
            yield b"base", root
        prefixes += _below(os.path.join(root, b"envs"))
    try:
        said = records.read_bytes(os.path.expanduser(b"~/.conda/environments.txt")) or b""
    except OSError:
        said = b""
    prefixes += [line.strip() for line in said.splitlines() if line.strip().startswith(b"/")]
    for prefix in dict.fromkeys(prefixes):
        if os.path.isdir(os.path.join(prefix, b"conda-meta")):
            yield os.path.basename(prefix), prefix


def _below(folder):
    try:
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder))[:200]]
    except OSError:
        return []


def _known():
    """(how a person names it, interpreter) of the environments found where such things lie."""
    home = os.path.expanduser(b"~")
    seen = set()
    for name in HOMES:
        folder = os.path.join(home, os.fsencode(name))
        for path in [folder, *_below(folder)]:
            kind, prefix, python = _at(path) if os.path.isdir(path) else ("", b"", b"")
            if kind in ("venv", "conda") and prefix not in seen:
                seen.add(prefix)
                yield b"~" + prefix[len(home) :], kind, prefix, python
    for name, prefix in _condas():
        _, _, python = _at(prefix)
        if python and prefix not in seen:
            seen.add(prefix)
            yield b"conda:" + name, "conda", prefix, python


def others():
    """How the environments that were found are named, the first few."""
    return [wire.to_text(name) for name, _, _, _ in _known()][:MOST]


def _has(python, needs):
    """Whether the folders beside an interpreter hold these packages: nothing is started."""
    prefix = os.path.dirname(os.path.dirname(python))
    libs = [os.path.join(prefix, b"lib")]
    if not os.path.isfile(os.path.join(prefix, b"pyvenv.cfg")):
        libs += [b"/usr/local/lib", os.path.expanduser(b"~/.local/lib")]
    places = [
        os.path.join(path, kind)
        for lib in libs
        for path in _below(lib)
        for kind in (b"site-packages", b"dist-packages")
        if os.path.basename(path).startswith(b"python3")
    ]
    return any(
        all(os.path.exists(os.path.join(place, os.fsencode(need))) for need in needs)
        for place in places
    )


def _one_that_has(found, usual, needs):
    """Nothing was named: the usual interpreter, or the one environment that has what is needed if
    that has not."""
    needs = [need for need in needs if not need.endswith("?")]
    if not needs or (usual and _has(usual, needs)):
        return usual
    having = [one for one in _known() if _has(one[3], needs)]
    if len(having) > 1:
        names = ", ".join(wire.to_text(one[0]) for one in having[:MOST])
        found["problem"] = "several environments have %s: %s" % (needs[0], names)
        return b""
    if not having:
        return usual
    _, kind, prefix, python = having[0]
    found.update(kind=kind, prefix=wire.to_text(prefix))
    return python


# ------------------------------------------------------------------------------------- importing


def _probe(found, needs, modules, prelude, asked, path, wrapper):
    """Import what is needed, or remember that it was."""
    loads = bool(modules) or prelude is not None
    if not needs and not loads:
        from . import survey

        found["python_version"] = survey.python_version(wire.to_bytes(found["python"]))
        return
    key = [found["python"], needs, modules, prelude, asked.get("env") or {}, wire.to_text(path)]
    kept = _recall(key, KEPT_LOADED if loads else KEPT)
    if kept is None:
        kept = yield from _import(found, needs, modules, prelude, asked, path, wrapper)
        if isinstance(kept, str):
            found["problem"] = kept
            return
        if not kept.get("failed"):
            _remember(key, kept)
    found["python_version"] = str(kept.get("version"))
    found["python"] = found["python"] or str(kept.get("python"))
    for name in ("imports", "failed", "packages"):
        found[name] = kept.get(name) or found[name]
    if loads and not found["prefix"]:
        found["kind"] = "modules" if modules else "prelude"


def _import(found, needs, modules, prelude, asked, path, wrapper):
    """The answer of the child, or why there is none. A generator."""
    from . import survey

    seconds = min(600.0, wire.field(asked, "seconds", float, 90.0))
    marker = "traindeck-%s-" % os.urandom(8).hex()
    argv = [wire.to_bytes(found["python"] or "python3"), b"-c", PROBE.encode(), marker.encode()]
    argv += [wire.to_bytes(need) for need in needs]
    env = dict(os.environb)
    env[b"PATH"] = path
    for name, value in (asked.get("env") or {}).items():
        env[wire.to_bytes(name, "a variable's name")] = wire.to_bytes(value, name)
    if found["prefix"]:
        env.update(variables(found, env[b"PATH"]))
    env[b"CUDA_VISIBLE_DEVICES"] = b""  # to import takes no device
    env[b"PYTHONDONTWRITEBYTECODE"] = b"1"  # and changes nothing
    script = None
    if modules or prelude is not None:
        script = _nameless(prelude or "")
        words = [wire.to_bytes(one) for one in modules]
        file = b"/dev/fd/%d" % script if prelude is not None else b""
        argv = [SHELL, b"-c", wrapper.encode(), b"environment.sh", file, *words, b"--", *argv]
    try:
        keep = () if script is None else (script,)
        code, out = yield from survey.run_bounded(argv, seconds, env=env, keep=keep, tail=True)
    finally:
        if script is not None:
            os.close(script)
    before, mark, text = out.rpartition(marker.encode())
    answer = wire.parse_object(text.partition(b"\n")[0]) if mark else None
    if answer is not None:
        return answer
    if code is None:
        return "importing %s took longer than %.0f s" % (", ".join(needs) or "nothing", seconds)
    said = [line for line in wire.to_text(before or out).splitlines() if line.strip()]
    last = " ".join(said[-1].split())[:300] if said else "it said nothing"
    return "it cannot be started (exit code %d): %s" % (code, last)


def variables(found, path):
    """The variables that make an environment the one that holds. All bytes."""
    prefix = wire.to_bytes(found["prefix"])
    made = {b"PATH": os.path.join(prefix, b"bin") + b":" + path}
    name = {"venv": b"VIRTUAL_ENV", "conda": b"CONDA_PREFIX"}.get(found["kind"])
    if name:
        made[name] = prefix
    return made


def _nameless(text):
    """A descriptor of a file with this text that no name leads to."""
    path = os.path.join(layout.root(), ".prelude-%d-%s" % (os.getpid(), os.urandom(4).hex()))
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.unlink(path)
        wire.write_all(fd, wire.to_bytes(text, "the prelude") + b"\n")
        os.lseek(fd, 0, os.SEEK_SET)
    except (OSError, Refused):
        os.close(fd)
        raise
    return fd


def _kept_at(key):
    import hashlib

    digest = hashlib.sha256(wire.dumps(key).encode("ascii")).hexdigest()[:32]
    return os.path.join(layout.root(), "environments", digest + ".json")


def _recall(key, seconds):
    """What was answered before, if every folder of packages is as it was then; else None."""
    kept = records.try_read(_kept_at(key), 1 << 20)
    if kept.get("key") != key or not isinstance(kept.get("answer"), dict):
        return None
    if not 0 <= time.time() - (records.number(kept.get("time")) or 0.0) < seconds:
        return None
    try:
        for path, changed in kept["answer"]["folders"]:
            if os.stat(path).st_mtime_ns != changed:
                return None
    except (OSError, KeyError, TypeError, ValueError):
        return None
    return kept["answer"]


def _remember(key, answer):
    """Keep an answer. That it cannot be kept costs only time."""
    path = _kept_at(key)
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        records.replace(path, {"key": key, "answer": answer, "time": time.time()})
    except OSError:
        pass
