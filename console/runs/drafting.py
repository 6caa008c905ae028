"""From what was typed into a launch form to a request: every field is text, right or wrong.

A draft is what a person has typed so far; checking it never raises for what was typed, but says
field by field what is wrong. The same draft can be filled in from a run that was made before. What
the fields mean and how they are read stands here once; the form only shows it.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from traindeck.backends.base import Option, Plan, RunSpec, read_indices
from traindeck.backends.data import dataclass
from traindeck.backends.errors import UsageError
from traindeck.console.durations import parse_duration, parse_stall, write_duration
from traindeck.console.runs.awaiting import awaited
from traindeck.console.runs.offering import Offers, offered
from traindeck.console.runs.options import option_text, read_option
from traindeck.console.runs.request import (
    MAX_COUNT,
    MAX_RETRIES,
    LaunchRequest,
    check_name,
    command_words,
    environment_named,
    here,
    parse_pairs,
    parse_tags,
    secret_values,
    shell_signs,
    split_words,
    tags_text,
)

if TYPE_CHECKING:
    from traindeck.console.recipes.describing import Form
    from traindeck.console.recipes.schema import Recipe
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.records import RunRecord

OPTION = "option."
"""Prefix of the keys of a backend's own options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftField:
    """A field of every launch, whatever is launched.

    Attributes:
        key: Its name in `Draft.fields`.
        question: The part of the form it belongs to: `what`, `where`, `how`, `ends`.
        takes: What may be typed, in a few words.
        default: What holds if nothing is typed, as it would be typed.
        choices: All that it can be, if that can be listed.
        recipes: Whether it exists for recipes; `commands`: whether for command lines.
    """

    key: str
    question: str
    label: str
    meaning: str
    takes: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()
    recipes: bool = True
    commands: bool = True


NO, YES = "no", "yes"

FIELDS: tuple[DraftField, ...] = (
    DraftField(
        key="command", question="what", label="command", recipes=False,
        meaning="The command to run, with quotes as in a shell. No shell runs it: for pipes and "
        "variables write bash -c '…'.",
        takes="a program and its arguments",
    ),
    DraftField(
        key="name", question="what", label="name", takes="text, or one is made",
        meaning="What the run is called in lists. Left empty, a short one is made.",
    ),
    DraftField(
        key="cwd", question="how", label="folder", takes="a folder",
        meaning="Where the command runs. Relative paths in it start here. On another machine: a "
        "folder there, from / or ~ on; left empty, the copy of this one.",
    ),
    DraftField(
        key="env", question="how", label="environment", takes="NAME=VALUE …",
        meaning="Variables to set for the run; the shell's own are inherited. Values are recorded.",
    ),
    DraftField(
        key="secrets", question="how", label="secrets", takes="names of variables",
        meaning="Variables whose values are handed over and never recorded. They must be set in "
        "the shell that traindeck was started from.",
    ),
    DraftField(
        key="tags", question="how", label="tags", takes="word or name=value …",
        meaning="Words to find and group runs by.",
    ),
    DraftField(
        key="gpus", question="how", label="GPUs", default="0", takes=f"0 to {MAX_COUNT:,}",
        meaning="Devices that the run gets for itself.",
    ),
    DraftField(
        key="nodes", question="how", label="nodes", default="1", takes=f"1 to {MAX_COUNT:,}",
        meaning="How many nodes; each has the GPUs above and runs the command. torchrun is told "
        "what it must know to be one job over all of them.",
    ),
    DraftField(
        key="array", question="how", label="array", takes="0-7, 1,3,5 or 0-99%4",
        meaning="Many runs as one job array, one for each index, called NAME-I; with %4 behind, "
        "four run at once. Each finds its index as TRAINDECK_ARRAY_INDEX; a recipe's seed may be "
        "{index}.",
    ),
    DraftField(
        key="environment", question="how", label="runs inside",
        takes="a venv, conda:NAME, modules:A,B",
        meaning="The environment it executes in: a folder of a virtual environment or conda "
        "prefix, an interpreter, conda:NAME or modules:A,B, of the place it runs on. Left empty, "
        "what the place has; here, that of the shell.",
    ),
    DraftField(
        key="python", question="how", label="python", commands=False,
        takes="an interpreter, or it is looked for",
        meaning="The interpreter that has the training libraries.",
    ),
    DraftField(
        key="code", question="how", label="code", default="auto",
        choices=("auto", "here", "snapshot"), recipes=False,
        meaning="Run the code in place (here) or a copy made now (snapshot). auto copies it only "
        "if the run has to wait, or goes to another machine.",
    ),
    DraftField(
        key="pty", question="how", label="terminal", default=NO, choices=(NO, YES), recipes=False,
        meaning="Give its output a terminal; its input stays empty. The run then ends if its "
        "supervisor is killed.",
    ),
    DraftField(
        key="time", question="ends", label="time limit", takes="30m, 2h, 1d, or none",
        meaning="The run is stopped after so long.",
    ),
    DraftField(
        key="grace", question="ends", label="grace", takes="30s; else as set",
        meaning="Time between asking the run to end and killing it; empty for that of Settings.",
    ),
    DraftField(
        key="retries", question="ends", label="retries", default="0", takes=f"0 to {MAX_RETRIES}",
        meaning="How often a failed attempt is repeated.",
    ),
    DraftField(
        key="after", question="ends", label="after run", takes="names or ids of runs",
        meaning="Start when this run is over, or each of these.",
    ),
    DraftField(
        key="after_end", question="ends", label="after it", default="succeeded",
        choices=("succeeded", "is over"),
        meaning="Whether what comes before this one must have succeeded.",
    ),
    DraftField(
        key="background", question="ends", label="leave behind", default=NO, choices=(NO, YES),
        recipes=False,
        meaning="Leave processes that the command left in the background running after its end.",
    ),
    DraftField(
        key="on_exit", question="ends", label="on exit", takes="a command",
        meaning="A command that runs when the run is over, even if traindeck is closed.",
    ),
    DraftField(
        key="on_stall", question="ends", label="on stall", takes="T:CMD, as in 10m:notify",
        meaning="A command that runs when the log has not grown for so long.",
    ),
)  # fmt: skip
BY_KEY = {entry.key: entry for entry in FIELDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What was typed so far.

    Attributes:
        recipe: Name of the recipe; "" for a command line.
        like: Id of a run whose values the recipe starts from.
        preset: The recipe's preset, None for the one its file chose.
        values: Parameter -> text, of the recipe.
        fields: Field -> text; those that are not there have their default.
        on: The backend, or `auto` for the one that can take it.
        code_from: The folder here that the code of a run like this was taken from.
        made_name: The name that was made for an earlier draft of this form, so that it stays.
    """

    recipe: str = ""
    like: str = ""
    preset: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    on: str = "local"
    code_from: str = ""
    made_name: str = ""

    def text(self, key: str) -> str:
        """The text of a field, typed or its default."""
        return self.fields.get(key, BY_KEY[key].default if key in BY_KEY else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What there is to launch with: recipes by name, backends with their own options.

    Attributes:
        schedulers: The backends that have job arrays, and jobs on several nodes.
    """

    recipes: tuple[str, ...] = ()
    backends: Mapping[str, str] = field(default_factory=lambda: {"local": "process"})
    options: Mapping[str, Mapping[str, Option]] = field(default_factory=dict)
    schedulers: frozenset[str] = frozenset()
    cwd: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """What a draft comes to.

    Attributes:
        plan: What would be sent; None while something is wrong.
        array: The plans of all tasks, if it is a job array, of which `plan` is the first.
        problems: Field or parameter -> what is wrong with it. "" stands for the whole.
        form: The recipe's fields with their values.
        notes: Sentences about what was set without effect.
        offers: What the place's own options can be, as far as it has said.
    """

    plan: Plan | None = None
    array: tuple[Plan, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    form: Form | None = None
    recipe: Recipe | None = None
    notes: tuple[str, ...] = ()
    offers: Offers = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the run is called, or the array; "" without a plan."""
        if self.plan is None:
            return ""
        spec = self.plan.spec
        return spec.name if spec.array is None else spec.name.removesuffix(f"-{spec.array.index}")


# --------------------------------------------------------------------------------------- checking


def read_fields(draft: Draft, *, elsewhere: bool = False) -> tuple[dict[str, Any], dict[str, str]]:
    """The options of a launch request, and what is wrong, by field.

    The command of a recipe, the run to wait for and the tasks of an array are not among them: they
    need more than text.

    Args:
        elsewhere: It may go where the folders of this machine are not.
    """
    problems: dict[str, str] = {}
    found: dict[str, Any] = {"on": draft.on}
    if draft.code_from:
        found["code_from"] = draft.code_from

    def read(key: str, parse: Any) -> Any:
        entry = BY_KEY[key]
        if not (entry.recipes if draft.recipe else entry.commands):
            return None
        try:
            return parse(draft.text(key).strip())
        except UsageError as error:
            problems[key] = f"{error.what} {error.fix}".strip()
            return None

    found["argv"] = read("command", _command) or ()
    found["name"] = read("name", lambda text: check_name(text) if text else None)
    found["cwd"] = read("cwd", (lambda text: text or None) if elsewhere else _folder)
    found["environment"] = read("environment", lambda text: _environment(text, elsewhere)) or ""
    found["env"] = read("env", lambda text: parse_pairs(split_words(text), "environment")) or {}
    found["secrets"] = tuple(
        read("secrets", lambda text: split_words(text.replace(",", " "))) or ()
    )
    found["tags"] = read("tags", lambda text: parse_tags(split_words(text))) or {}
    found["gpus"] = read("gpus", lambda text: _count(text, 0, MAX_COUNT)) or 0
    found["nodes"] = read("nodes", lambda text: _count(text, 1, MAX_COUNT)) or 1
    read("array", lambda text: read_indices(text, "array") if text else None)
    found["code"] = read("code", lambda text: None if text == "auto" else text)
    found["pty"] = read("pty", lambda text: text == YES) or False
    found["time"] = read("time", _time)
    found["grace"] = read("grace", lambda text: parse_duration(text, "grace") if text else None)
    found["retries"] = read("retries", lambda text: _count(text, 0, MAX_RETRIES)) or 0
    found["keep_background"] = read("background", lambda text: text == YES) or False
    found["on_exit"] = read("on_exit", lambda text: command_words(text) if text else ()) or ()
    stall = read("on_stall", _stall)
    found["stall_after"], found["on_stall"] = stall or (None, ())
    found["options"] = {
        key.removeprefix(OPTION): text
        for key, text in draft.fields.items()
        if key.startswith(OPTION) and text
    }
    return found, problems


def _command(text: str) -> tuple[str, ...]:
    if not text:
        raise UsageError("There is no command yet.")
    return command_words(text)


def _no_shell(draft: Draft) -> tuple[str, ...]:
    """What to know of a command that looks as if a shell were to run it."""
    signs = () if draft.recipe else shell_signs(draft.text("command"))
    if not signs:
        return ()
    are = "is passed as it stands" if len(signs) == 1 else "are passed as they stand"
    return (f"no shell runs this: {' '.join(signs)} {are}; for a shell write bash -c '…'",)


def _folder(text: str) -> str | None:
    import os

    if not text:
        return None
    path = os.path.abspath(os.path.expanduser(text))
    if not os.path.isdir(path):
        raise UsageError(f"{path} is no folder.")
    return path


def _environment(text: str, elsewhere: bool) -> str:
    environment_named(text, local=not elsewhere)
    return text


def _count(text: str, low: int, high: int) -> int:
    if not text:
        return low
    if not (text.isascii() and text.isdecimal() and low <= int(text[:9]) <= high):
        raise UsageError(f"Expected a whole number from {low} to {high:,}.")
    return int(text)


def _time(text: str) -> float | None:
    return parse_duration(text, "time limit") if text and text != "none" else None


def _stall(text: str) -> tuple[float | None, tuple[str, ...]] | None:
    if not text:
        return None
    seconds, command = parse_stall(text, "on stall")
    return seconds, command_words(command)


async def check(ws: Workspace, draft: Draft, recipe: Recipe | None = None) -> Drafted:
    """What a draft comes to: the plan, or what is wrong, field by field. Starts nothing.

    Args:
        recipe: The draft's recipe (`draft_recipe`), read before; for a command None.

    Raises:
        Unreachable: The place does not answer.
    """
    drafted = await _check(ws, draft, recipe)
    return replace(drafted, offers=offered(ws.places, draft.on))


async def _check(ws: Workspace, draft: Draft, recipe: Recipe | None) -> Drafted:
    from traindeck.backends.errors import Unreachable
    from traindeck.console.recipes.resolving import RecipeError
    from traindeck.console.runs import choosing, launching
    from traindeck.console.runs.elsewhere import is_here

    auto = choosing.is_auto(ws, draft.on)
    if auto or not launching.has_arrays(ws, draft.on):
        draft = without_default(draft, "array", "")  # it waits for a place that has them
    elsewhere = auto or not is_here(ws, draft.on)
    options, problems = read_fields(draft, elsewhere=elsewhere)
    form: Form | None = None
    notes: tuple[str, ...] = ()
    tasks = draft.text("array").strip()
    if recipe is not None:
        from traindeck.console.recipes.describing import form as make_form
        from traindeck.console.runs.finetuning import INDEX, for_task

        values = dict(draft.values)
        if tasks:
            values = for_task(values, 0 if "array" in problems else read_indices(tasks).numbers[0])
        form = make_form(recipe, values, preset=draft.preset)
        problems |= dict(form.problems or {})
        if not tasks:
            why = f"{INDEX} stands for the index of a task: there is no array."
            problems |= {key: why for key, text in draft.values.items() if INDEX in text}
    if "secrets" not in problems:
        try:
            secret_values(options["secrets"], ws.environ)
        except UsageError as error:
            problems["secrets"] = f"{error.what} {error.fix}".strip()
    for name, text in options["options"].items():
        try:
            read_option(ws.backend(draft.on), name, text)
        except UsageError as error:
            problems[f"{OPTION}{name}"] = f"{error.what} {error.fix}".strip()
    waits_for = draft.text("after").strip()
    runs: list[RunRecord] = []
    if waits_for:
        try:
            runs = awaited(ws, [waits_for])
            for run in runs:
                if run.backend != draft.on and not auto:
                    problems["after"] = f"{run.name} is on {run.backend}, this would be elsewhere."
            options["after"] = tuple(run.id for run in runs)
            options["after_any"] = draft.text("after_end") != "succeeded"
        except UsageError as error:
            problems["after"] = str(error.what)
    if options["name"] is None and draft.made_name:
        options["name"] = draft.made_name
    only = {run.backend for run in runs} if waits_for and runs else None
    if not problems:
        try:
            if auto:
                make = _maker(ws, draft, recipe, options)
                plan = await choosing.plan(ws, make, only=only, notes=_no_shell(draft))
                return Drafted(plan=plan, form=form, recipe=recipe)
            if tasks:
                requests, notes = _requests_of(ws, draft, recipe, options, tasks)
                plans = await launching.plan_array(ws, requests, tasks, notes=_no_shell(draft))
                return Drafted(
                    plan=plans[0], array=tuple(plans), form=form, recipe=recipe, notes=notes
                )
            request, notes = request_of(ws, draft, recipe, options)
            plan = await launching.plan(ws, request, notes=_no_shell(draft))
            return Drafted(plan=plan, form=form, recipe=recipe, notes=notes)
        except Unreachable:
            raise
        except RecipeError as error:
            problems |= error.problems
        except UsageError as error:
            problems[""] = f"{error.what} {error.fix}".strip()
    return Drafted(problems=problems, form=form, recipe=recipe, notes=notes)


def _maker(
    ws: Workspace, draft: Draft, recipe: Recipe | None, options: Mapping[str, Any]
) -> Callable[[str], Awaitable[LaunchRequest]]:
    """Makes the request of a draft for one place or another."""

    async def make(name: str) -> LaunchRequest:
        return request_of(ws, replace(draft, on=name), recipe, {**options, "on": name})[0]

    return make


def request_of(
    ws: Workspace, draft: Draft, recipe: Recipe | None, options: Mapping[str, Any]
) -> tuple[LaunchRequest, tuple[str, ...]]:
    """The request of a draft, and notes about what was set without effect.

    Args:
        recipe: As for `check`.
        options: As of `read_fields`, with the run to wait for.

    Raises:
        RecipeError: What was set is wrong, by name.
    """
    if recipe is None:
        return LaunchRequest(**options), ()
    from traindeck.console.runs.finetuning import recipe_request

    more = {k: v for k, v in options.items() if k not in ("argv", "code")}
    python = draft.text("python").strip() or None
    return recipe_request(ws, recipe, draft.values, preset=draft.preset, python=python, **more)


def _requests_of(
    ws: Workspace, draft: Draft, recipe: Recipe | None, options: Mapping[str, Any], tasks: str
) -> tuple[list[LaunchRequest], tuple[str, ...]]:
    """`request_of` for each task of an array."""
    from traindeck.console.runs.finetuning import ALIKE, INDEX, for_task, varying

    numbers = read_indices(tasks).numbers
    if recipe is not None and varying(draft.values):
        made = [
            request_of(ws, replace(draft, values=for_task(draft.values, n)), recipe, options)
            for n in numbers
        ]
        return [request for request, _ in made], made[0][1]
    request, notes = request_of(ws, draft, recipe, options)
    if recipe is not None:
        notes = (*notes, f"{ALIKE}: {INDEX} in one of them, say the seed, tells them apart")
    return [request] * len(numbers), notes


# ---------------------------------------------------------------------------------------- filling


async def draft_recipe(ws: Workspace, draft: Draft) -> Recipe | None:
    """The recipe of a draft, with the values of the run it is like.

    Raises:
        UsageError: There is none of that name, its file is wrong, or the run's values do not fit.
    """
    if not draft.recipe:
        return None
    from traindeck.console.runs.finetuning import read_recipe

    if not draft.like:
        return read_recipe(ws, draft.recipe)
    from traindeck.console.recipes.reading import from_run
    from traindeck.console.runs.reading import read_spec

    run = ws.record(draft.like)
    spec = await read_spec(ws.reader(run.backend), run)
    return from_run(spec.recipe or {}, f"run {run.name}", ws.places.recipes)


def draft_of(spec: RunSpec, on: str, environ: Mapping[str, str]) -> Draft:
    """A draft that asks for what a run was made from. The name is left to be made anew, and it
    waits for no other: what that run waited for is over.

    Raises:
        UsageError: Nothing says how it was started, or what it was started with is not here.
    """
    if spec.adopted or not spec.argv:
        raise UsageError(f"{spec.name} was adopted, and how it was started is not known.")
    if spec.recipe is None and any(not path.startswith("code/") for path in spec.files):
        raise UsageError(f"{spec.name} carries files of its own, which are not here.")
    from traindeck.console.runs.capture import recorded_environ
    from traindeck.console.runs.request import asked_for, taken_from

    code_from = taken_from(spec) or ""
    apart = spec.code.mode == "here" and not spec.code.root  # nothing was sent along
    by_place = spec.environment or spec.environment_found or spec.code.mode == "snapshot"
    spec = asked_for(spec)
    usual, _ = recorded_environ(environ)
    # What is recorded of every run comes from the shell again; what differs was asked for.
    own = {k: v for k, v in spec.env.items() if _is_own(k, v, usual)}
    limits = spec.limits
    texts = {
        "cwd": spec.cwd,
        "environment": spec.environment,
        "env": shlex.join(f"{name}={value}" for name, value in sorted(own.items())),
        "secrets": " ".join(spec.secrets),
        "tags": tags_text(spec.tags),
        "gpus": str(spec.resources.gpus),
        "nodes": str(spec.resources.nodes),
        "time": "" if limits.time is None else _exact(limits.time),
        "grace": _exact(limits.grace),
        "retries": str(limits.retries),
        "on_exit": shlex.join(spec.on_exit),
        "on_stall": _stall_text(spec),
        **{f"{OPTION}{key}": option_text(value) for key, value in spec.options.items()},
    }
    recipe = ""
    if spec.recipe is not None:
        recipe = str(spec.recipe.get("recipe", ""))
        found = spec.argv[0] in ("python", "python3")  # there, by its environment
        texts["python"] = "" if found and by_place else spec.argv[0]
    else:
        texts["command"] = shlex.join(spec.argv)
        texts["code"] = "snapshot" if spec.code.mode == "snapshot" and not spec.after else "auto"
        texts["code"] = "here" if apart else texts["code"]
        texts["pty"] = YES if spec.pty else NO
        texts["background"] = YES if spec.keep_background else NO
    fields = {
        key: text
        for key, text in texts.items()
        if text != (BY_KEY[key].default if key in BY_KEY else "")
    }
    return Draft(
        recipe=recipe,
        like=spec.run_id if recipe else "",
        fields=fields,
        on=on,
        code_from=code_from,
    )


def _is_own(name: str, value: str, usual: Mapping[str, str]) -> bool:
    from traindeck.console.runs.capture import RECORDED

    if not RECORDED.fullmatch(name):
        return True
    return name.startswith(("CUDA_", "PYTHON")) and usual.get(name) != value


def _exact(seconds: float) -> str:
    if seconds == round(seconds):
        return write_duration(seconds)
    from decimal import Decimal

    return f"{Decimal(repr(seconds)):f}s"


def _stall_text(spec: RunSpec) -> str:
    if spec.stall_after is None or not spec.on_stall:
        return ""
    return f"{_exact(spec.stall_after)}:{shlex.join(spec.on_stall)}"


def ground(ws: Workspace) -> Ground:
    """What there is to launch with here. A backend that cannot be made has no options."""

    from traindeck.backends.errors import BackendError
    from traindeck.console.runs.choosing import AUTO
    from traindeck.console.runs.finetuning import recipe_names
    from traindeck.console.runs.launching import has_arrays

    options: dict[str, Mapping[str, Option]] = {}
    for name in ws.settings.backends:
        try:
            options[name] = dict(ws.backend(name).options_schema)
        except (UsageError, BackendError):
            continue
    backends = {name: entry.kind for name, entry in ws.settings.backends.items()}
    if len(backends) > 1:
        backends.setdefault(AUTO, "the first that can start it")
    return Ground(
        recipes=tuple(recipe_names(ws)),
        backends=backends,
        options=options,
        schedulers=frozenset(name for name in options if has_arrays(ws, name)),
        cwd=here(),
    )


def without_default(draft: Draft, key: str, text: str) -> Draft:
    """The draft with a field set; a text that says what holds anyhow is taken out again."""
    default = BY_KEY[key].default if key in BY_KEY else ""
    fields = {k: v for k, v in draft.fields.items() if k != key}
    if text != default:
        fields[key] = text
    return replace(draft, fields=fields)
