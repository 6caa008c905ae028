"""What a run needs before a scheduler is asked to start it: its directory, and nothing running. The
batch step claims the attempt."""

from . import Refused, evidence, layout, secrets, start, wire


def prepare(request, body):
    """The verb: what `start` does up to the claim, with the same refusals; any number of times. A
    generator."""
    run = layout.check_id(request.get("run_id"))
    attempt = layout.check_attempt(request.get("attempt", 0))
    record = wire.field(request, "run", dict)
    start.check_record(record)
    values = wire.field(request, "secrets", dict, {})
    start.check_variables(values)
    if layout.is_removed(run):
        raise Refused("Run %s was removed." % run)
    made = False
    claimed = layout.is_claimed(run, attempt)
    if not claimed:
        over = wire.field(request, "before_is_over", bool, False)
        made = yield from start.make_ready(run, attempt, request, body, record, values, over)
        names = start.secret_names(run)
        if names:
            try:
                secrets.keep(run, {name: values[name] for name in names})
            except Refused:
                if made:
                    start.unmake(run)
                raise
    elif attempt == 0:
        start.same_plan(run, record)
    return {
        "run_id": run,
        "attempt": attempt,
        "created": made,
        "claimed": claimed,
        "directory": layout.run_dir(run),
        "evidence": evidence.of_run(run, evidence.Look()),
    }


def forget(request, body):
    """The verb: the run is over for good, says the scheduler; its secrets need not be kept. Where
    the batch step was killed it could not do that itself."""
    run = layout.check_id(request.get("run_id"))
    secrets.drop(run)
    return {}
