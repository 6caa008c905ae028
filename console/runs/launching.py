"""From a request to a job: plan, submit, retry, adopt; and settling what a crash left half done.

The order of steps makes a run impossible to lose (DESIGN: submission is a journal): a journal entry
is on the disk before anything is sent, and goes away only when the annotations name the job. A
submission whose process died is settled by whatever command comes next, by asking the place; it is
never sent again by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from traindeck.backends.base import (
    Adopt,
    Backend,
    BackendError,
    Files,
    JobRef,
    Plan,
    RunSpec,
    State,
    Status,
    Unreachable,
    UsageError,
    decode,
    encode,
    plan_digest,
)
from traindeck.console.runs.request import LaunchRequest, build_spec, secret_values
from traindeck.console.runs.workspace import Workspace, ref_of
from traindeck.console.store.annotations import Annotation, append
from traindeck.console.store.describe import describe
from traindeck.console.store.ids import mint_id, mint_name
from traindeck.console.store.journal import Submission
from traindeck.console.store.records import RunRecord

NOT_SENT = "not sent: the launcher died"

_RUN_FILE_LIMIT = 4 << 20


async def plan(ws: Workspace, request: LaunchRequest) -> Plan:
    """Everything that a launch would send, with its warnings. Starts nothing.

    Raises:
        UsageError: The request makes no sense, or the place can never do it.
        Unreachable: The place does not answer.
    """
    backend = ws.backend(request.on)
    run_id = mint_id()
    name = request.name or mint_name(ws.index.has_name)
    spec, notes = build_spec(request, run_id=run_id, name=name, now=ws.clock(), environ=ws.environ)
    facts = await backend.survey(spec)
    made = backend.plan(spec, facts)
    if notes:
        made = replace(made, warnings=(*made.warnings, *notes))
        made = replace(made, digest=plan_digest(made))
    return made


async def launch(ws: Workspace, made: Plan) -> RunRecord:
    """Send a plan. Returns when the executing side has claimed it.

    Raises:
        UsageError, BackendError: It was refused; nothing runs and nothing is left behind.
        Unreachable: It may or may not have arrived. The next command finds out.
    """
    secrets = secret_values(made.spec.secrets, ws.environ)
    backend = ws.backend(made.backend)
    spec = made.spec
    submission = ws.journal.begin(
        run_id=spec.run_id,
        attempt=spec.attempt,
        backend=made.backend,
        plan_digest=made.digest,
        spec=encode(spec),
    )
    ws.index.put(describe(spec, made.backend))
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
    _settled(ws, submission, ref, spec.name)
    statuses = await backend.poll([ref])
    ws.index.update_status(spec.run_id, statuses[ref])
    run = ws.index.get(spec.run_id)
    assert run is not None
    return run


async def retry(ws: Workspace, run: RunRecord) -> Plan:
    """The plan of a run's next attempt: what was sent before, with the attempt counted up.

    Raises:
        UsageError: The run is not over, is foreign, or was adopted.
        BackendError: Its directory is gone.
    """
    if run.foreign:
        raise UsageError(f"{run.id} was not started by Traindeck, so it cannot be retried.")
    if run.active:
        raise UsageError(
            f"{run.name} is {run.state}, not over.", f"Stop it first: traindeck stop {run.id}"
        )
    spec = await read_spec(ws.backend(run.backend), run)
    if not spec.argv:
        raise UsageError(f"{run.name} was adopted, not launched; there is nothing to retry.")
    spec = replace(spec, attempt=run.attempt + 1)
    made = Plan(backend=run.backend, spec=spec, argv=spec.argv, env=dict(spec.env))
    return replace(made, digest=plan_digest(made))


async def adopt(
    ws: Workspace, pid: int, *, on: str, name: str | None, tags: Mapping[str, str]
) -> RunRecord:
    """Watch a process that already runs as a run of its own.

    Raises:
        UsageError: The backend cannot adopt, or there is no such process of the user's.
    """
    backend = ws.backend(on)
    if not isinstance(backend, Adopt):
        raise UsageError(f"{on} cannot adopt processes.")
    if pid <= 1:
        raise UsageError(f"{pid} is no process that can be adopted.")
    spec = RunSpec(
        run_id=mint_id(),
        name=name or mint_name(ws.index.has_name),
        tags=dict(tags),
        created=ws.clock(),
    )
    submission = ws.journal.begin(
        run_id=spec.run_id, attempt=0, backend=on, plan_digest="", spec=encode(spec)
    )
    try:
        ref = await backend.adopt(spec, pid)
    except (UsageError, BackendError):
        ws.journal.remove(submission)
        raise
    ws.index.put(describe(await read_spec_of(backend, ref), on))
    _settled(ws, submission, ref, spec.name)
    statuses = await backend.poll([ref])
    ws.index.update_status(spec.run_id, statuses[ref])
    run = ws.index.get(spec.run_id)
    assert run is not None
    return run


async def settle(ws: Workspace) -> None:
    """Find out what became of submissions whose process died. Cheap when there are none."""
    if not ws.places.journal.is_dir():
        return
    for orphan in ws.journal.orphans():
        names = [orphan.backend] if orphan.backend else sorted(ws.settings.backends)
        try:
            backends = [ws.backend(name) for name in names]
            found = [await _find(backend, orphan) for backend in backends]
        except BackendError as error:
            # The entry stays an orphan.
            ws.tell(f"Run {orphan.run_id} cannot be settled yet: {error.what}")
            continue
        ref = next((ref for ref in found if ref is not None), None)
        longest = max((backend.settle for backend in backends), default=0.0)
        if ref is None and 0 <= ws.clock() - orphan.begun < longest:
            continue  # what was sent may still be on its way: not found means not yet
        claimed = ws.journal.claim(orphan)
        if claimed is not None:
            _settle_one(ws, claimed, ref)


async def read_spec(backend: Backend, run: RunRecord) -> RunSpec:
    """The spec a run was made from, out of its run directory.

    Raises:
        BackendError: The directory is gone, or the backend keeps none.
    """
    return await read_spec_of(backend, ref_of(run))


async def read_spec_of(backend: Backend, ref: JobRef) -> RunSpec:
    """`read_spec` by reference."""
    import json

    if not isinstance(backend, Files):
        raise BackendError(f"{backend.name} keeps no run directory to read from.")
    data = await backend.read_file(ref, "run.json", 0, _RUN_FILE_LIMIT)
    try:
        return decode(RunSpec, json.loads(data)["spec"])
    except (ValueError, KeyError, TypeError) as error:
        raise BackendError(f"run.json of run {ref.run_id} cannot be read: {error}.") from None


async def _find(backend: Backend, submission: Submission) -> JobRef | None:
    found = await backend.find([(submission.run_id, submission.attempt)])
    return found[0] if found else None


def _settle_one(ws: Workspace, submission: Submission, ref: JobRef | None) -> None:
    try:
        spec = decode(RunSpec, submission.spec)
    except ValueError:
        spec = RunSpec(run_id=submission.run_id, created=submission.begun)
    if not spec.run_id:
        spec = replace(spec, run_id=submission.run_id)
    record = describe(spec, ref.backend if ref else submission.backend or "local")
    ws.index.put(record)
    if ref is not None:
        _settled(ws, submission, ref, spec.name)
        return
    ws.index.update_status(
        submission.run_id,
        Status(
            state=State.FAILED,
            observed_at=ws.clock(),
            attempt=submission.attempt,
            reason=NOT_SENT,
            ended=submission.begun,
        ),
    )
    ws.journal.remove(submission)


def _settled(ws: Workspace, submission: Submission, ref: JobRef, name: str) -> None:
    submission = ws.journal.submitted(submission, ref.native_id)
    line = Annotation(
        run_id=ref.run_id,
        time=ws.clock(),
        backend=ref.backend,
        native_id=ref.native_id,
        attempt=ref.attempt,
        submitted_as=name,
    )
    append(ws.places.annotations, [line])
    ws.index.catch_up(ws.places.annotations)
    ws.journal.remove(submission)


def _forget(ws: Workspace, submission: Submission) -> None:
    if submission.attempt == 0:
        ws.index.delete([submission.run_id])
    ws.journal.remove(submission)
