"""From a request to a job: plan, submit, retry, adopt.

The order of steps makes a run impossible to lose (DESIGN: submission is a journal): a journal entry
is on the disk before anything is sent, and goes away only when the annotations name the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from traindeck.backends.arrays import PREFIX
from traindeck.backends.base import (
    Adopt,
    Arrays,
    ArrayTask,
    Capability,
    JobRef,
    Plan,
    RunSpec,
    plan_digest,
    read_indices,
    task_id,
)
from traindeck.backends.encoding import encode
from traindeck.backends.errors import BackendError, Unreachable, UsageError
from traindeck.backends.states import State
from traindeck.console.runs.elsewhere import (
    default_environment,
    refuse_home,
    refuse_only_here,
    written_out,
)
from traindeck.console.runs.offering import note as note_offers
from traindeck.console.runs.options import read_options
from traindeck.console.runs.refreshing import enter, refresh
from traindeck.console.runs.request import (
    LaunchRequest,
    asked_for,
    build_spec,
    secret_values,
    taken_from,
)
from traindeck.console.runs.retrying import doubts, refusal, without_whom
from traindeck.console.runs.settling import note_submitted
from traindeck.console.runs.workspace import Workspace, refuse_id
from traindeck.console.store.annotations import refuse_unwritable
from traindeck.console.store.describe import describe
from traindeck.console.store.errors import StoreError
from traindeck.console.store.ids import mint_array, mint_id, mint_name
from traindeck.console.store.journal import Submission
from traindeck.console.store.records import RunRecord

ENDING = 5.0
"""Seconds that a retry waits for the end of a run that is ending."""


async def plan(
    ws: Workspace, request: LaunchRequest, *, notes: Sequence[str] = (), chosen: str = ""
) -> Plan:
    """Everything that a launch would send, with its warnings. Starts nothing.

    Args:
        notes: What is worth a warning in how the request was typed.
        chosen: Why its place was chosen, if nobody named it.

    Raises:
        UsageError: The request makes no sense, or the place can never do it.
        Unreachable: The place does not answer.
    """
    return (await _plans(ws, [request], (), notes=notes, chosen=chosen))[0]


async def plan_array(
    ws: Workspace,
    requests: Sequence[LaunchRequest],
    indices: str,
    *,
    notes: Sequence[str] = (),
) -> list[Plan]:
    """The plans of all tasks of an array.

    Args:
        requests: One for each index, ascending; they differ in no more than the command, the files
            that it brings and the recipe.
        indices: As of `read_indices`.
        notes: As of `plan`.

    Raises:
        UsageError: As `plan`; or the place has no arrays.
        Unreachable: The place does not answer.
    """
    tasks = [ArrayTask(index=n, indices=indices) for n in read_indices(indices).numbers]
    return await _plans(ws, requests, tasks, notes=notes)


def has_arrays(ws: Workspace, on: str) -> bool:
    """Whether a place takes many runs at once as one job array. False of one that there is not."""
    try:
        return isinstance(ws.backend(on), Arrays)
    except (UsageError, BackendError):
        return False


def refuse_array(ws: Workspace, on: str) -> None:
    """Refuse an array where there are none.

    Raises:
        UsageError: There are none at that place.
    """
    if not isinstance(ws.backend(on), Arrays):
        raise UsageError(
            f"--array: {on} has no job arrays.",
            "Name a Slurm cluster with --on, or start the runs one by one.",
        )


async def _plans(
    ws: Workspace,
    requests: Sequence[LaunchRequest],
    tasks: Sequence[ArrayTask],
    *,
    notes: Sequence[str] = (),
    chosen: str = "",
) -> list[Plan]:
    """The plan of a run, or of each task of an array. The place is asked once."""
    request = requests[0]
    backend = ws.backend(request.on)
    if tasks:
        refuse_array(ws, request.on)
    grace = ws.settings.grace if request.grace is None else request.grace
    asked = request.environment
    request = replace(
        request,
        options=read_options(backend, request.options),
        grace=grace,
        environment=asked or default_environment(ws, request.on),
    )
    refuse_id(ws, request.name)
    run_id = mint_id()
    called = name = request.name or mint_name(ws.index.has_name)
    if tasks:
        letters = mint_array(lambda text: ws.index.begins_id(text) is not None)
        run_id, name = task_id(letters, tasks[0].index), f"{called}-{tasks[0].index}"
    taken = request.name is not None and ws.index.has_name(name)
    # On a thread: a snapshot looks at ten thousand files.
    spec, found = await asyncio.to_thread(
        build_spec,
        request,
        run_id=run_id,
        name=name,
        now=ws.clock(),
        environ=ws.environ,
        place=backend.capabilities,
        memory=ws.places.snapshots,
    )
    notes = (*notes, *found)
    if taken:
        notes = (*notes, f"there is a run called {name} already; only the ids tell them apart")
    far = Capability.HERE not in backend.capabilities
    there = set(written_out(spec.argv).values() if far else ()) - {*spec.reads}
    facts = await backend.survey(replace(spec, reads=(*spec.reads, *sorted(there))))
    if not asked:  # that of the place's settings was found there: a run like it has that of its own
        spec = replace(spec, environment="")
    note_offers(ws.places, request.on, facts.offers)
    if far:
        notes = (*notes, *refuse_home(spec, facts, request.on))
        facts = replace(facts, missing=tuple(path for path in facts.missing if path not in there))
        refuse_only_here(spec, facts, request.on)
    specs = [
        replace(
            spec,
            run_id=task_id(run_id[:PREFIX], task.index),
            name=f"{called}-{task.index}",
            array=task,
            argv=own.argv,
            files={**spec.files, **own.files},
            recipe=own.recipe,
        )
        for task, own in zip(tasks, requests if tasks else (), strict=True)
    ]
    plans = []
    for one in specs or [spec]:
        plans.append(backend.plan(one, facts))
        await asyncio.sleep(0)  # of a thousand tasks that is half a second, and others wait
    if notes or chosen:
        for at, made in enumerate(plans):
            place = chosen or made.place
            made = replace(made, place=place, warnings=(*made.warnings, *notes))
            plans[at] = replace(made, digest=plan_digest(made))
    return plans


async def launch(ws: Workspace, made: Plan, *, briefly: bool = False) -> RunRecord:
    """Send a plan. Returns when the executing side has claimed it.

    Args:
        briefly: For a caller that only names the run: see `refresh`.

    Raises:
        UsageError, BackendError: It was refused; nothing runs and nothing is left behind.
        Unreachable: It may or may not have arrived. The next command finds out.
    """
    secrets = secret_values(made.spec.secrets, ws.environ)
    refuse_unwritable(ws.places.annotations)
    backend = ws.backend(made.backend)
    spec = made.spec
    submission = ws.journal.begin(
        run_id=spec.run_id,
        attempt=spec.attempt,
        backend=made.backend,
        plan_digest=made.digest,
        spec=encode(spec),
    )
    # Dated before it is sent, so that what its place says meanwhile is the newer word.
    new = _new(ws, made)
    if spec.attempt == 0:
        try:
            ws.index.put(new)
        except StoreError:
            ws.journal.remove(submission)  # nothing was sent
            raise
    try:
        ref = await backend.submit(made, secrets)
    except Unreachable as error:
        raise Unreachable(
            error.what,
            f"Whether run {spec.run_id} was started is not known; the next command finds out.",
        ) from None
    except (UsageError, BackendError):
        if not await backend.find([(spec.run_id, spec.attempt)]):
            _forget(ws, submission)
            raise
        ref = JobRef(backend=made.backend, run_id=spec.run_id, attempt=spec.attempt)
    # Not before: until the attempt is claimed, the one before it is what there is.
    _note(ws, submission, ref, new)
    return await _seen(ws, ref, briefly=briefly)


async def launch_array(ws: Workspace, plans: Sequence[Plan]) -> list[RunRecord]:
    """Send the plans of an array, all of them or none.

    Raises:
        UsageError, BackendError, Unreachable: As `launch`.
    """
    first = plans[0]
    secrets = secret_values(first.spec.secrets, ws.environ)
    refuse_unwritable(ws.places.annotations)
    backend = ws.backend(first.backend)
    assert isinstance(backend, Arrays)
    submissions: list[Submission] = []
    try:
        for made in plans:
            submissions.append(
                ws.journal.begin(
                    run_id=made.spec.run_id,
                    attempt=0,
                    backend=made.backend,
                    plan_digest=made.digest,
                    spec=encode(made.spec),
                )
            )
        ws.index.put_many([_new(ws, made) for made in plans])
    except StoreError:
        for submission in submissions:
            ws.journal.remove(submission)  # nothing was sent
        raise
    keys = [(made.spec.run_id, 0) for made in plans]
    try:
        refs = await backend.submit_array(plans, secrets)
    except Unreachable as error:
        raise Unreachable(
            error.what,
            f"Whether the array of {first.spec.name} was started is not known; the next command "
            "finds out.",
        ) from None
    except (UsageError, BackendError):
        there = {ref.run_id: ref for ref in await backend.find(keys)}
        if not there:
            for submission in submissions:
                _forget(ws, submission)
            raise
        refs = [there.get(run, JobRef(backend=first.backend, run_id=run)) for run, _ in keys]
    ws.index.keep_in_memory_if_full()
    names = (made.spec.name for made in plans)
    try:
        note_submitted(ws, list(zip(submissions, refs, names, strict=True)))
    except StoreError as error:
        ws.tell(f"{len(refs)} runs were started; a later command notes them. {error.what}")
    ids = [made.spec.run_id for made in plans]
    await refresh(ws, [run for run_id in ids if (run := ws.index.get(run_id))], max_age=0.0)
    return [run for run_id in ids if (run := ws.index.get(run_id))]


async def retry(ws: Workspace, run: RunRecord) -> Plan:
    """The plan of a run's next attempt: what was sent before, with the attempt counted up.

    Raises:
        UsageError: The run is not over, is foreign, or was adopted; one that it waits for is gone.
        BackendError: Its directory is gone.
    """
    from traindeck.console.runs.reading import read_spec

    if run.active:
        run = await _at_its_end(ws, run)
    if (refused := refusal(run)) is not None:
        raise refused
    spec = await read_spec(ws.backend(run.backend), run)
    if (refused := refusal(replace(run, adopted=spec.adopted, argv=spec.argv))) is not None:
        raise refused  # an index of before does not know
    awaited = () if spec.after_any else spec.after
    if gone := next((one for one in awaited if ws.index.get(one) is None), None):
        raise without_whom(run, gone)
    spec = replace(spec, attempt=run.attempt + 1)
    made = Plan(
        backend=run.backend,
        spec=spec,
        argv=spec.argv,
        env=dict(spec.env),
        warnings=doubts(run),
    )
    return replace(made, digest=plan_digest(made))


async def _at_its_end(ws: Workspace, run: RunRecord) -> RunRecord:
    """The run as it is now; one that is ending, when it has, if that does not take long."""
    from traindeck.console.runs.controlling import watch

    with suppress(TimeoutError):
        async with asyncio.timeout(ENDING):
            async for seen in watch(ws, run.id):
                run = seen
                if run.state is not State.STOPPING:
                    break
    return run


async def again(ws: Workspace, run: RunRecord, env: Mapping[str, str]) -> Plan:
    """The plan of a new run like this one, with some variables more.

    Args:
        env: Set in addition to, or instead of, what was recorded of its environment.

    Raises:
        UsageError: The run is foreign, was adopted, or carries files that are not here any more.
        BackendError: Its directory is gone, or its place refuses the plan.
    """
    from traindeck.console.runs.reading import read_spec

    if run.foreign:
        raise UsageError(f"{run.id} was not started by Traindeck, so it cannot be started again.")
    old = asked_for(sent := await read_spec(ws.backend(run.backend), run))
    if old.adopted or not old.argv:
        raise UsageError(f"{run.name} was adopted, not launched; it cannot be started again.")
    if old.recipe is not None or any(not path.startswith("code/") for path in old.files):
        raise UsageError(
            f"{run.name} carries files of its own, which are not here.",
            "Launch it again with changes instead.",
        )
    request = LaunchRequest(
        argv=old.argv,
        run_dir_words=old.run_dir_words,
        on=run.backend,
        name=run.name,
        cwd=old.cwd,
        code_from=taken_from(sent),
        environment=sent.environment or sent.environment_found,
        needs=old.needs or None,
        reads=old.reads,
        env={**old.env, **env},  # the same interpreter and libraries as then
        secrets=old.secrets,
        tags=run.tags,
        gpus=old.resources.gpus,
        nodes=old.resources.nodes,
        options=old.options,
        time=old.limits.time,
        grace=old.limits.grace,
        retries=old.limits.retries,
        code=old.code.mode or None,
        pty=old.pty,
        keep_background=old.keep_background,
        on_exit=old.on_exit,
        on_stall=old.on_stall,
        stall_after=old.stall_after,
    )
    return await plan(ws, request)


async def adopt(
    ws: Workspace, pid: int, *, on: str, name: str | None, tags: Mapping[str, str]
) -> RunRecord:
    """Watch a process that already runs as a run of its own.

    Raises:
        UsageError: The backend cannot adopt, or there is no such process of the user's.
    """
    from traindeck.console.runs.reading import read_spec_of

    backend = ws.backend(on)
    if not isinstance(backend, Adopt):
        raise UsageError(f"{on} cannot adopt processes.")
    if pid <= 1:
        raise UsageError(
            f"{pid} is no process that can be adopted.",
            "Give the process id of a program of yours, as `ps` prints it.",
        )
    refuse_id(ws, name)
    refuse_unwritable(ws.places.annotations)
    spec = RunSpec(
        run_id=mint_id(),
        name=name or mint_name(ws.index.has_name),
        tags=dict(tags),
        adopted=True,
        created=ws.clock(),
    )
    submission = ws.journal.begin(
        run_id=spec.run_id, attempt=0, backend=on, plan_digest="", spec=encode(spec)
    )
    try:
        ref = await backend.adopt(spec, pid)
    except Unreachable as error:
        raise Unreachable(
            error.what,
            f"Whether process {pid} is watched now is not known; the next command finds out.",
        ) from None
    except (UsageError, BackendError):
        ws.journal.remove(submission)
        raise
    _note(ws, submission, ref, describe(await read_spec_of(backend, ref), on))
    return await _seen(ws, ref)


def _new(ws: Workspace, made: Plan) -> RunRecord:
    """The run as it is now: new. For as long as its place may take to show it, it is not gone."""
    return replace(describe(made.spec, made.backend), observed_at=ws.clock())


def _note(ws: Workspace, submission: Submission, ref: JobRef, run: RunRecord) -> None:
    """Note what was started. Where that cannot be noted it is told, not refused: it runs, and what
    looks like a launch that failed is started twice. The journal entry stays for the next command.
    """
    ws.index.keep_in_memory_if_full()
    try:
        if ref.attempt or run.adopted:
            ws.index.put(run)
        note_submitted(ws, [(submission, ref, run.name)])
    except StoreError as error:
        ws.tell(f"Run {ref.run_id} was started; a later command notes it. {error.what}")


async def _seen(ws: Workspace, ref: JobRef, *, briefly: bool = False) -> RunRecord:
    """The run after a first look: it may be over already, with its reason and its metrics."""
    run = ws.index.get(ref.run_id)
    assert run is not None
    if ref.seen is not None:
        await enter(ws, ws.backend(ref.backend), [run], {run.id: ref.seen}, briefly=briefly)
        run = ws.index.get(ref.run_id) or run
    if ref.seen is None or run.state is State.NEW:  # or others have looked meanwhile
        await refresh(ws, [run], max_age=0.0, briefly=briefly)
    return ws.index.get(run.id) or run


def _forget(ws: Workspace, submission: Submission) -> None:
    if submission.attempt == 0:
        ws.index.delete([submission.run_id])
    ws.journal.remove(submission)
