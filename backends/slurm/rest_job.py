"""What slurmrestd is sent for a run: the same job that sbatch would be told of, as JSON.

The script differs: 0.0.38 dies of arguments to a script (`argv`), so that the program of the batch
step stands in it. Its words are paths of the agent, and each is quoted as sh wants it; nothing of
the user's is among them.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

from traindeck.backends.base import RunSpec, UsageError
from traindeck.backends.slurm import text
from traindeck.backends.slurm.listing import job_name

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What the batch step finds of an environment: there must be one, and nobody's profile is read."""


def script(program: tuple[str, ...]) -> str:
    """The batch step, as a script of two lines.

    Raises:
        UsageError: A path in it has a line break, of which a script can hold none.
    """
    if not all(word.isprintable() for word in program):
        raise UsageError("The folder of the runs has a name that no batch script can hold.")
    return f"#!/bin/sh\nexec {shlex.join(program)}\n"


def request(
    spec: RunSpec,
    options: Mapping[str, Any],
    version: int,
    *,
    home: str,
    program: tuple[str, ...],
    time: str | None,
    dependency: str | None,
) -> tuple[dict[str, Any], list[str]]:
    """(The body of `job/submit`, what it cannot say of the run).

    Raises:
        UsageError: An option that this version has no word for.
    """
    run_dir = f"{home}/runs/{spec.run_id}"
    nodes = spec.resources.nodes
    job: dict[str, Any] = {
        "name": job_name(spec.run_id, spec.attempt),
        "current_working_directory": run_dir,
        "standard_output": f"{run_dir}/batch.log",
        # As a list, 0.0.38 takes two nodes for one.
        "nodes": f"{nodes}-{nodes}",
        "tasks_per_node": 1,
        "requeue": bool(options.get("requeue")),
    }
    for key in ("partition", "account", "qos", "reservation"):
        if key in options:
            job[key] = options[key]
    if "constraint" in options:
        job["constraints"] = options["constraint"]
    if "cpus" in options:
        job["cpus_per_task"] = options["cpus"]
    older = version < 40
    if spec.resources.gpus:
        kind = options.get("gpu_kind")
        gpus = f"gpu:{f'{kind}:' if kind else ''}{spec.resources.gpus}"
        job["gres" if older else "tres_per_node"] = gpus if older else f"gres/{gpus}"
    if time is not None:
        job["time_limit"] = _number(math.ceil((text.duration(time) or 60.0) / 60.0), older)
    if "memory" in options:
        megabytes = text.megabytes(str(options["memory"]))
        if megabytes is None:
            raise UsageError(f"--option memory={options['memory']}: expected an amount, as 64G.")
        job["memory_per_node"] = _number(megabytes, older)
    if dependency:
        job["dependency"] = dependency
    words = script(program)
    unsaid = []
    if older:
        job |= {"environment": {"PATH": PATH}, "open_mode": "append"}
        if dependency:
            job["kill_on_invalid_dependency"] = True
        if "exclude" in options:
            job["exclude_nodes"] = options["exclude"]
        if options.get("exclusive"):
            raise UsageError(f"--option exclusive: slurmrestd v0.0.{version} cannot be told that.")
        if options.get("warn") and time is not None:
            unsaid.append(
                f"slurmrestd v0.0.{version} cannot have a job warned before its time limit: "
                "no USR2 is sent"
            )
        return {"script": words, "job": job}, unsaid
    job |= {"environment": [f"PATH={PATH}"], "open_mode": ["APPEND"], "script": words}
    if dependency:
        job["flags"] = ["KILL_INVALID_DEPENDENCY"]
    if "exclude" in options:
        job["excluded_nodes"] = list(text.nodes(str(options["exclude"])))
    if options.get("exclusive"):
        job["shared"] = ["none"]
    if options.get("warn"):
        job["kill_warning_signal"] = "USR2"
        job["kill_warning_delay"] = _number(int(options["warn"]), older)
        job["kill_warning_flags"] = ["BATCH_JOB"]
    return {"job": job}, unsaid


def _number(value: int, older: bool) -> Any:
    return value if older else {"set": True, "infinite": False, "number": value}
