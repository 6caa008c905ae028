"""What a job waits for: runs of ours, jobs that were submitted by hand, and those that Slurm's own
words in the option `dependency` name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from traindeck.backends.base import RunSpec, State, UsageError
from traindeck.backends.slurm import reading
from traindeck.backends.slurm.listing import Job, Listing
from traindeck.backends.slurm.reading import Heard
from traindeck.backends.status import Evidence

OPTION = "dependency"
_JOB = r"\d{1,20}(?:_(?:\d{1,9}|\*))?(?:\+\d{1,9})?"
_TERM = rf"(?:after|afterany|afternotok|afterok|aftercorr|afterburstbuffer)(?::{_JOB})+|singleton"
_WHOLE = re.compile(rf"(?:{_TERM})(?:(?:,(?:{_TERM}))*|(?:\?(?:{_TERM}))*)")
_NUMBER = re.compile(r"(?<=:)(\d+(?:_\d+)?)")
_NATIVE = re.compile(r"\d{1,20}(?:_\d{1,9})?")


def wrong(text: str) -> str:
    """What is wrong with a value of the option, "" if nothing."""
    if _WHOLE.fullmatch(text):
        return ""
    return "expected Slurm's words, as afterok:123 or afterany:123:124"


def placed(name: str, spec: RunSpec) -> RunSpec:
    """The same with what `after` names of jobs that are no runs (`lab:123`) in the option: the run
    directory of such a one cannot be looked for.

    Raises:
        UsageError: One is not a job of this place.
    """
    jobs = []
    for one in spec.after:
        place, colon, number = one.rpartition(":")
        if not colon:
            continue
        if place != name or not _NATIVE.fullmatch(number):
            raise UsageError(f"{one} is no job of `{name}` that can be waited for.")
        jobs.append(number)
    if not jobs:
        return spec
    word = ":".join(["afterany" if spec.after_any else "afterok", *jobs])
    given = spec.options.get(OPTION)
    options = {**spec.options, OPTION: f"{given},{word}" if given else word}
    return replace(spec, after=tuple(one for one in spec.after if ":" not in one), options=options)


def named(options: Mapping[str, Any]) -> list[str]:
    """The jobs that the option names, each once."""
    return list(dict.fromkeys(_NUMBER.findall(str(options.get(OPTION, "")))))


def check(options: Mapping[str, Any], jobs: Mapping[str, Job], name: str) -> None:
    """Refuse to wait for what is not there: Slurm would take it for fulfilled, and start at once.

    Args:
        jobs: Those of `named` that Slurm knows.

    Raises:
        UsageError: One is not known, or its success is waited for and it did not succeed.
    """
    text = str(options.get(OPTION, ""))
    for number in named(options):
        job = jobs.get(number)
        if job is None:
            raise UsageError(
                f"`{name}` knows no job {number} (any more), so nothing can wait for it.",
                f"See what there is with: traindeck ls --all backend:{name}",
            )
        failed = job.over and job.state is not State.SUCCEEDED
        if failed and re.search(rf"afterok(?::{_JOB})*:{number}(?![\d_])", text):
            raise UsageError(
                f"Job {number}, which is to be waited for, did not succeed ({job.word}).",
                "Use --after-any to start whatever its end was.",
            )


def of_runs(spec: RunSpec, heard: Heard, evidence: Mapping[str, Evidence]) -> dict[str, str | None]:
    """The number of the Slurm job of each run that is waited for; "" for one that need not be
    waited for any more, None for one that has ended badly and is known to Slurm no more."""
    jobs = heard.jobs or Listing()
    found: dict[str, str | None] = {}
    for run, seen in evidence.items():
        job = reading.job_of(jobs.of_run(run), seen)
        if not seen.found:
            continue
        record = seen.exit if seen.exit is not None and seen.exit.next is None else None
        good = record is not None and record.cause == "self" and record.exit_code == 0
        over = record is not None or seen.word is not None or job is None
        if good or (over and spec.after_any):
            found[run] = ""
        elif job is not None:
            found[run] = job.number  # if it has failed, Slurm sees that too
        else:
            found[run] = None
    return found


def word(
    spec: RunSpec, options: Mapping[str, Any], depends: Mapping[str, str | None]
) -> str | None:
    """What `--dependency` says.

    Raises:
        UsageError: A run that is waited for did not succeed, or both cannot be said together.
    """
    for run in spec.after:
        if run in depends and depends[run] is None:
            raise UsageError(
                f"Run {run}, which is to be waited for, did not succeed.",
                "Use --after-any to start whatever its end was.",
            )
    numbers = [number for run in spec.after if (number := depends.get(run))]
    terms = [":".join(["afterany" if spec.after_any else "afterok", *numbers])] if numbers else []
    if given := str(options.get(OPTION, "")):
        if "?" in given and terms:
            raise UsageError(
                f"--option dependency={given}: its `?` cannot be joined with --after.",
                "Name all jobs in one of the two.",
            )
        terms.append(given)
    return ",".join(terms) or None
