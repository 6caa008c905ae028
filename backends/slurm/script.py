"""What `sbatch` is given: a script that is the same for every run, and its argv.

The script only becomes the program that its arguments name, so there is nothing in it to quote, and
no line of it begins with #SBATCH: options are words of argv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from traindeck.backends.arrays import PREFIX, read_indices, task_id
from traindeck.backends.base import RunSpec
from traindeck.backends.slurm import options as given
from traindeck.backends.slurm.listing import array_name, job_name

PATH = "plan/batch.sh"
"""Where it lies in the run directory."""

TEXT = b"""\
#!/bin/sh
# The batch step: Traindeck's agent, which starts the job on the node and supervises it.
# What these signals mean it says itself, once it runs: until then they are not to end it.
trap '' USR1 USR2
exec "$@"
"""


def argv(
    spec: RunSpec,
    options: Mapping[str, Any],
    *,
    home: str,
    program: Sequence[str],
    time: str | None,
    dependency: str | None,
) -> tuple[str, ...]:
    """The argv of `sbatch` for one attempt; for the first ones of all tasks of an array."""
    run_dir = folder = f"{home}/runs/{spec.run_id}"
    output = f"{run_dir}/batch.log"
    named = [f"--job-name={job_name(spec.run_id, spec.attempt)}"]
    if in_array(spec):
        # The same words for all of them: sbatch is called once, and a task knows its index.
        array = spec.run_id[:PREFIX]
        first = read_indices(spec.array.indices).numbers[0] if spec.array else 0
        run_dir, folder = f"{home}/runs/{task_id(array, first)}", f"{home}/runs"
        output = f"{home}/runs/{array}%{12 - PREFIX}a/batch.log"
        named = [f"--job-name={array_name(spec.run_id)}"]
        named += [f"--array={spec.array.indices}"] if spec.array else []
    words = [
        "sbatch",
        "--parsable",
        *named,
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
        f"--output={output}",
        f"--chdir={folder}",
        f"{run_dir}/{PATH}",
        *program,
    ]
    return tuple(words)


def program(
    spec: RunSpec, *, home: str, python: str, agent: str, kill_wait: float | None
) -> tuple[str, ...]:
    """The argv of the batch step."""
    run = array_name(spec.run_id) if in_array(spec) else spec.run_id
    return (
        *(python, "-I", "-S", f"{home}/bin/agent-{agent}.py"),
        *("batch", run, str(spec.attempt)),
        *(() if kill_wait is None else (f"{kill_wait:g}",)),
    )


def in_array(spec: RunSpec) -> bool:
    """Whether an attempt is submitted with others, as an array. Another try of a task is a job by
    itself."""
    return spec.array is not None and spec.attempt == 0
