"""How Slurm is asked: by its commands on the host (by_commands.py), or by slurmrestd (by_rest.py).

Both bring the same things, so that all that is made of them is one. What lies in the run directory
is never theirs: that is asked of the agent, in the same request where Slurm's commands are its to
run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from traindeck.backends.base import AgentChannel
from traindeck.backends.data import dataclass
from traindeck.backends.slurm.cluster import Cluster
from traindeck.backends.slurm.listing import Job, Listing

Send = Callable[[str, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""Asks the agent a verb with a submission's header, and its files beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What Slurm said to one question.

    Attributes:
        jobs: This user's jobs; None if it did not answer, and `why`; `late` if only not in time.
        waiting: The priorities of everybody's waiting jobs by partition, None if they were not
            asked for.
        min_job_age: How long it lists a job that is over, seconds; None if that is not known.
    """

    jobs: Listing | None = None
    why: str = ""
    late: bool = False
    waiting: Mapping[str, Sequence[int]] | None = None
    min_job_age: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What Slurm's accounting said of jobs.

    Attributes:
        kept: Whether there is one; `why` it did not answer, "" if it did.
        jobs: What it knows, by what was asked for.
    """

    kept: bool = False
    why: str = ""
    jobs: Mapping[str, Job] = field(default_factory=dict)


class Scheduler(Protocol):
    """Slurm, asked in one way.

    Attributes:
        what: Who takes submissions (`sbatch`): named in refusals, and in a plan for what is sent.
    """

    what: str

    async def checks(self) -> list[tuple[bool, str]]:
        """Lines for `backends check`, of this way of asking."""

    async def cluster(self, channel: AgentChannel, user: str) -> Cluster:
        """What the cluster is and offers.

        Raises:
            BackendError: It does not answer.
        """

    async def jobs(self, channel: AgentChannel) -> Told:
        """This user's jobs, however long that takes."""

    async def ask(
        self,
        channel: AgentChannel,
        verb: str,
        request: Mapping[str, Any],
        *,
        waiting: bool = False,
        within: float | None = None,
    ) -> tuple[dict[str, Any], Told]:
        """This user's jobs, and after that what the agent says to a verb (`poll`, `find`).

        Args:
            waiting: Whether the priorities of waiting jobs are wanted too.
            within: Seconds that Slurm gets; by default as many as it may need. With 0 it is not
                asked.
        """

    async def hand_over(
        self, channel: AgentChannel, send: Send, header: Mapping[str, Any], sent: Any
    ) -> dict[str, Any]:
        """Have an attempt submitted, once: what `enqueue` answers (FORMAT.md §7).

        Args:
            send: For the request that needs the run's files.
            sent: What the plan says is sent to Slurm.
        """

    async def details(self, channel: AgentChannel, numbers: Sequence[str]) -> dict[str, Job]:
        """More of jobs that are over and listed, by their numbers."""

    async def forgotten(self, channel: AgentChannel, jobs: Sequence[str]) -> Forgotten:
        """What the accounting has of jobs that are listed no more, by what names them (`12_3`).
        Without jobs: whether there is one."""

    async def end(self, channel: AgentChannel, jobs: Sequence[str]) -> str:
        """End jobs: TERM, then Slurm's own grace. Returns why that was refused, or ""."""

    async def end_waiting(self, channel: AgentChannel, array: str) -> str:
        """End what waits of an array, by its own number."""

    async def nudge(self, channel: AgentChannel, jobs: Sequence[str]) -> None:
        """Have the batch steps of jobs look for news (USR1), if that can be."""

    async def output(self, channel: AgentChannel, job: str) -> tuple[str, bool] | None:
        """(the file that a job writes to or "", whether it is over), None if it is not known."""

    async def address(self, channel: AgentChannel, node: str) -> str:
        """Where a node is reached from others of the cluster, "" if that is not known."""

    async def aclose(self) -> None:
        """Let go of what is kept open."""
