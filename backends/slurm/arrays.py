"""What is sent for a job array: the first task whole, and of the others what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from traindeck.backends.arrays import PREFIX
from traindeck.backends.base import BackendError, Plan
from traindeck.backends.submission import to_send

LARGEST = 256 << 20
"""Bytes that the run directories of an array may hold together, its code apart."""


def index(plan: Plan) -> int:
    """Which task a plan is of."""
    return plan.spec.array.index if plan.spec.array is not None else -1


def to_send_all(
    plans: Sequence[Plan], secrets: Mapping[str, str] | None
) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes for `enqueue` (FORMAT.md §7).

    Raises:
        UsageError: A secret has no value (named).
        BackendError: The plans are not those of one array, or one was changed; they are too large.
    """
    first, *others = sorted(plans, key=index)
    numbers = [index(plan) for plan in plans]
    apart = not all(_alike(plan, first) for plan in others) or min(numbers) < 0
    if apart or first.spec.attempt or len(set(numbers)) < len(numbers):
        raise BackendError("These plans are not those of one array; they were not sent.")
    size = sum(blob.size for blob in first.files.values()) * len(plans)
    if size > LARGEST:
        raise BackendError(
            f"The files of {len(plans):,} tasks have {size >> 20:,} MiB together, more than the "
            f"{LARGEST >> 20} MiB that an array may have; it was not sent.",
            "Commit the code: its changes go along with each task.",
        )
    header, body = to_send(first, secrets)
    parts = [body]
    tasks = []
    for plan in others:
        mine, data = to_send(plan, secrets)
        own = []
        at = 0
        for entry in mine["files"]:
            end = at + int(entry.get("size", 0))
            if _is_own(str(entry["path"]), plan, first):
                own.append(entry)
                parts.append(data[at:end])
            at = end
        task = {"run_id": plan.spec.run_id, "index": index(plan), "run": mine["run"]}
        tasks.append({**task, "files": own})
    header["array"] = {"index": index(first), "others": tasks}
    return header, b"".join(parts)


def _alike(plan: Plan, first: Plan) -> bool:
    """Whether two plans can be tasks of one array: what Slurm is sent is the same for both."""
    indices = {one.spec.array.indices for one in (plan, first) if one.spec.array is not None}
    return (
        len(indices) == 1
        and plan.body == first.body
        and plan.files.keys() == first.files.keys()
        and plan.spec.run_id[:PREFIX] == first.spec.run_id[:PREFIX]
        and plan.spec.code.tree == first.spec.code.tree
    )


def _is_own(path: str, plan: Plan, first: Plan) -> bool:
    """Whether a file is another one than the first task's."""
    if path == "plan/plan.json":
        return True
    blob = plan.files.get(path)
    return blob is not None and blob.digest != first.files[path].digest
