"""What `sbatch` is given: a script that is the same for every run, and its argv.

The script only becomes the program that its arguments name, so there is nothing in it to quote, and
no line of it begins with #SBATCH: options are words of argv.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traindeck.backends.base import RunSpec
from traindeck.backends.slurm import options as given
from traindeck.backends.slurm.listing import job_name

PATH = "plan/batch.sh"
"""Where it lies in the run directory."""

TEXT = b"""\
#!/bin/sh
# The batch step: Traindeck's agent, which starts the job on the node and supervises it.
exec "$@"
"""


def argv(
    spec: RunSpec,
    options: Mapping[str, Any],
    *,
    home: str,
    python: str,
    agent: str,
    time: str | None,
    dependency: str | None,
    kill_wait: float | None = None,
) -> tuple[str, ...]:
    """The argv of `sbatch` for one attempt."""
    run_dir = f"{home}/runs/{spec.run_id}"
    words = [
        "sbatch",
        "--parsable",
        f"--job-name={job_name(spec.run_id, spec.attempt)}",
        f"--nodes={spec.resources.nodes}",
        "--ntasks-per-node=1",
    ]
    if spec.resources.gpus:
        kind = options.get("gpu_kind")
        words.append(f"--gres=gpu:{f'{kind}:' if kind else ''}{spec.resources.gpus}")
    if time is not None:
        words.append(f"--time={time}")
    words += given.words(options)
    if dependency:
        words += [f"--dependency={dependency}", "--kill-on-invalid-dep=yes"]
    if options.get("warn"):
        words.append(f"--signal=B:USR2@{options['warn']}")
    words += [
        "--requeue" if options.get("requeue") else "--no-requeue",
        # What the command has of an environment, which is little (commands.KEEP), and nothing of
        # the user's profile: that would be asked for on the node, and may fail there.
        "--export=ALL",
        "--open-mode=append",
        f"--output={run_dir}/batch.log",
        f"--chdir={run_dir}",
        f"{run_dir}/{PATH}",
        # The program of the batch step.
        *(python, "-I", "-S", f"{home}/bin/agent-{agent}.py"),
        *("batch", spec.run_id, str(spec.attempt)),
        *(() if kill_wait is None else (f"{kill_wait:g}",)),
    ]
    return tuple(words)
