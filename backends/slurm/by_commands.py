"""Slurm asked by its commands, which the agent runs on the host: several in one request, and with
the run directories in the same one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from traindeck.backends.base import AgentChannel, BackendError
from traindeck.backends.errors import excerpt
from traindeck.backends.slurm import commands, listing, reading, survey, text
from traindeck.backends.slurm.cluster import Cluster, Config, config
from traindeck.backends.slurm.listing import Job, Listing
from traindeck.backends.slurm.scheduler import Forgotten, Send, Told

AT_ONCE = 16
"""Commands in one request."""


def _listed(said: commands.Said) -> tuple[Listing | None, str]:
    """The jobs that squeue lists, or why they are not known."""
    if not said.ok:
        return None, said.why
    listing = Listing(said.out)
    if not listing.readable:
        # A wrapper of the site's that says something else: nobody may be called gone for that.
        return None, f"squeue printed no list of jobs: {excerpt(text.one_line(said.out))}"
    return listing, ""


class ByCommands:
    """See `Scheduler`.

    Args:
        name: Of the backend.
        paths: Folders to look for the commands in, after PATH.
    """

    what = "sbatch"

    def __init__(self, name: str, paths: Sequence[str]) -> None:
        self._name = name
        self._paths = tuple(paths)
        self._config: Config | None = None

    @property
    def _min_job_age(self) -> float | None:
        return None if self._config is None else self._config.min_job_age

    async def checks(self) -> list[tuple[bool, str]]:
        """See `Scheduler.checks`: what there is to say stands in the survey."""
        return []

    async def cluster(self, channel: AgentChannel, user: str) -> Cluster:
        """See `Scheduler.cluster`."""
        cluster = await survey.ask(channel, self._paths, user)
        if "configuration" in cluster.unknown and "partitions" in cluster.unknown:
            why = cluster.unknown["configuration"]
            raise BackendError(
                f"Slurm does not answer on `{self._name}`: {why}.",
                "Check that its commands work there (`sinfo`), or name the folder they are in "
                f"as backends.{self._name}.bin.",
            )
        self._config = cluster.config
        return cluster

    async def jobs(self, channel: AgentChannel) -> Told:
        """See `Scheduler.jobs`."""
        (said,) = await survey.run(
            channel, [commands.my_jobs()], self._paths, within=commands.PATIENT
        )
        jobs, why = _listed(said)
        return Told(jobs=jobs, why=why, min_job_age=self._min_job_age)

    async def ask(
        self,
        channel: AgentChannel,
        verb: str,
        request: Mapping[str, Any],
        *,
        waiting: bool = False,
        within: float | None = None,
    ) -> tuple[dict[str, Any], Told]:
        """See `Scheduler.ask`: one request."""
        if within == 0:
            answer, _ = await channel.call(verb, {**request, "shared": True})
            return answer, Told(min_job_age=self._min_job_age)
        argvs = [commands.my_jobs()]
        if waiting:
            argvs.append(commands.waiting_jobs())
        wants_config = verb == "poll" and self._config is None
        if wants_config:
            argvs.append(commands.CONFIG)
        answer, body = await channel.call(
            verb,
            {
                **request,
                "commands": [self._command(*argv) for argv in argvs],
                "timeout": within or commands.TIMEOUT,
            },
            timeout=commands.TIMEOUT + 20,
        )
        said = commands.heard(answer, body, [argv[0] for argv in argvs])
        if wants_config and said[-1].ok:
            self._config = config(said[-1].out)
        priorities: Mapping[str, Sequence[int]] | None = None
        if waiting:
            priorities = reading.priorities(said[1].out) if said[1].ok else {}
        jobs, why = _listed(said[0])
        return answer, Told(
            jobs=jobs,
            why=why,
            late=said[0].late,
            waiting=priorities,
            min_job_age=self._min_job_age,
        )

    async def hand_over(
        self, channel: AgentChannel, send: Send, header: Mapping[str, Any], sent: Any
    ) -> dict[str, Any]:
        """See `Scheduler.hand_over`: the agent runs sbatch."""
        if not isinstance(sent, list) or not sent:
            raise BackendError("This plan is not one for Slurm; it was not sent.")
        run, attempt = str(header["run_id"]), int(header["attempt"])
        name = listing.job_name(run, attempt)
        if "array" in header:
            name = listing.array_name(run)
        earlier = listing.job_name(run, max(0, attempt - 1))
        asked = {
            "look": self._command(*commands.named(name, "all")),
            "before": self._command(*commands.named(earlier, "PENDING,RUNNING,COMPLETING")),
            "submit": commands.command(*sent, paths=self._paths, asks=False),
        }
        return await send("enqueue", {**header, **asked})

    async def details(self, channel: AgentChannel, numbers: Sequence[str]) -> dict[str, Job]:
        """See `Scheduler.details`."""
        argvs = [commands.show_job(number) for number in numbers]
        found: dict[str, Job] = {}
        said = await survey.run(channel, argvs, self._paths) if argvs else []
        for argv, one in zip(argvs, said, strict=True):
            if (shown := listing.shown(one.out)) is not None:
                # A task of an array is asked for by its id.
                found |= dict.fromkeys((argv[-1], shown.id, shown.number), shown)
        return found

    async def forgotten(self, channel: AgentChannel, jobs: Sequence[str]) -> Forgotten:
        """See `Scheduler.forgotten`: sacct is asked."""
        if self._config is None or not self._config.accounting:
            return Forgotten()
        if not jobs:
            return Forgotten(kept=True)
        (said,) = await survey.run(channel, [commands.accounting(jobs)], self._paths)
        if not said.ok:
            return Forgotten(kept=True, why=said.why)
        found: dict[str, Job] = {}
        for job in listing.sacct(said.out):
            found |= {job.number: job, job.id: job}
        return Forgotten(kept=True, jobs=found)

    async def end(self, channel: AgentChannel, jobs: Sequence[str]) -> str:
        """See `Scheduler.end`."""
        return await self._all(channel, [("scancel", job) for job in jobs])

    async def end_waiting(self, channel: AgentChannel, array: str) -> str:
        """See `Scheduler.end_waiting`."""
        return await self._all(channel, [("scancel", "--state=PENDING", array)])

    async def nudge(self, channel: AgentChannel, jobs: Sequence[str]) -> None:
        """See `Scheduler.nudge`."""
        await self._all(channel, [("scancel", "--signal=USR1", "--batch", job) for job in jobs])

    async def _all(self, channel: AgentChannel, argvs: Sequence[Sequence[str]]) -> str:
        said = await survey.run(channel, argvs[:AT_ONCE], self._paths) if argvs else []
        return next((f"scancel refused: {one.why}" for one in said if not one.ok), "")

    async def output(self, channel: AgentChannel, job: str) -> tuple[str, bool] | None:
        """See `Scheduler.output`."""
        (said,) = await survey.run(channel, [commands.show_job(job)], self._paths)
        line = said.out.partition("\n")[0]
        shown = listing.shown(line) if said.ok else None
        return None if shown is None else (listing.output_of(line), shown.over)

    async def address(self, channel: AgentChannel, node: str) -> str:
        """See `Scheduler.address`."""
        (said,) = await survey.run(channel, [commands.show_node(node)], self._paths)
        return text.known(text.record(said.out.partition("\n")[0]).get("NodeAddr", ""))

    async def aclose(self) -> None:
        """See `Scheduler.aclose`: nothing is kept open."""

    def _command(self, *argv: str) -> dict[str, Any]:
        return commands.command(*argv, paths=self._paths)
