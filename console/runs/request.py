"""What a person asks for when launching, and how it becomes a `RunSpec`.

Both front ends fill in a `LaunchRequest`; everything that can be refused without asking the place
is refused here, in words. Nothing is started and nothing is written.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from traindeck.backends import environments
from traindeck.backends.base import Blob, Capability, Code, Limits, Resources, RunSpec
from traindeck.backends.data import dataclass
from traindeck.backends.errors import UsageError, excerpt
from traindeck.console.runs.capture import (
    Captured,
    capture,
    code_files,
    recorded_environ,
)
from traindeck.console.runs.elsewhere import (
    LOOKED_AT,
    files_along,
    folder_there,
    home_there,
)
from traindeck.console.runs.interpreter import interpreter

MAX_NAME = 128
MAX_COUNT = 4096
MAX_RETRIES = 100

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAG = re.compile(r"[^\s=,]{1,64}")
_QUOTED = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
_SIGN = re.compile(r"&&|\|\||[|<>;&*`]|\$(?:\w+|[({])")
_HOME = re.compile(r"(?<!\S)~(?=[/\s]|$)")


def split_words(text: str, option: str = "") -> tuple[str, ...]:
    """The words of a line, quoted as in a shell.

    Args:
        option: What it was given to, for the error.

    Raises:
        UsageError: A quote is not closed.
    """
    try:
        return tuple(shlex.split(text))
    except ValueError:
        where = f"{option}: a" if option else "A"
        raise UsageError(f"{where} quote is not closed.", "Quote as in a shell.") from None


def command_words(text: str, option: str = "") -> tuple[str, ...]:
    """The words of a command. `~` and what begins with `~/` mean the home, as in a shell.

    Raises:
        UsageError: There is none, or a quote is not closed.
    """
    home = shlex.quote(os.path.expanduser("~"))
    for place in reversed([found.start() for found in _HOME.finditer(_unquoted(text))]):
        text = f"{text[:place]}{home}{text[place + 1 :]}"
    words = split_words(text, option)
    if not words or not words[0]:
        raise UsageError(f"{option}: there is no command." if option else "There is no command.")
    return words


def shell_signs(text: str) -> tuple[str, ...]:
    """What a shell would act on in a command's text, each once: nobody does where none runs."""
    return tuple(dict.fromkeys(found[0] for found in _SIGN.finditer(_unquoted(text))))


def _unquoted(text: str) -> str:
    """The text with dots for what is quoted."""
    return _QUOTED.sub(lambda found: "." * len(found[0]), text)


OF_ARRAYS = ("TRAINDECK_ARRAY_INDEX", "SLURM_ARRAY_TASK_ID")
"""Variables of a task of an array, which a run like it is none of."""


def asked_for(spec: RunSpec) -> RunSpec:
    """A run's spec as it was asked for: one that executes a copy of its code says where that lies,
    and not where a new copy is to be made of; one that was put into an environment, only which."""
    spec = environments.taken_off(spec)
    if spec.array is not None:
        env = {name: value for name, value in spec.env.items() if name not in OF_ARRAYS}
        spec = replace(spec, array=None, env=env)
    copy = f"/runs/{spec.run_id}/code"
    before, found, below = spec.cwd.partition(copy)
    if spec.code.mode != "snapshot" or not found or not spec.code.root:
        return spec
    path = [part for part in spec.env.get("PYTHONPATH", "").split(":") if part != before + copy]
    env = {name: value for name, value in spec.env.items() if name != "PYTHONPATH"}
    if any(path):
        env["PYTHONPATH"] = ":".join(path)
    return replace(spec, cwd=spec.code.root.rstrip("/") + below or "/", env=env)


def taken_from(spec: RunSpec) -> str | None:
    """The folder here that a run's code was taken from; None if it took none along."""
    if f"/runs/{spec.run_id}/code" in spec.cwd or (spec.code.root and spec.code.mode != "snapshot"):
        return asked_for(spec).cwd
    return spec.code.root or None


def here() -> str:
    """The directory we were started in.

    Raises:
        UsageError: It was deleted meanwhile.
    """
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise UsageError(
            "The working directory is gone: it was deleted.", "Go to another one, or give --cwd."
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """The options of `traindeck run`, typed. Durations are seconds.

    Attributes:
        after: Full ids of the runs to wait for.
        grace: None for the user's setting.
        cwd: A folder of the place; the one we are in by default, or its copy there.
        environment: What it executes in (backends/environments.py); "" for what the place has.
        needs: Packages it imports; None for what any command is asked about.
        reads: Paths that must be there.
        code: `here`, `snapshot`, or None for the default: in place, but a snapshot if it waits or
            runs where this machine's files are not.
        code_from: The folder here that the code is taken from; the one we are in by default.
        sends: Paths in that folder that are all that goes along of it; None for the code.
        files: Files that travel with the run beside its code (a recipe's trainer).
        recipe: The resolved recipe, as JSON.
    """

    argv: tuple[str, ...] = ()
    run_dir_words: tuple[int, ...] = ()
    on: str = "local"
    name: str | None = None
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0
    nodes: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    after_any: bool = False
    time: float | None = None
    grace: float | None = None
    retries: int = 0
    environment: str = ""
    needs: tuple[str, ...] | None = None
    reads: tuple[str, ...] = ()
    code: str | None = None
    code_from: str | None = None
    sends: tuple[str, ...] | None = None
    pty: bool = False
    keep_background: bool = False
    on_exit: tuple[str, ...] = ()
    on_stall: tuple[str, ...] = ()
    stall_after: float | None = None
    files: Mapping[str, Blob] = field(default_factory=dict)
    recipe: Mapping[str, Any] | None = None


HERE = Capability.HERE | Capability.INHERITS
"""What a place on this machine can do."""


def build_spec(
    request: LaunchRequest,
    *,
    run_id: str,
    name: str,
    now: float,
    environ: Mapping[str, str],
    place: Capability = HERE,
    memory: Path | None = None,
) -> tuple[RunSpec, tuple[str, ...]]:
    """The spec of a request, with the code captured, and notes for the plan.

    Args:
        run_id, name: As minted by the caller.
        environ: The caller's environment; of that only what is asked for goes to a place whose jobs
            do not inherit it.
        place: What the place can do.
        memory: See `capture`.

    Raises:
        UsageError: What was asked for makes no sense; the option is named.
    """
    _check(request)
    secret_values(request.secrets, environ)  # before anything is looked at, or noted
    environment = environment_named(request.environment, local=Capability.HERE in place)
    if Capability.HERE in place:
        cwd = os.path.abspath(os.path.expanduser(request.cwd or here()))
        mode = request.code or ("snapshot" if request.after else "here")
        python = interpreter(request.argv, cwd, {**environ, **request.env})
        captured: Captured = capture(cwd, mode, python, memory)
    else:
        python = None  # one of there
        cwd, captured = _elsewhere(request, memory)
    inherits = Capability.INHERITS in place
    values, names = recorded_environ(environ if inherits else {})
    needs = request.needs
    if needs is None:
        needs = LOOKED_AT if environment or environments.runs_python(request.argv) else ()
    if not environment and Capability.HERE in place:
        needs = ()  # it is the shell's own, and a launch does not wait for an interpreter
    hidden = {*request.secrets, *request.env}
    spec = RunSpec(
        run_id=run_id,
        name=name,
        argv=request.argv,
        run_dir_words=request.run_dir_words,
        cwd=cwd,
        env={**{k: v for k, v in values.items() if k not in request.secrets}, **request.env},
        env_names=tuple(n for n in names if n not in hidden),
        secrets=tuple(sorted(set(request.secrets))),
        resources=Resources(gpus=request.gpus, nodes=request.nodes),
        limits=Limits(
            time=request.time,
            grace=Limits().grace if request.grace is None else request.grace,
            retries=request.retries,
        ),
        code=captured.code,
        after=request.after,
        after_any=request.after_any,
        pty=request.pty,
        keep_background=request.keep_background,
        on_exit=request.on_exit,
        on_stall=request.on_stall,
        stall_after=request.stall_after,
        environment=environment,
        needs=needs,
        reads=request.reads,
        python=python,
        packages=captured.packages,
        files={**captured.files, **request.files},
        recipe=request.recipe,
        tags=dict(request.tags),
        options=dict(request.options),
        created=now,
    )
    notes = list(captured.notes)
    if not_kept := code_not_kept(spec):
        notes.append(not_kept)
    if request.after and request.code is None and Capability.HERE in place:
        notes.append(
            "it waits, so it will run in a copy of the code: what is not code (data, outputs of "
            "other runs) must be named by absolute paths, or use --code here"
        )
    return spec, tuple(notes)


def environment_named(text: str, *, local: bool) -> str:
    """The name of an environment, checked. On this machine a relative path is one, too; on others
    what begins with our home begins with the home there: a shell has written ~ out.

    Raises:
        UsageError: It is none.
    """
    text = text.strip()
    if not local:
        text = home_there(text)
    elif text.startswith((".", "~")) or ("/" in text and ":" not in text):
        text = os.path.abspath(os.path.expanduser(text))
    environments.read(text)
    return text


def _elsewhere(request: LaunchRequest, memory: Path | None) -> tuple[str, Captured]:
    """Where a run begins on a machine that has not this one's files, and the code that it takes
    along."""
    source = os.path.abspath(os.path.expanduser(request.code_from or here()))
    if request.code == "here":
        if request.cwd is None or not request.cwd.startswith(("/", "~")):
            raise UsageError(
                f"--code here on {request.on}: nothing is sent there, so --cwd must name a folder "
                "there, from / or ~ on.",
                "Leave --code out to send a copy of the code.",
            )
        return home_there(request.cwd), Captured(code=Code(mode="here"))
    same = request.cwd is None or request.cwd == request.code_from
    asked = None if same else home_there(request.cwd or "")
    from traindeck.console.runs.snapshot import Snapshot

    if request.sends is None:
        captured = capture(source, "snapshot", None, memory)
    else:
        known = capture(source, "here", None)
        tree = Snapshot(source, files_along(source, request.sends), memory=memory).tree
        code = replace(known.code, mode="snapshot", root=source, untracked=(), tree=tree)
        captured = Captured(code=code)
    return folder_there(asked, source, captured.code.root), captured


def code_not_kept(spec: RunSpec) -> str:
    """That a run's code is not all kept, if it is so: worth a word to a person, not to a script
    that starts many."""
    count = code_files(spec.code.untracked)
    if spec.code.mode == "snapshot" or spec.recipe is not None or not count:
        return ""
    what, them = "1 untracked file of code is", "it"
    if count > 1:
        what, them = f"{count:,} untracked files of code are", "them"
    return f"{what} listed, not kept (--code snapshot keeps {them})"


def _check_secret(name: str) -> None:
    if not _VARIABLE.fullmatch(name):
        shown = excerpt(name.partition("=")[0])
        raise UsageError(f"--secret {shown}: give the name of a variable, not a value.")


def secret_values(names: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, str]:
    """The values of secrets from the caller's environment.

    Raises:
        UsageError: One is not set, or is no name of a variable; its value is never shown.
    """
    values = {}
    for name in names:
        _check_secret(name)
        if name not in environ:
            raise UsageError(
                f"--secret {excerpt(name)}: {excerpt(name)} is not set in this shell.",
                f"Set it, for example with: read -rs {excerpt(name)}; export {excerpt(name)}",
            )
        values[name] = environ[name]
    return values


def parse_pairs(items: Iterable[str], option: str) -> dict[str, str]:
    """`K=V` items of an option.

    Raises:
        UsageError: One has no `=` or its name is no variable name.
    """
    pairs = {}
    for item in items:
        key, equals, value = item.partition("=")
        shown = f"{option} {excerpt(item)}"
        if not equals:
            raise UsageError(f"{shown}: expected NAME=VALUE.")
        if not _VARIABLE.fullmatch(key):
            raise UsageError(f"{shown}: {excerpt(key)!r} is no name (letters, digits and _).")
        if "\0" in value:
            raise UsageError(f"{option} {excerpt(key)}: the value holds a NUL byte.")
        pairs[key] = value
    return pairs


def parse_tags(items: Iterable[str]) -> dict[str, str]:
    """Tags of `K` or `K=V` items. A tag without a value is stored with an empty one.

    Raises:
        UsageError: The name is empty, too long, or holds spaces or commas; or it begins with `-`,
            which filters and options have another use for.
    """
    tags = {}
    for item in items:
        key, _, value = item.partition("=")
        if key.startswith("-"):
            raise UsageError(
                f"Tag {excerpt(item)}: a tag's name cannot begin with -.",
                f"To take one away: traindeck tag RUN --remove {excerpt(key.lstrip('-')) or 'K'}",
            )
        if not _TAG.fullmatch(key):
            raise UsageError(
                f"Tag {excerpt(item)}: "
                "a tag's name has 1 to 64 characters, without spaces or commas."
            )
        tags[key] = value[:4096]
    return tags


def parse_tag_changes(items: Iterable[str]) -> dict[str, str | None]:
    """Tags to be set, of `K` or `K=V` items, and (None) to be taken away, of `-K` items.

    Raises:
        UsageError: See `parse_tags`; or one is both set and taken away.
    """
    words = list(items)
    gone = parse_tags(word[1:] for word in words if word.startswith("-"))
    return tag_changes(parse_tags(word for word in words if not word.startswith("-")), gone)


def tag_changes(wanted: Mapping[str, str], gone: Iterable[str]) -> dict[str, str | None]:
    """Both in one.

    Raises:
        UsageError: One is both set and taken away.
    """
    without = dict.fromkeys(gone)
    for name in wanted.keys() & without.keys():
        raise UsageError(f"{name} is both set and removed.")
    return {**wanted, **without}


def tags_text(tags: Mapping[str, str]) -> str:
    """Tags as they are typed in one line: `sft lr=3e-4`, quoted where there are spaces."""
    return shlex.join(f"{name}={value}" if value else name for name, value in tags.items())


def check_name(name: str) -> str:
    """A run's name, checked.

    Raises:
        UsageError: Empty, too long, or with control characters.
    """
    if not name.strip():
        raise UsageError("A run's name cannot be empty.")
    if len(name) > MAX_NAME:
        raise UsageError(f"The name has {len(name):,} characters; at most {MAX_NAME} are kept.")
    # Joiners make one sign of several (emoji, Indic, Persian); they do nothing to a terminal.
    if not all(char.isprintable() or char in "\u200c\u200d" for char in name):
        raise UsageError("A run's name is UTF-8 and cannot hold control characters or line breaks.")
    return name.strip()


def _check(request: LaunchRequest) -> None:
    if not request.argv or not request.argv[0]:
        raise UsageError(
            "There is no command to run.", "Give one after `--`: traindeck run -- python train.py"
        )
    if any("\0" in word for word in request.argv):
        raise UsageError("The command holds a NUL byte.")
    if request.name is not None:
        check_name(request.name)
    for option, value, low, high in (
        ("--gpus", request.gpus, 0, MAX_COUNT),
        ("--nodes", request.nodes, 1, MAX_COUNT),
        ("--retries", request.retries, 0, MAX_RETRIES),
    ):
        if not low <= value <= high:
            raise UsageError(f"{option} {value}: must be from {low} to {high:,}.")
    for name in request.secrets:
        _check_secret(name)
        if name in request.env:
            raise UsageError(f"{name} is given by both --env and --secret.", "Keep --secret.")
    if bool(request.on_stall) != (request.stall_after is not None):
        raise UsageError("--on-stall takes a duration and a command.", "Write --on-stall 10m:CMD.")
